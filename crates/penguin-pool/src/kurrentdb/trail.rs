//! What callers do by KurrentDB's protocol and no store sees, in the trail of the service.

use crate::{
    audit::{Audit, Deed, Origin, Pending},
    security::Caller,
};
use event_store::Error;
use kurrentdb_protocol::{NoTrail, Trail};
use std::sync::Arc;

/// The trail of a caller who comes from there; none is kept without an audit.
pub(super) fn of(audit: Option<&Audit>, caller: &Caller, origin: Origin) -> Arc<dyn Trail> {
    match audit {
        Some(audit) => Arc::new(Written { audit: audit.clone(), caller: caller.clone(), origin }),
        None => Arc::new(NoTrail),
    }
}

#[derive(Debug)]
struct Written {
    audit: Audit,
    caller: Caller,
    origin: Origin,
}

impl Trail for Written {
    fn begin(
        &self,
        action: &'static str,
        stream: Option<&str>,
        group: Option<&str>,
    ) -> Result<Box<dyn kurrentdb_protocol::Deed>, Error> {
        let streams = stream.map(str::to_owned).into_iter().collect();
        let deed = Deed::new(self.caller.id(), action, streams).with_origin(self.origin.clone());
        let deed = match group {
            Some(group) => deed.about(group),
            None => deed,
        };
        Ok(Box::new(Begun(self.audit.begin(deed)?)))
    }
}

#[derive(Debug)]
struct Begun(Pending);

impl kurrentdb_protocol::Deed for Begun {
    fn end(self: Box<Self>, outcome: &'static str) {
        self.0.end(outcome);
    }
}
