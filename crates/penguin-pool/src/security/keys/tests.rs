use super::*;

fn ring(text: &str) -> Option<Ring> {
    Ring::parse(text).unwrap()
}

#[tokio::test]
async fn a_user_has_one_key_whoever_asks_first() {
    let store = FileKeyStore::in_memory();
    let keys = Keys::open(ring(&"07".repeat(32)), Arc::new(store)).await.unwrap();
    assert!(keys.for_reading("bob").await.unwrap().is_none(), "reading makes no key");
    let ask = || async { keys.for_writing("bob").await.unwrap().unwrap().id };
    let (a, b, c) = tokio::join!(ask(), ask(), ask());
    assert!(a == b && b == c);
    assert_eq!(keys.for_reading("bob").await.unwrap().unwrap().id, a);
    assert_ne!(keys.for_writing("eve").await.unwrap().unwrap().id, a);
}

#[tokio::test]
async fn without_a_ring_nothing_is_encrypted_and_users_are_erased_all_the_same() {
    let keys = Keys::none();
    assert!(!keys.encrypts() && keys.for_writing("bob").await.unwrap().is_none());
    assert!(!keys.erase("bob").await.unwrap());
    assert_eq!(keys.for_writing("bob").await.unwrap_err(), KeysError::Erased);
    assert!(keys.rotate().await.is_err());
}

#[tokio::test]
async fn nothing_that_is_shown_tells_of_a_key() {
    let secret = "5a".repeat(32);
    let keys = Keys::open(ring(&secret), Arc::new(FileKeyStore::in_memory())).await.unwrap();
    let key = keys.for_writing("bob").await.unwrap();
    let shown = format!("{keys:?} {key:?}");
    assert!(!shown.contains("5a5a") && !shown.contains("90, 90"), "{shown}");
}
