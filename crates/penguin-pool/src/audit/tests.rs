use super::*;
use crate::security::{
    self, Accounts, Caller, Credentials, Identity, Refused, Tokens, accounts::NewAccount,
    password::Passwords, tokens,
};
use event_store::{
    AllPage, Appended, AppendedMany, Capabilities, Deleted, ExpectedState, NewEvent, ReadAll, ReadStream,
    Result, StoreId, StoreState, StoreStatistics, StreamInfo, StreamPage, StreamWrite, SubscribeAll,
    SubscribeStream, Subscription, contract::Model,
};
use models::AuditQuery;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use test_support::{MockClock, SeededIds};
use uuid::Uuid;

fn parts(store: &Arc<dyn EventStore>, strict: bool, seed: u64) -> Parts {
    Parts {
        store: Arc::clone(store),
        clock: Arc::new(MockClock::new()),
        ids: Arc::new(SeededIds::new(seed)),
        strict,
    }
}

fn model() -> Arc<dyn EventStore> {
    Arc::new(Model::new(Arc::new(MockClock::new()), Arc::new(SeededIds::new(1))))
}

fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

fn query(text: &str) -> AuditQuery {
    serde_json::from_str(text).unwrap()
}

fn bob() -> Caller {
    Caller::user("bob", &[])
}

fn admin() -> Caller {
    Caller::user("ann", &["admin".to_owned()])
}

#[tokio::test]
async fn what_is_done_is_written_down_with_what_came_of_it() {
    let store = model();
    let audit = Audit::begin_writing(parts(&store, true, 2));
    let bobs = audit.observe(&bob(), None, Arc::clone(&store));
    let stream = name("loans-1");
    let event = NewEvent::json(Uuid::from_u128(1), "T", r#"{"secret":1}"#);
    bobs.append(&stream, ExpectedState::NoStream, vec![event]).await.unwrap();
    bobs.read_stream(&stream, ReadStream::forwards(1)).await.unwrap();
    assert!(bobs.stream_info(&name("none")).await.is_err());
    drop(bobs.subscribe_all(SubscribeAll::default()).await.unwrap());
    audit.stop().await;

    let verdict = verify(&*store).await.unwrap();
    assert_eq!((verdict.records, verdict.faults), (5, Vec::new()));
    let audit = Audit::begin_writing(parts(&store, true, 3));
    let page = audit.page(&admin(), query("{}")).await.unwrap();
    let told: Vec<_> = page
        .records
        .iter()
        .map(|r| (r.caller.as_str(), r.action.as_str(), r.streams.join(","), r.outcome.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("bob", "subscribe", "$all".to_owned(), "ok"),
            ("bob", "describe", "none".to_owned(), "stream-not-found"),
            ("bob", "read", "loans-1".to_owned(), "ok"),
            ("bob", "append", "loans-1".to_owned(), "ok"),
            ("system", "begin", String::new(), "ok"),
        ]
    );
    let all = store.read_stream(&name(STREAM), ReadStream::forwards(100)).await.unwrap();
    let text =
        |e: &event_store::ResolvedEvent| String::from_utf8(e.event.as_ref().unwrap().data.to_vec()).unwrap();
    assert!(all.events.iter().all(|e| !text(e).contains("secret")));

    let filtered = audit.page(&admin(), query(r#"{"stream":"loans-1","action":"read"}"#)).await.unwrap();
    assert_eq!(filtered.records.len(), 1);
    let paged = audit.page(&admin(), query(r#"{"limit":2}"#)).await.unwrap();
    let rest = format!(r#"{{"limit":9,"from":{}}}"#, paged.next_revision.unwrap());
    let rest = audit.page(&admin(), query(&rest)).await.unwrap();
    assert!(paged.has_more && !paged.records.contains(&rest.records[0]));
    assert!(matches!(audit.page(&bob(), query("{}")).await, Err(Error::AccessDenied(_))));
    audit.stop().await;
    // A later process goes on where the one before ended, and that the trail was read stands in it.
    let verdict = verify(&*store).await.unwrap();
    assert!(verdict.records > 6 && verdict.faults.is_empty(), "{verdict:?}");
}

#[tokio::test]
async fn the_services_own_work_is_not_written_down() {
    let store = model();
    let audit = Audit::begin_writing(parts(&store, true, 2));
    let own = audit.observe(&Caller::system(), None, Arc::clone(&store));
    assert!(own.stream_info(&name("none")).await.is_err());
    audit.stop().await;
    assert_eq!(verify(&*store).await.unwrap().records, 0);
}

#[tokio::test]
async fn a_deed_that_is_given_up_is_written_down() {
    let store = model();
    let audit = Audit::begin_writing(parts(&store, true, 2));
    drop(audit.begin(Deed::new("bob", "read", vec!["a".into()])).unwrap());
    audit.note(Deed::new("anonymous", "login", Vec::new()).about("bob"), "authentication-failed");
    audit.stop().await;
    let audit = Audit::begin_writing(parts(&store, true, 3));
    let page = audit.page(&admin(), query("{}")).await.unwrap();
    let outcomes: Vec<_> = page.records.iter().map(|r| r.outcome.as_str()).collect();
    assert_eq!(outcomes, ["authentication-failed", "cancelled", "ok"]);
}

#[tokio::test]
async fn a_full_queue_refuses_where_it_must_and_counts_elsewhere() {
    for strict in [true, false] {
        let failing = Arc::new(Failing { fails: AtomicBool::new(true), ..Failing::new(model()) });
        let store: Arc<dyn EventStore> = failing.clone();
        let audit = Audit::with_queue(parts(&store, strict, 2), 2);
        let bobs = audit.observe(&bob(), None, Arc::clone(&store));
        let mut refused = 0;
        for _ in 0..10 {
            match bobs.stream_info(&name("none")).await {
                Err(Error::Unavailable(_)) => refused += 1,
                other => assert!(matches!(other, Err(Error::StreamNotFound(_)))),
            }
        }
        assert_eq!(refused > 0, strict);
        assert_eq!(audit.lost() > 0, !strict);
        failing.fails.store(false, Ordering::SeqCst);
        audit.stop().await;
        let verdict = verify(&*store).await.unwrap();
        let told = verdict.records - 1;
        assert_eq!((told + refused + audit.lost(), verdict.faults.len()), (10, 0));
    }
}

#[tokio::test]
async fn who_follows_for_long_holds_no_place_of_others() {
    let store = model();
    let audit = Audit::with_queue(parts(&store, true, 2), 2);
    let bobs = audit.observe(&bob(), None, Arc::clone(&store));
    let mut followed = Vec::new();
    // The writer may not be there yet; a place that a subscription kept would never come back.
    let follow = async {
        while followed.len() < 5 {
            match bobs.subscribe_all(SubscribeAll::default()).await {
                Err(Error::Unavailable(_)) => tokio::task::yield_now().await,
                subscription => followed.push(subscription.unwrap()),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), follow).await.unwrap();
    audit.stop().await;
    assert_eq!(verify(&*store).await.unwrap().records, 1 + 5);
}

#[tokio::test]
async fn appends_in_turn_are_deeds_each_and_go_to_the_store_together() {
    let failing = Arc::new(Failing::new(model()));
    let store: Arc<dyn EventStore> = failing.clone();
    let audit = Audit::begin_writing(parts(&store, true, 2));
    let bobs = audit.observe(&bob(), None, Arc::clone(&store));
    let appends = [ExpectedState::NoStream, ExpectedState::Exact(7), ExpectedState::Any].map(turn);
    let answers = bobs.append_in_turn(&name("loans-1"), appends.into()).await;
    assert_eq!(failing.turns.load(Ordering::SeqCst), 1);
    let last: Vec<_> = answers.iter().map(|answer| answer.as_ref().ok().map(|a| a.last_revision)).collect();
    assert_eq!(last, [Some(Some(0)), None, Some(Some(1))]);
    assert!(matches!(answers[1], Err(Error::WrongExpectedRevision { .. })), "{answers:?}");
    assert_eq!(bobs.append_in_turn(&name("loans-1"), Vec::new()).await, []);
    audit.stop().await;

    // What comes after the end of a trail that must be written is refused, and not done.
    let refused = bobs.append_in_turn(&name("loans-1"), vec![turn(ExpectedState::Any)]).await;
    assert_eq!(refused, [Err(Error::Closed)]);
    let audit = Audit::begin_writing(parts(&store, true, 3));
    let page = audit.page(&admin(), query(r#"{"stream":"loans-1"}"#)).await.unwrap();
    let told: Vec<_> = page.records.iter().map(|r| (r.action.as_str(), r.outcome.as_str())).collect();
    assert_eq!(told, [("append", "ok"), ("append", "wrong-expected-revision"), ("append", "ok")]);
}

#[tokio::test]
async fn of_appends_in_turn_those_without_room_in_the_trail_are_refused_alone() {
    let failing = Arc::new(Failing::new(model()));
    let store: Arc<dyn EventStore> = failing.clone();
    let audit = Audit::with_queue(parts(&store, true, 2), 2);
    let bobs = audit.observe(&bob(), None, Arc::clone(&store));
    let answers = bobs.append_in_turn(&name("loans-1"), vec![turn(ExpectedState::Any); 3]).await;
    assert!(answers[..2].iter().all(Result::is_ok), "{answers:?}");
    assert!(matches!(answers[2..], [Err(Error::Unavailable(_))]), "{answers:?}");
    audit.stop().await;
    let verdict = verify(&*store).await.unwrap();
    assert_eq!((verdict.records, verdict.faults.len()), (1 + 2, 0));
}

/// An append of one event.
fn turn(expected: ExpectedState) -> (ExpectedState, Vec<NewEvent>) {
    let id = match expected {
        ExpectedState::Exact(revision) => u128::from(revision),
        ExpectedState::NoStream => 100,
        _ => 101,
    };
    (expected, vec![NewEvent::json(Uuid::from_u128(id), "T", "{}")])
}

#[tokio::test]
async fn who_logs_in_is_refused_where_that_cannot_be_written_down() {
    let failing = Arc::new(Failing { fails: AtomicBool::new(true), ..Failing::new(model()) });
    let store: Arc<dyn EventStore> = failing.clone();
    let audit = Audit::with_queue(parts(&store, true, 2), 2);
    let clock: Arc<dyn Clock> = Arc::new(MockClock::new());
    let ids = Arc::new(SeededIds::new(4));
    let accounts = Accounts::open(model(), Arc::clone(&clock), ids, None).unwrap();
    let hash = Passwords::default().hash("correct horse".into()).await.unwrap();
    let (login_name, full_name) = ("bob".to_owned(), String::new());
    accounts.create(NewAccount { login_name, full_name, roles: Vec::new(), hash }, "system").await.unwrap();
    let tokens = tokens::Options {
        sources: Vec::new(),
        issuer: None,
        audience: None,
        secret: None,
        lifetime: Duration::from_secs(60),
        clock: Arc::clone(&clock),
    };
    let identity = Identity::new(security::Parts {
        required: true,
        accounts,
        tokens: Tokens::new(tokens).unwrap(),
        clock,
        logins: None,
        audit: Some(audit.clone()),
    });
    let identity = identity.unwrap();
    let mut refused = 0;
    for _ in 0..10 {
        match identity.issue("bob", &"correct horse".into(), None).await {
            Ok(_) => {}
            Err(Refused::Store(Error::Unavailable(_))) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!((1..10).contains(&refused), "{refused}");
    let key = Credentials::ApiKey("pp_1_2".into());
    assert!(matches!(identity.identify(&key, None).await, Err(Refused::Store(Error::Unavailable(_)))));
    failing.fails.store(false, Ordering::SeqCst);
    audit.stop().await;
    assert_eq!(verify(&*store).await.unwrap().records, 1 + 10 - refused);
}

/// A store that does not write for a while.
#[derive(Debug)]
struct Failing {
    store: Arc<dyn EventStore>,
    fails: AtomicBool,
    /// How often it was given appends in turn.
    turns: AtomicUsize,
}

impl Failing {
    fn new(store: Arc<dyn EventStore>) -> Self {
        Self { store, fails: AtomicBool::default(), turns: AtomicUsize::default() }
    }
}

#[async_trait::async_trait]
impl EventStore for Failing {
    async fn id(&self) -> Result<StoreId> {
        self.store.id().await
    }
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
    fn state(&self) -> StoreState {
        self.store.state()
    }
    async fn statistics(&self) -> Result<StoreStatistics> {
        self.store.statistics().await
    }
    async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedState,
        events: Vec<NewEvent>,
    ) -> Result<Appended> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(Error::StorageFull("for now".into()));
        }
        self.store.append(stream, expected, events).await
    }
    async fn append_in_turn(
        &self,
        stream: &StreamName,
        appends: Vec<(ExpectedState, Vec<NewEvent>)>,
    ) -> Vec<Result<Appended>> {
        self.turns.fetch_add(1, Ordering::SeqCst);
        self.store.append_in_turn(stream, appends).await
    }
    async fn append_many(&self, writes: Vec<StreamWrite>) -> Result<AppendedMany> {
        self.store.append_many(writes).await
    }
    async fn read_stream(&self, stream: &StreamName, read: ReadStream) -> Result<StreamPage> {
        self.store.read_stream(stream, read).await
    }
    async fn read_all(&self, read: ReadAll) -> Result<AllPage> {
        self.store.read_all(read).await
    }
    async fn stream_info(&self, stream: &StreamName) -> Result<StreamInfo> {
        self.store.stream_info(stream).await
    }
    async fn subscribe_stream(&self, stream: &StreamName, options: SubscribeStream) -> Result<Subscription> {
        self.store.subscribe_stream(stream, options).await
    }
    async fn subscribe_all(&self, options: SubscribeAll) -> Result<Subscription> {
        self.store.subscribe_all(options).await
    }
    async fn delete(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        self.store.delete(stream, expected).await
    }
    async fn tombstone(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        self.store.tombstone(stream, expected).await
    }
    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}
