//! The suite on the plain model: what fails here is wrong in the model or in the suite, not in an engine.

use event_store::{
    Clock, EventStore,
    contract::{Model, Subject},
};
use std::{sync::Arc, time::Duration};
use test_support::{MockClock, SeededIds};

struct Plain {
    clock: Arc<MockClock>,
    model: Model,
}

#[async_trait::async_trait]
impl Subject for Plain {
    async fn store(&self) -> Arc<dyn EventStore> {
        Arc::new(self.model.clone())
    }

    async fn reopen(&self) -> Option<Arc<dyn EventStore>> {
        Some(Arc::new(self.model.reopen()))
    }

    fn move_clock(&self, seconds: i64) -> bool {
        let by = Duration::from_secs(seconds.unsigned_abs());
        match seconds {
            0.. => self.clock.advance(by),
            _ => self.clock.set(self.clock.now().minus(by)),
        }
        true
    }
}

fn plain() -> Plain {
    let clock = Arc::new(MockClock::new());
    let model = Model::new(clock.clone(), Arc::new(SeededIds::new(1)));
    Plain { clock, model }
}

event_store::contract_tests!(plain);
