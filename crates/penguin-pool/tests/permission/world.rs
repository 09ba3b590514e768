//! The API as it is where callers must say who they are, its callers, and streams that are theirs.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use event_store::{
    Acl, EventStore, ExpectedState, IdSource, NewEvent, RandomIds, StreamMetadata, StreamName, StreamWrite,
    SystemClock,
};
use event_store_embedded::{Engine, Options};
use penguin_pool::{
    app::{self, Parts},
    catalogue::{self, Catalogue, Place},
    config::{Config, Inputs, Origins, Proxies},
    key_store,
    kurrentdb::{self, Listening},
    ops::{Lifecycle, Phase},
    security::{
        Identity,
        accounts::{NewAccount, Scope},
        password::Phc,
    },
};
use secrecy::ExposeSecret as _;
use serde_json::json;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use test_support::Backend;
use uuid::Uuid;

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Anonymous,
    /// Somebody whom the stream does not know.
    Other,
    Owner,
    Reader,
    Writer,
    Admin,
    /// Everybody, where nobody must say who they are.
    System,
    /// The owner, by a key that is good for reading alone.
    ReadKey,
}

impl Who {
    pub(crate) const ALL: [Self; 7] =
        [Self::Anonymous, Self::Other, Self::Owner, Self::Reader, Self::Writer, Self::Admin, Self::System];

    /// The same, and the key.
    pub(crate) const AND_KEY: [Self; 8] = [
        Self::Anonymous,
        Self::Other,
        Self::Owner,
        Self::ReadKey,
        Self::Reader,
        Self::Writer,
        Self::Admin,
        Self::System,
    ];

    /// Whether they may read the streams that are made here.
    pub(crate) const fn reads(self) -> bool {
        matches!(self, Self::Owner | Self::ReadKey | Self::Reader | Self::Admin | Self::System)
    }

    fn id(self, owner: &str) -> Option<&str> {
        match self {
            Self::Anonymous | Self::System => None,
            Self::Other => Some("oscar"),
            Self::Owner | Self::ReadKey => Some(owner),
            Self::Reader => Some("rita"),
            Self::Writer => Some("will"),
            Self::Admin => Some("ada"),
        }
    }
}

/// What the tokens of the callers are signed with.
const SECRET: &str = "a secret that is shared by the world and the service";

/// A token of somebody, for ever.
fn token(id: &str, role: Option<&str>) -> String {
    let claims =
        json!({ "iss": "world", "aud": "penguins", "sub": id, "exp": 4_000_000_000_u64, "roles": role });
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
}

/// One store, and the API and KurrentDB's protocol before it twice: once they ask who calls, and once everybody may do
/// everything.
pub(crate) struct World {
    closed: Served,
    open: Served,
    client: reqwest::Client,
    hash: Phc,
    /// The engine itself.
    pub(crate) store: Arc<dyn EventStore>,
    next: AtomicU64,
}

/// A stream, and a user's data, that their owner, a reader and a writer have rights to; and what stands in them and nowhere
/// else.
pub(crate) struct Kept {
    /// The stream.
    pub(crate) name: String,
    /// The user: has `loans/1`, `offers/1` and `activity`.
    pub(crate) owner: String,
    pub(crate) secret: String,
}

/// A service, and where it is.
struct Served {
    api: SocketAddr,
    face: Listening,
    identity: Identity,
}

/// Everybody's password here.
const PASSWORD: &str = "correct horse";

/// Serves everything on free ports.
async fn serve(store: &Arc<dyn EventStore>, catalogue: &Catalogue, asks: bool) -> Served {
    // What is counted here is permission: nobody is to be refused for asking often.
    let variables = [
        ("NODE_ENV", "test"),
        ("DATA_DIR", ":memory:"),
        ("AUDIT", "true"),
        ("UPTIME_WATCH", "false"),
        ("RATE_LIMIT_MAX_REQUESTS", "1000000"),
        ("AUTH_MODE", if asks { "required" } else { "off" }),
        ("JWT_ISSUER", "world"),
        ("JWT_AUDIENCE", "penguins"),
        ("JWT_SHARED_SECRET", SECRET),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let config = Config::from_inputs(&Inputs { variables, directory: None }).unwrap();
    let keys = key_store::open(&config.settings).await.unwrap();
    let store = Arc::clone(store);
    let ids: Arc<dyn IdSource> = Arc::new(RandomIds);
    let keys = key_store::settle(keys, &config.settings, &store, &ids).await.unwrap();
    let parts = Parts { config, store, keys, clock: Arc::new(SystemClock), ids };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let lifecycle = Lifecycle::new();
    let api = app::api(&parts, catalogue, address, address.port(), &lifecycle).unwrap();
    lifecycle.advance(Phase::Running);
    api.uptime.start(address, address, None).unwrap();
    let service = api.router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async { axum::serve(listener, service).await });
    tokio::spawn(api.watch);
    let of_face = kurrentdb::Parts {
        gate: api.gate,
        identity: Some(api.identity.clone()),
        limiter: api.limiter,
        calls: None,
        crowd: None,
        proxies: Proxies::default(),
        tls: None,
        clock: Arc::new(SystemClock),
        ids: Arc::new(RandomIds),
        origins: Origins::default(),
        patience: Duration::from_secs(5),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let face = Listening::start(listener, of_face).unwrap();
    Served { api: address, face, identity: api.identity }
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_on(Backend::Embedded).await
    }

    pub(crate) async fn start_on(backend: Backend) -> Self {
        let options = Options::in_memory().clock(Arc::new(SystemClock)).ids(Arc::new(RandomIds));
        let store: Arc<dyn EventStore> = Arc::new(Engine::open(options).unwrap());
        let served = match backend {
            Backend::Embedded => Arc::clone(&store),
            Backend::Kurrentdb => test_support::as_kurrentdb(Arc::clone(&store), Arc::new(SystemClock)).await,
        };
        let catalogue = catalogue::Options::new(Place::Memory);
        let catalogue = Catalogue::open(catalogue, Arc::clone(&served), Arc::new(SystemClock)).await.unwrap();
        let (closed, open) =
            (serve(&served, &catalogue, true).await, serve(&served, &catalogue, false).await);
        let hash = closed.identity.passwords().hash(PASSWORD.into()).await.unwrap();
        let world =
            Self { closed, open, client: reqwest::Client::new(), hash, store, next: AtomicU64::new(0) };
        for who in [Who::Other, Who::Reader, Who::Writer, Who::Admin] {
            let role = (who == Who::Admin).then(|| "admin".to_owned());
            world.account(who.id("").unwrap(), role).await;
        }
        world
    }

    /// Makes an account.
    pub(crate) async fn account(&self, name: &str, role: Option<String>) {
        let (login_name, full_name, roles) = (name.to_owned(), String::new(), role.into_iter().collect());
        let account = NewAccount { login_name, full_name, roles, hash: self.hash.clone() };
        self.closed.identity.accounts().create(account, "system").await.unwrap();
        // The other service reads it after this one.
        while self.open.identity.accounts().find(name).await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    }

    /// What somebody says of themselves as `authorization`: a login name and a password, the owner a token, and the key as
    /// the scheme says, of which KurrentDB's clients have only one.
    pub(crate) async fn authorization(&self, who: Who, owner: &str, scheme_of_keys: &str) -> Option<String> {
        let id = who.id(owner)?;
        match who {
            Who::Owner => Some(format!("Bearer {}", token(id, None))),
            Who::ReadKey => {
                self.account(id, None).await;
                let accounts = self.closed.identity.accounts();
                let key = accounts.create_key(id, "", Scope::Read, None, "system").await.unwrap();
                Some(format!("{scheme_of_keys} {}", key.text.expose_secret()))
            }
            _ => Some(format!("Basic {}", STANDARD.encode(format!("{id}:{PASSWORD}")))),
        }
    }

    fn served(&self, who: Who) -> &Served {
        if who == Who::System { &self.open } else { &self.closed }
    }

    /// Where the API listens for somebody.
    pub(crate) fn address(&self, who: Who) -> SocketAddr {
        self.served(who).api
    }

    /// Where KurrentDB's protocol listens for somebody.
    pub(crate) fn face(&self, who: Who) -> SocketAddr {
        self.served(who).face.address()
    }

    pub(crate) fn request(&self, who: Who, owner: &str, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.address(who));
        let request = self.client.request(method.parse().unwrap(), url);
        let role = (who == Who::Admin).then_some("admin");
        let request = request.timeout(Duration::from_secs(60));
        match who.id(owner) {
            Some(id) if who != Who::ReadKey => request.bearer_auth(token(id, role)),
            _ => request,
        }
    }

    /// The documents of the API.
    pub(crate) async fn documents(&self) -> serde_json::Value {
        let request = self.request(Who::Anonymous, "", "GET", "/api/docs-json?version=3.1");
        request.send().await.unwrap().json().await.unwrap()
    }

    /// A name that nothing has yet.
    pub(crate) fn name(&self) -> String {
        format!("box-{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes a stream, and a user's data.
    pub(crate) async fn keep(&self) -> Kept {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (name, secret, owner) =
            (format!("box-{number}"), format!("Hush{number}hush"), format!("olga{number}"));
        self.write(&name, &owner, &secret, json!({ "said": secret })).await;
        for (kind, category) in [("loans", "1"), ("offers", "1"), ("activity", "")] {
            let id = self.id();
            let data = json!({
                "userId": owner, "type": kind, "category": category, "isPublic": false, "eventId": id,
                "timestamp": "2024-01-15T10:30:00.000Z",
                "data": { "amount": 1, "currency": "EUR", "status": "open", "note": secret },
            });
            let end = if category.is_empty() { String::new() } else { format!("-{category}") };
            self.write(&format!("user-{owner}-{kind}{end}"), &owner, &secret, data).await;
        }
        Kept { name, secret, owner }
    }

    fn id(&self) -> Uuid {
        Uuid::from_u64_pair(7, self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes a stream with one event, that its owner, `rita` and `will` have rights to.
    async fn write(&self, name: &str, owner: &str, secret: &str, data: serde_json::Value) {
        let stream = StreamName::new(name).unwrap();
        let names = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect());
        let acl = Acl {
            read: names(&[owner, "rita"]),
            write: names(&[owner, "will"]),
            delete: names(&[owner]),
            meta_read: names(&[owner, "rita"]),
            meta_write: names(&[owner]),
        };
        let custom = json!({ "description": secret, "tags": [secret], "owner": owner });
        let custom = custom.as_object().unwrap().clone();
        let metadata = StreamMetadata { acl: Some(acl), custom, ..StreamMetadata::default() };
        let write = |stream: StreamName, event: NewEvent| StreamWrite {
            stream,
            expected: ExpectedState::NoStream,
            events: vec![event],
        };
        let kind = if name.starts_with("user-") { "UserDataUpdated" } else { secret };
        let event = NewEvent::json(self.id(), kind, data.to_string());
        let described = metadata.to_event(self.id());
        let writes = vec![write(stream.metastream().unwrap(), described), write(stream, event)];
        self.store.append_many(writes).await.unwrap();
    }

    /// Leaves a stream to administrators alone.
    pub(crate) async fn take_back(&self, stream: &str) {
        let nobody = || Some(Vec::new());
        let acl = Acl {
            read: nobody(),
            write: nobody(),
            delete: nobody(),
            meta_read: nobody(),
            meta_write: nobody(),
        };
        let metadata = StreamMetadata { acl: Some(acl), ..StreamMetadata::default() };
        let stream = StreamName::new(stream).unwrap();
        self.store.set_metadata(&stream, ExpectedState::Any, &metadata, self.id()).await.unwrap();
    }

    /// Appends an event with nothing in it.
    pub(crate) async fn say(&self, stream: &str, event_type: &str) {
        let event = NewEvent::json(self.id(), event_type, "{}");
        self.store.append(&StreamName::new(stream).unwrap(), ExpectedState::Any, vec![event]).await.unwrap();
    }

    /// Writes what everybody may read, after everything else; a feed that has brought it has brought what came before.
    pub(crate) async fn fence(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let event = NewEvent::json(self.id(), "Fence", format!("{{\"fence\":{number}}}"));
        let stream = StreamName::new("fences").unwrap();
        self.store.append(&stream, ExpectedState::Any, vec![event]).await.unwrap();
        format!("\"fence\":{number}")
    }
}
