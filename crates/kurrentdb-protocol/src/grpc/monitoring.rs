//! `monitoring.Monitoring`: figures of the node, at once and then at each refresh.

use super::{
    Services,
    proto::event_store::client::{
        Property,
        monitoring::{StatsReq, StatsResp, monitoring_server::Monitoring},
    },
    status,
    subscription::until_closed,
};
use crate::Entry;
use event_store::EventStore;
use futures::{StreamExt, stream, stream::BoxStream};
use std::{sync::Arc, time::Duration};
use tonic::{Request, Response, Status};

/// The shortest and the longest time between two answers, and the one where none is asked for.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

#[tonic::async_trait]
impl Monitoring for Services {
    type StatsStream = BoxStream<'static, Result<StatsResp, Status>>;

    async fn stats(&self, request: Request<StatsReq>) -> Result<Response<Self::StatsStream>, Status> {
        let Entry { store, lost, .. } = self.enter(&request).await?;
        let permit = Arc::clone(&self.subscriptions)
            .try_acquire_owned()
            .map_err(|_| status::exhausted("Maximum subscriptions reached"))?;
        let period = Duration::from_millis(request.into_inner().refresh_time_period_in_ms);
        let services = self.clone();
        let figures = stream::unfold((0_u64, permit), move |(answered, permit)| {
            let (services, store) = (services.clone(), Arc::clone(&store));
            async move {
                if answered > 0 {
                    tokio::time::sleep(period.clamp(SHORTEST, LONGEST)).await;
                }
                Some((services.figures(&*store).await, (answered + 1, permit)))
            }
        });
        Ok(Response::new(until_closed(figures, self.closing.subscribe(), lost).boxed()))
    }
}

impl Services {
    async fn figures(&self, store: &dyn EventStore) -> Result<StatsResp, Status> {
        let held = store.statistics().await.map_err(|e| status::of(&e))?;
        let limits = &self.options.limits;
        let subscriptions = limits.subscriptions.saturating_sub(self.subscriptions.available_permits());
        let pending = (limits.pending_bytes >> 10).saturating_sub(self.pending.available_permits()) << 10;
        let figure = |key: &str, value: u64| Property { key: key.to_owned(), value: value.to_string() };
        Ok(StatsResp {
            stats: vec![
                figure("es-store-events", held.events),
                figure("es-store-bytes", held.bytes_on_disk),
                figure("es-subscriptions", subscriptions as u64),
                figure("es-pending-bytes", pending as u64),
            ],
        })
    }
}
