//! Accounts over a store: what is kept, what is refused, and who wins.

use super::*;
use crate::security::password::Passwords;
use event_store::{EventStore, NewEvent, contract::Model};
use test_support::{MockClock, SeededIds};

struct Bed {
    store: Arc<dyn EventStore>,
    clock: Arc<MockClock>,
    hash: Phc,
}

impl Bed {
    async fn new() -> Self {
        let clock = Arc::new(MockClock::new());
        let store = Arc::new(Model::new(Arc::<MockClock>::clone(&clock), Arc::new(SeededIds::new(7))));
        let hash = Passwords::default().hash("correct horse".into()).await.unwrap();
        Self { store, clock, hash }
    }

    /// Accounts as a process that was just started has them.
    fn open(&self, seed: u64) -> Accounts {
        let ids = Arc::new(SeededIds::new(seed));
        Accounts::open(Arc::clone(&self.store), Arc::<MockClock>::clone(&self.clock), ids, None).unwrap()
    }

    fn account(&self, login_name: &str, roles: &[&str]) -> NewAccount {
        NewAccount {
            login_name: login_name.to_owned(),
            full_name: String::new(),
            roles: roles.iter().map(|&role| role.to_owned()).collect(),
            hash: self.hash.clone(),
        }
    }
}

#[tokio::test]
async fn what_was_changed_is_known_at_once_and_after_a_restart() {
    let bed = Bed::new().await;
    let accounts = bed.open(1);
    accounts.create(bed.account("bob", &["admin"]), "system").await.unwrap();
    accounts.create(bed.account("carol", &[]), "bob").await.unwrap();
    accounts.update("carol", Some("Carol C.".into()), Some(vec!["lender".into()]), "bob").await.unwrap();
    accounts.set_enabled("carol", false, "bob").await.unwrap();
    let day = Duration::from_secs(86_400);
    let key = accounts.create_key("bob", "nightly", Scope::Write, Some(day), "bob").await.unwrap();
    for accounts in [accounts.clone(), bed.open(2)] {
        let carol = accounts.find("carol").await.unwrap().unwrap();
        assert_eq!(
            (&*carol.full_name, &*carol.roles, carol.disabled),
            ("Carol C.", &["lender".to_owned()][..], true)
        );
        let kept = accounts.find_key(&key.id).await.unwrap().unwrap();
        assert_eq!((&*kept.login_name, kept.scope), ("bob", Scope::Write));
        assert_eq!(kept.expires_at, Some(bed.clock.now().plus(day)));
        assert_eq!(accounts.all().await.unwrap().len(), 2);
    }
    accounts.delete("bob", "carol").await.unwrap();
    for accounts in [accounts, bed.open(3)] {
        assert!(accounts.find("bob").await.unwrap().is_none());
        assert!(accounts.find_key(&key.id).await.unwrap().is_none(), "its keys went with it");
    }
    let metadata = bed.store.metadata(&StreamName::new(STREAM).unwrap()).await.unwrap().metadata;
    assert_eq!(metadata.acl.unwrap().read, Some(vec!["$admins".to_owned()]));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_nothing_is_written() {
    let bed = Bed::new().await;
    let accounts = bed.open(1);
    accounts.create(bed.account("bob", &[]), "system").await.unwrap();
    let before = bed.store.last_position().await.unwrap();
    let exists = accounts.create(bed.account("bob", &[]), "system").await;
    assert_eq!(exists, Err(AccountError::Exists("bob".into())));
    for name in ["", "system", "a b", "role:admin", "$admins", "bob-loans"] {
        let refused = accounts.create(bed.account(name, &[]), "system").await;
        assert!(matches!(refused, Err(AccountError::Invalid(_))), "{name}: {refused:?}");
    }
    let roles = accounts.update("bob", None, Some(vec!["role:x".into()]), "system").await;
    assert!(matches!(roles, Err(AccountError::Invalid(_))), "{roles:?}");
    assert_eq!(accounts.delete("eve", "system").await, Err(AccountError::NotFound("eve".into())));
    assert_eq!(accounts.revoke_key("00", "system").await, Err(AccountError::NoSuchKey("00".into())));
    let admin = accounts.create_key("bob", "", Scope::Admin, None, "system").await;
    assert!(matches!(admin, Err(AccountError::Invalid(_))), "bob is no admin, and neither is his key");
    accounts.set_enabled("bob", true, "system").await.unwrap();
    assert_eq!(bed.store.last_position().await.unwrap(), before, "nothing was changed by what is so already");
}

#[tokio::test]
async fn an_account_has_so_many_good_keys_and_no_more() {
    let bed = Bed::new().await;
    let accounts = bed.open(1);
    for name in ["bob", "carol"] {
        accounts.create(bed.account(name, &[]), "system").await.unwrap();
    }
    let day = Duration::from_secs(86_400);
    let add = |name: &'static str, days: Option<u32>| {
        let accounts = accounts.clone();
        async move { accounts.create_key(name, "", Scope::Read, days.map(|days| day * days), name).await }
    };
    let lasting = add("bob", None).await.unwrap().id;
    for _ in 1..MOST_KEYS {
        add("bob", Some(1)).await.unwrap();
    }
    let Err(AccountError::Invalid(why)) = add("bob", Some(1)).await else { panic!("one too many") };
    assert!(why.contains("100 API keys") && why.contains("revoke one"), "{why}");
    add("carol", None).await.unwrap();
    accounts.revoke_key(&lasting, "bob").await.unwrap();
    add("bob", Some(2)).await.unwrap();
    assert!(add("bob", None).await.is_err());
    bed.clock.advance(day);
    for _ in 1..MOST_KEYS {
        add("bob", None).await.expect("those that expired do not count");
    }
    assert!(add("bob", None).await.is_err());
}

#[tokio::test]
async fn keys_are_revoked_in_one_step_with_a_password_and_nobody_elses() {
    let bed = Bed::new().await;
    let accounts = bed.open(1);
    for name in ["bob", "carol"] {
        accounts.create(bed.account(name, &[]), "system").await.unwrap();
        for _ in 0..3 {
            accounts.create_key(name, "", Scope::Read, None, name).await.unwrap();
        }
    }
    let other = Passwords::default().hash("another horse".into()).await.unwrap();
    accounts.set_password("bob", bed.hash.clone(), "bob").await.unwrap();
    assert_eq!(accounts.all_keys().await.unwrap().len(), 6, "a password alone leaves them");
    let before = bed.store.last_position().await.unwrap().unwrap();
    accounts.set_password_and_revoke_keys("bob", other.clone(), "bob").await.unwrap();
    for accounts in [accounts.clone(), bed.open(2)] {
        let left = accounts.all_keys().await.unwrap();
        assert_eq!(left.iter().map(|key| &*key.login_name).collect::<Vec<_>>(), ["carol"; 3]);
        assert_eq!(accounts.find("bob").await.unwrap().unwrap().hash(), &other);
    }
    let written = bed.store.last_position().await.unwrap().unwrap();
    assert_eq!(written.raw() - before.raw(), 4, "the password, and each key");
    accounts.revoke_keys("bob", "ada").await.unwrap();
    assert_eq!(bed.store.last_position().await.unwrap(), Some(written), "there are none");
    accounts.revoke_keys("carol", "ada").await.unwrap();
    assert!(bed.open(3).all_keys().await.unwrap().is_empty());
    let nobody = accounts.set_password_and_revoke_keys("eve", other, "ada").await;
    assert_eq!(nobody, Err(AccountError::NotFound("eve".into())));
}

#[tokio::test]
async fn two_instances_do_not_undo_each_others_changes() {
    let bed = Bed::new().await;
    let (one, other) = (bed.open(1), bed.open(2));
    let names: Vec<String> = (0..20).map(|i| format!("user{i}")).collect();
    let made = futures::future::join_all(names.iter().enumerate().map(|(i, name)| {
        let instance = if i % 2 == 0 { &one } else { &other };
        instance.create(bed.account(name, &[]), "system")
    }));
    assert!(made.await.iter().all(Result::is_ok));
    let twice =
        tokio::join!(one.create(bed.account("bob", &[]), "a"), other.create(bed.account("bob", &[]), "b"));
    assert!(twice.0.is_ok() != twice.1.is_ok(), "one of the two was first: {twice:?}");
    assert_eq!(bed.open(3).all().await.unwrap().len(), 21);
}

#[tokio::test]
async fn the_first_account_is_made_once() {
    let bed = Bed::new().await;
    let (one, other) = (bed.open(1), bed.open(2));
    let account = bed.account("admin", &["admin"]);
    let made = tokio::join!(one.create_first(&account), other.create_first(&account));
    assert!(made.0.unwrap() != made.1.unwrap());
    assert!(!bed.open(3).create_first(&account).await.unwrap());
}

#[tokio::test]
async fn an_event_that_cannot_be_read_hides_no_other() {
    let bed = Bed::new().await;
    let accounts = bed.open(1);
    accounts.create(bed.account("bob", &[]), "system").await.unwrap();
    let stream = StreamName::new(STREAM).unwrap();
    let broken = ["AccountCreated", "AccountDeleted", "SomethingElse"]
        .map(|event_type| NewEvent::json(SeededIds::new(9).next_id(), event_type, r#"{"loginName":7}"#));
    for event in broken {
        let event = NewEvent { id: uuid::Uuid::from_u128(event.event_type.as_str().len() as u128), ..event };
        bed.store.append(&stream, ExpectedState::Any, vec![event]).await.unwrap();
    }
    accounts.create(bed.account("carol", &[]), "system").await.unwrap();
    let names: Vec<_> = bed.open(2).all().await.unwrap().iter().map(|a| a.login_name.clone()).collect();
    assert_eq!(names, ["bob", "carol"]);
}
