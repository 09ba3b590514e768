//! Who calls, and the store as that caller may use it.

use event_store::EventStore;
use std::sync::Arc;

/// Who makes a call. In the beginning it is always [`Caller::system`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller {
    id: Arc<str>,
}

impl Caller {
    /// The service itself, and with `AUTH_MODE=off` everybody.
    #[must_use]
    pub fn system() -> Self {
        Self { id: "system".into() }
    }

    /// The caller's id, as owners and permissions name it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// A store bound to a caller: whatever is asked of it is asked in that caller's name.
pub type BoundStore = Arc<dyn EventStore>;

/// The one way from a caller to the store. Permission and encryption will be decorators put on here.
#[derive(Debug, Clone)]
pub struct Gate {
    engine: Arc<dyn EventStore>,
}

impl Gate {
    /// A gate before an engine.
    #[must_use]
    pub fn new(engine: Arc<dyn EventStore>) -> Self {
        Self { engine }
    }

    /// The store as `caller` may use it.
    #[must_use]
    pub fn bind(&self, _caller: &Caller) -> BoundStore {
        Arc::clone(&self.engine)
    }
}
