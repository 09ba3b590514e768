//! A started service, in this process, on a free port.

use event_store::{Clock, EventStore, IdSource, RandomIds, SystemClock};
use penguin_pool::{
    app::{Parts, Service},
    config::{Config, EventStoreKind, Inputs},
    key_store,
    server::{End, Listeners, Tls},
    store,
};
use std::{collections::BTreeMap, sync::Arc};

/// What a service in a test is to be like. Unless told otherwise it keeps its events in memory, runs on the machine's
/// clock, and has the settings of `NODE_ENV=test`, of which nothing comes from this machine's environment or files.
#[derive(Debug)]
pub struct Builder {
    variables: BTreeMap<String, String>,
    clock: Arc<dyn Clock>,
    store: Option<Arc<dyn EventStore>>,
    shared: bool,
}

/// A service that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct TestService {
    /// Where it listens: `http://127.0.0.1:{port}`; `https` with `TLS_CERT`, whose certificate `client` does not know.
    pub url: String,
    /// A client that follows no redirects and keeps connections alive.
    pub client: reqwest::Client,
    /// The service itself.
    pub service: Service,
}

impl Builder {
    /// Sets a variable of the service's environment.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.insert(name.to_owned(), value.to_string());
        self
    }

    /// Runs it on this clock.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Runs it on this store.
    #[must_use]
    pub fn store(self, store: Arc<dyn EventStore>) -> Self {
        Self { store: Some(store), ..self }
    }

    /// Runs it on this store, which other services use too, as they would a KurrentDB server. Closing it must not close
    /// theirs: see [`crate::Line`].
    #[must_use]
    pub fn shared_store(self, store: Arc<dyn EventStore>) -> Self {
        Self { store: Some(store), shared: true, ..self }
    }

    /// Starts it.
    ///
    /// # Panics
    /// If it cannot be started.
    #[expect(clippy::expect_used, reason = "a test is to fail here")]
    pub async fn start(self) -> TestService {
        let inputs = Inputs { variables: self.variables, directory: None };
        let mut config = Config::from_inputs(&inputs).expect("good settings");
        if self.shared {
            config.settings.event_store = EventStoreKind::Kurrentdb;
        }
        let ids: Arc<dyn IdSource> = Arc::new(RandomIds);
        let store = match self.store {
            Some(store) => store,
            None => store::open(&config, Arc::clone(&self.clock), Arc::clone(&ids))
                .await
                .expect("an opened store"),
        };
        let tls = Tls::open(&config.settings, Arc::clone(&self.clock)).await.expect("a good certificate");
        let listeners = Listeners::bind(&config.settings).await.expect("free ports").with_tls(tls);
        let keys = key_store::open(&config.settings).await.expect("good keys");
        let keys = key_store::settle(keys, &config.settings, &store, &ids).await.expect("whole keys");
        let parts = Parts { config, store, keys, clock: self.clock, ids };
        let service = Service::start(listeners, parts).await.expect("a started service");
        TestService {
            url: format!("{}://{}", if service.speaks_tls() { "https" } else { "http" }, service.address()),
            client: reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .expect("a client"),
            service,
        }
    }
}

impl TestService {
    /// A service that is to be started.
    #[must_use]
    pub fn builder() -> Builder {
        // Nothing is written but what a test writes.
        let variables = [
            ("NODE_ENV", "test"),
            ("HTTP_PORT", "0"),
            ("WS_PORT", "0"),
            ("DATA_DIR", ":memory:"),
            ("UPTIME_WATCH", "false"),
        ];
        Builder {
            variables: variables.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            clock: Arc::new(SystemClock),
            store: None,
            shared: false,
        }
    }

    /// A service with nothing special about it.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// A GET of a path.
    pub fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
    }

    /// A POST to a path.
    pub fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.post(format!("{}{path}", self.url))
    }

    /// Stops it, as a signal would.
    ///
    /// # Panics
    /// If it cannot be stopped cleanly.
    #[expect(clippy::expect_used, reason = "a test is to fail here")]
    pub async fn stop(self) -> End {
        self.service.stop().await.expect("a clean end")
    }
}
