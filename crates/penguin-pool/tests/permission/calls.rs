//! No sequence of calls by one user ever returns another's private byte.
//!
//! Somebody whom the streams do not know calls whatever the API has, in any order, with names, links, permissions and
//! filters chosen so as to get at what is another's, while its owner goes on writing. Whatever is answered, to reads and to
//! writes, in bodies and in headers, with success or without: what stands in the owner's streams is not in it.

use crate::world::{Kept, Who, World};
use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};
use test_support::Backend;

/// A stream, by how it stands to the owner.
#[derive(Debug, Clone, Copy)]
enum Name {
    /// The owner's own stream, or a user's.
    Box,
    Activity,
    Loan,
    /// One that is not there, of the same user.
    Profile,
    /// The metadata of the first two.
    MetaOfBox,
    MetaOfActivity,
    /// The caller's own.
    Mine,
    MetaOfMine,
    /// What the store derives, and what the service keeps.
    OfCategory,
    OfType,
    AllNames,
    Trail,
    Accounts,
    Everything,
}

use Name::*;

const NAMES: [Name; 14] = [
    Box,
    Activity,
    Loan,
    Profile,
    MetaOfBox,
    MetaOfActivity,
    Mine,
    MetaOfMine,
    OfCategory,
    OfType,
    AllNames,
    Trail,
    Accounts,
    Everything,
];

impl Name {
    fn of(self, kept: &Kept, mine: &str) -> String {
        let Kept { name, owner, .. } = kept;
        match self {
            Box => name.clone(),
            Activity => format!("user-{owner}-activity"),
            Loan => format!("user-{owner}-loans-1"),
            Profile => format!("user-{owner}-profile"),
            MetaOfBox => format!("$${name}"),
            MetaOfActivity => format!("$$user-{owner}-activity"),
            Mine => mine.to_owned(),
            MetaOfMine => format!("$${mine}"),
            OfCategory => "$ce-box".to_owned(),
            OfType => "$et-UserDataUpdated".to_owned(),
            AllNames => "$streams".to_owned(),
            Trail => "system-audit".to_owned(),
            Accounts => "system-accounts".to_owned(),
            Everything => "$all".to_owned(),
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Reads what is behind a path.
    Get(&'static str, Name),
    Search(Sought, Name),
    /// Appends to a stream, an event that may be a link to another's first.
    Append(Name, Option<Name>),
    /// Appends to two at once.
    AppendMany(Name, Name),
    Create(Name),
    /// Says that everybody may do everything with a stream.
    Open(Name),
    Delete(Name, bool),
    /// Writes, patches or deletes a user's data.
    User(&'static str, &'static str),
    /// The owner writes on, and changes what is said of the stream.
    Owner(&'static str),
}

#[derive(Debug, Clone, Copy)]
enum Sought {
    Word,
    WordIn,
    Value,
    Type,
    NameOf,
}

const OF_STREAMS: [&str; 12] = [
    "/api/streams/{}/events?limit=1000",
    "/api/streams/{}/events?direction=backwards&limit=5",
    "/api/streams/browse?namePattern=.*{}.*",
    "/api/streams/{}/details",
    "/api/streams/{}/metadata",
    "/api/streams/browse?prefix={}",
    "/api/streams/browse?prefix={}&status=deleted",
    "/kurrentdb/streams/{}",
    "/kurrentdb/streams/{}/0",
    "/kurrentdb/streams/{}?embed=body",
    "/kurrentdb/streams/{}/metadata",
    "/kurrentdb/streams/{}/head/backward/20?embed=tryharder",
];

const OF_USERS: [&str; 12] = [
    "/api/users/{owner}",
    "/api/users/{owner}/activity",
    "/api/users/{owner}/activity/history",
    "/api/users/{owner}/loans",
    "/api/users/{owner}/loans/1",
    "/api/users/{owner}/offers/1",
    "/api/users/{owner}/loans?status=open",
    "/api/users/{owner}/export",
    "/api/users",
    "/api/users?limit=100",
    "/api/audit?limit=100",
    "/api/auth/accounts",
];

const OF_ALL: [&str; 8] = [
    "/api/streams/all/events?limit=1000",
    "/api/streams/all/events?direction=backwards&limit=1000&system=true",
    "/api/streams/browse?limit=1000",
    "/api/streams/browse?owner={owner}",
    "/api/streams/statistics",
    "/api/streams/health",
    "/kurrentdb/streams/$all?embed=body",
    "/kurrentdb/stats",
];

fn step() -> impl Strategy<Value = Step> {
    let name = || select(NAMES.to_vec());
    let sought = select(vec![Sought::Word, Sought::WordIn, Sought::Value, Sought::Type, Sought::NameOf]);
    let get =
        |paths: &'static [&'static str]| (select(paths), name()).prop_map(|(path, of)| Step::Get(path, of));
    let user = select(vec![
        ("PUT", "activity"),
        ("PATCH", "activity"),
        ("DELETE", "loans/1"),
        ("PUT", "loans/1"),
        ("PUT", "profile"),
        ("DELETE", ""),
    ]);
    prop_oneof![
        6 => get(&OF_STREAMS),
        3 => get(&OF_USERS),
        2 => get(&OF_ALL),
        3 => (sought, name()).prop_map(|(sought, name)| Step::Search(sought, name)),
        3 => (name(), proptest::option::of(name())).prop_map(|(to, link)| Step::Append(to, link)),
        1 => (name(), name()).prop_map(|(a, b)| Step::AppendMany(a, b)),
        1 => name().prop_map(Step::Create),
        2 => name().prop_map(Step::Open),
        1 => (name(), any::<bool>()).prop_map(|(name, hard)| Step::Delete(name, hard)),
        2 => user.prop_map(|(method, path)| Step::User(method, path)),
        2 => select(vec!["append", "put", "describe"]).prop_map(Step::Owner),
    ]
}

/// One case: streams of an owner, and somebody else.
struct Case<'a> {
    world: &'a World,
    kept: &'a Kept,
    mine: String,
    answers: u32,
}

impl Case<'_> {
    /// Asks as somebody else, and looks at all that comes back.
    async fn ask(&mut self, method: &str, path: &str, body: Option<Value>) {
        let request = self.world.request(Who::Other, &self.kept.owner, method, path);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = request.header("accept", "*/*").send().await.unwrap();
        let (status, headers) = (answer.status(), format!("{:?}", answer.headers()));
        let text = answer.text().await.unwrap();
        assert!(status.as_u16() < 500 || status == 501, "{method} {path}: {status} {text}");
        assert!(
            !text.contains(&self.kept.secret) && !headers.contains(&self.kept.secret),
            "{method} {path}: {status} {headers} {text}"
        );
        self.answers += u32::from(status.is_success());
    }

    async fn carry_out(&mut self, step: Step) {
        let (kept, mine) = (self.kept, self.mine.clone());
        let named = |name: Name| name.of(kept, &mine);
        let encoded = |name: Name| named(name).replace('$', "%24");
        let (secret, owner) = (&kept.secret, &kept.owner);
        match step {
            Step::Get(path, name) => {
                let path = path.replace("{}", &encoded(name)).replace("{owner}", owner);
                self.ask("GET", &path, None).await;
            }
            Step::Search(sought, name) => {
                let pointer = |op: &str| json!({ "where": [{ "path": "/said", "op": op, "value": secret }] });
                let body = match sought {
                    Sought::Word => json!({ "text": secret }),
                    Sought::WordIn => json!({ "text": secret, "streamName": named(name) }),
                    Sought::Value => pointer("eq"),
                    Sought::Type => json!({ "eventType": secret }),
                    Sought::NameOf => json!({ "streamName": named(name) }),
                };
                self.ask("POST", "/api/streams/search", Some(body)).await;
            }
            Step::Append(to, link) => {
                let body = match link {
                    Some(link) => json!({ "eventType": "$>", "eventData": format!("0@{}", named(link)) }),
                    None => json!({ "eventType": "Said", "eventData": { "n": 1 } }),
                };
                self.ask("POST", &format!("/api/streams/{}/events", encoded(to)), Some(body)).await;
            }
            Step::AppendMany(a, b) => {
                let events = json!([{ "eventType": "Said", "eventData": {} }]);
                let streams = [a, b].map(|name| json!({ "streamName": named(name), "events": events }));
                self.ask("POST", "/api/streams/append", Some(json!({ "streams": streams }))).await;
            }
            Step::Create(name) => {
                let body = json!({ "streamName": named(name), "eventType": "Made", "eventData": {} });
                self.ask("POST", "/api/streams/create", Some(body)).await;
            }
            Step::Open(name) => {
                let all = json!(["*"]);
                let permissions = json!({ "read": all, "write": all, "admin": ["oscar"] });
                let body = json!({ "permissions": permissions });
                self.ask("PATCH", &format!("/api/streams/{}", encoded(name)), Some(body.clone())).await;
                self.ask("PUT", &format!("/api/streams/{}/metadata", encoded(name)), Some(body)).await;
            }
            Step::Delete(name, hard) => {
                self.ask(
                    "DELETE",
                    &format!("/api/streams/{}?mode={}", encoded(name), if hard { "hard" } else { "soft" }),
                    None,
                )
                .await;
            }
            Step::User(method, path) => {
                let data = json!({ "amount": 1, "currency": "EUR", "status": "open" });
                let body = match method {
                    "PUT" => Some(json!({ "data": data, "isPublic": true })),
                    "PATCH" => Some(json!({ "isPublic": true, "data": { "note": null } })),
                    _ => None,
                };
                let path = format!("/api/users/{owner}/{path}");
                self.ask(method, path.trim_end_matches('/'), body).await;
            }
            Step::Owner(what) => self.owner(what).await,
        }
    }

    /// The owner does what owners do. What was opened to everybody stays private to them.
    async fn owner(&self, what: &str) {
        let Kept { name, owner, secret } = self.kept;
        let (method, path, body) = match what {
            "append" => (
                "POST",
                format!("/api/streams/{name}/events"),
                json!({ "eventType": "Said", "eventData": { "said": secret }, "metadata": { "said": secret } }),
            ),
            "put" => (
                "PUT",
                format!("/api/users/{owner}/activity"),
                json!({ "data": { "note": secret }, "isPublic": false }),
            ),
            _ => {
                ("PATCH", format!("/api/streams/{name}"), json!({ "description": secret, "tags": [secret] }))
            }
        };
        let answer = self.world.request(Who::Owner, owner, method, &path).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{method} {path}: {}", answer.text().await.unwrap());
    }

    /// What was kept from the other is the owner's to read, or nothing was shown by all this.
    async fn owner_reads(&self) {
        for path in
            [format!("/api/streams/{}/events", self.kept.name), format!("/api/users/{}", self.kept.owner)]
        {
            let answer = self.world.request(Who::Owner, &self.kept.owner, "GET", &path).send().await.unwrap();
            let text = answer.text().await.unwrap();
            assert!(text.contains(&self.kept.secret), "{path}: {text}");
        }
    }
}

fn no_sequence_shows_it(backend: Backend, cases: u32) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let world = runtime.block_on(World::start_on(backend));
    let (next, answers) = (AtomicU32::new(0), AtomicU32::new(0));
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(cases) });
    let sequences = proptest::collection::vec(step(), 10..60);
    let ran = runner.run(&sequences, |steps| {
        runtime.block_on(async {
            let kept = world.keep().await;
            let mine = format!("mine-{}", next.fetch_add(1, Ordering::Relaxed));
            let mut case = Case { world: &world, kept: &kept, mine, answers: 0 };
            // These are answered whoever asks: what they leave out was looked for.
            case.ask("GET", "/api/streams/browse?limit=1000", None).await;
            case.ask("GET", "/api/streams/all/events?limit=1000", None).await;
            case.ask("POST", "/api/streams/search", Some(json!({ "text": kept.secret }))).await;
            for step in steps {
                case.carry_out(step).await;
            }
            case.owner_reads().await;
            answers.fetch_add(case.answers, Ordering::Relaxed);
        });
        Ok(())
    });
    ran.unwrap();
    let answers = answers.into_inner();
    assert!(answers >= 3 * cases, "too little was answered to be looked at: {answers} of {cases} cases");
}

#[test]
fn no_sequence_of_calls_shows_what_is_anothers() {
    no_sequence_shows_it(Backend::Embedded, 16);
}

#[test]
fn no_sequence_of_calls_shows_what_is_anothers_on_a_kurrentdb() {
    no_sequence_shows_it(Backend::Kurrentdb, 4);
}
