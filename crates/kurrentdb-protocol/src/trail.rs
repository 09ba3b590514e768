//! Where is written down what callers do that no store sees: with persistent subscriptions, and with the node itself.
//! Whoever keeps the trail decides where it is; what is done with a store is written down by the store.

use event_store::Error;

/// The trail of one caller.
pub trait Trail: Send + Sync + std::fmt::Debug + 'static {
    /// Begins a deed, before it is done: on which stream (`$all` for everything; none if no stream is meant), and about which
    /// persistent subscription.
    ///
    /// # Errors
    /// Why it cannot be written down; then it must not be done.
    fn begin(
        &self,
        action: &'static str,
        stream: Option<&str>,
        group: Option<&str>,
    ) -> Result<Box<dyn Deed>, Error>;
}

/// A deed under way. One that is dropped before its end was given up.
pub trait Deed: Send + std::fmt::Debug {
    /// Writes down what came of it: `ok`, or what the failure is called.
    fn end(self: Box<Self>, outcome: &'static str);
}

/// Nothing is written down.
#[derive(Debug, Clone, Copy)]
pub struct NoTrail;

impl Trail for NoTrail {
    fn begin(&self, _: &'static str, _: Option<&str>, _: Option<&str>) -> Result<Box<dyn Deed>, Error> {
        Ok(Box::new(Self))
    }
}

impl Deed for NoTrail {
    fn end(self: Box<Self>, _: &'static str) {}
}
