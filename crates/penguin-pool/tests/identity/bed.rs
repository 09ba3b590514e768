//! A service that asks who calls, with some accounts.

use event_store::EventStore;
use penguin_pool::security::accounts::{NewAccount, Scope};
use reqwest::{RequestBuilder, Response};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use test_support::{Backend, MockClock, SeededIds, TestService};

/// Everybody's password here.
pub(crate) const PASSWORD: &str = "correct-horse";

pub(crate) struct Bed {
    pub(crate) service: TestService,
    pub(crate) clock: Arc<MockClock>,
}

impl Bed {
    /// With an administrator `ada`, and `bob`, who is nothing but himself.
    pub(crate) async fn start() -> Self {
        Self::start_on(Backend::Embedded).await
    }

    pub(crate) async fn start_on(backend: Backend) -> Self {
        let bed = Self::with(backend, &[]).await;
        bed.add("ada", &["admin"]).await;
        bed.add("bob", &[]).await;
        bed
    }

    /// Nobody has an account yet.
    pub(crate) async fn with(backend: Backend, variables: &[(&str, &str)]) -> Self {
        let clock = Arc::new(MockClock::new());
        let store = backend.open(clock.clone(), Arc::new(SeededIds::new(3))).await;
        Self::at(clock, variables, Some(store)).await
    }

    pub(crate) async fn on(variables: &[(&str, &str)], store: Option<Arc<dyn EventStore>>) -> Self {
        Self::at(Arc::new(MockClock::new()), variables, store).await
    }

    async fn at(
        clock: Arc<MockClock>,
        variables: &[(&str, &str)],
        store: Option<Arc<dyn EventStore>>,
    ) -> Self {
        let mut builder = TestService::builder().set("AUTH_MODE", "required").clock(clock.clone());
        for (name, value) in variables {
            builder = builder.set(name, value);
        }
        if let Some(store) = store {
            builder = builder.store(store);
        }
        Self { service: builder.start().await, clock }
    }

    /// A store that outlives a service.
    pub(crate) async fn store(backend: Backend) -> Arc<dyn EventStore> {
        backend.open(Arc::new(MockClock::new()), Arc::new(SeededIds::new(3))).await
    }

    pub(crate) async fn add(&self, login_name: &str, roles: &[&str]) {
        let identity = self.service.service.identity();
        let hash = identity.passwords().hash(PASSWORD.into()).await.unwrap();
        let roles = roles.iter().map(|&role| role.to_owned()).collect();
        let account = NewAccount { login_name: login_name.to_owned(), full_name: String::new(), roles, hash };
        identity.accounts().create(account, "system").await.unwrap();
    }

    pub(crate) async fn key(
        &self,
        login_name: &str,
        scope: Scope,
        good_for: Option<Duration>,
    ) -> (String, String) {
        let accounts = self.service.service.identity().accounts();
        let key = accounts.create_key(login_name, "", scope, good_for, "system").await.unwrap();
        (key.id, key.text.expose_secret().to_owned())
    }

    /// A request that who is known may make.
    pub(crate) fn browse(&self) -> RequestBuilder {
        self.service.get("/api/streams/browse")
    }

    /// A token for a login name and a password.
    pub(crate) async fn token(&self, login_name: &str) -> String {
        let asked = self.service.post("/api/auth/token").basic_auth(login_name, Some(PASSWORD));
        let answer: Value = asked.send().await.unwrap().json().await.unwrap();
        answer["data"]["accessToken"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }
}

/// A refusal in the one form that refusals have; gives its message.
#[track_caller]
pub(crate) fn refused(status: u16, kind: &str, answer: &(u16, Value)) -> String {
    let (was, body) = answer;
    assert_eq!((*was, &body["type"]), (status, &Value::from(kind)), "{body}");
    assert_eq!((&body["success"], &body["statusCode"]), (&Value::from(false), &Value::from(status)));
    assert!(body["requestId"].is_string(), "{body}");
    body["message"].as_str().unwrap().to_owned()
}

pub(crate) async fn read(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    (status, response.json().await.unwrap_or_default())
}

/// Sends a request; its status and body.
pub(crate) async fn ask(request: RequestBuilder) -> (u16, Value) {
    read(request.send().await.unwrap()).await
}
