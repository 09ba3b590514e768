//! The decision, row by row, and what must hold whatever an `$acl` says.

use super::*;
use proptest::prelude::*;

const RIGHTS: [Right; 5] = [Right::Read, Right::Write, Right::Delete, Right::MetaRead, Right::MetaWrite];

fn name(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

fn user(id: &str, roles: &[&str]) -> Caller {
    Caller::user(id, &roles.iter().map(|role| (*role).to_owned()).collect::<Vec<_>>())
}

fn acl(read: &[&str]) -> Acl {
    let names = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect());
    Acl { read: names(read), ..Acl::default() }
}

/// The rights that a caller has, one letter each.
fn has(caller: &Caller, stream: &str, acl: Option<&Acl>) -> String {
    let letters = RIGHTS.iter().zip(["r", "w", "d", "m", "M"]);
    letters.filter(|(right, _)| allows(caller, &name(stream), acl, **right)).map(|(_, l)| l).collect()
}

#[test]
fn who_may_only_read_changes_nothing_that_is_theirs() {
    let stream = StreamName::new("user-bob-profile").unwrap();
    let bob = Caller::user("bob", &[]);
    for right in [Right::Write, Right::Delete, Right::MetaWrite] {
        assert!(allows(&bob, &stream, None, right));
        assert!(!allows(&bob.clone().read_only(), &stream, None, right));
    }
    assert!(allows(&bob.read_only(), &stream, None, Right::Read));
}

#[test]
fn without_an_acl_the_name_decides() {
    let (bob, amy) = (user("bob", &["librarian"]), user("amy", &[]));
    let (admin, system, anonymous) = (user("root", &["admin"]), Caller::system(), Caller::anonymous());
    for (stream, of_bob, of_amy) in [
        ("user-bob-profile", "rwdmM", ""),
        ("user-bob-loans-42", "rwdmM", ""),
        ("$$user-bob-loans-42", "rwdmM", ""),
        // The first part that is a type ends the user's id, so these are not bob's.
        ("user-bob-b-profile", "", ""),
        ("user-amy-profile", "", "rwdmM"),
        ("loans-42", "rwdmM", "rwdmM"),
        ("$$loans-42", "rwdmM", "rwdmM"),
        // No user can have such an id: streams like any other.
        ("user-profile", "rwdmM", "rwdmM"),
        ("user-bob", "rwdmM", "rwdmM"),
        ("service-uptime-http", "", ""),
        ("system-health-check", "", ""),
        ("system-accounts", "", ""),
        ("$$system-accounts", "", ""),
        ("connection-test", "", ""),
        ("$ce-loans", "", ""),
        ("$settings", "", ""),
        ("$$$settings", "", ""),
        ("$$$$loans-42", "", ""),
    ] {
        assert_eq!(has(&bob, stream, None), of_bob, "bob, {stream}");
        assert_eq!(has(&amy, stream, None), of_amy, "amy, {stream}");
        assert_eq!(has(&anonymous, stream, None), "", "anonymous, {stream}");
        for all in [&admin, &system] {
            assert_eq!(has(all, stream, None), "rwdmM", "{all:?}, {stream}");
        }
    }
}

#[test]
fn an_acl_names_users_roles_and_everybody() {
    let (bob, librarian) = (user("bob", &[]), user("liz", &["librarian", "$ops"]));
    for (read, of_bob, of_librarian, of_anonymous) in [
        (&["bob"][..], true, false, false),
        (&["role:librarian"], false, true, false),
        (&["$ops"], false, true, false),
        // A role is no user, and a user no role.
        (&["librarian"], false, false, false),
        (&["role:bob"], false, false, false),
        (&["$all"], true, true, true),
        (&["*"], true, true, true),
        (&["$admins"], false, false, false),
        (&[], false, false, false),
    ] {
        for stream in ["loans-42", "user-amy-profile", "$ce-loans"] {
            let acl = acl(read);
            let reads = |caller: &Caller| allows(caller, &name(stream), Some(&acl), Right::Read);
            assert_eq!(reads(&bob), of_bob, "bob, {read:?}");
            assert_eq!(reads(&librarian), of_librarian, "librarian, {read:?}");
            assert_eq!(reads(&Caller::anonymous()), of_anonymous, "anonymous, {read:?}");
        }
    }
}

#[test]
fn ids_that_look_like_words_of_the_acl_mean_nothing_special() {
    for id in ["system", "*", "$all", "$admins", "role:admin", "anonymous", "admin"] {
        let posing = user(id, &[]);
        for stream in ["system-accounts", "$settings", "user-bob-profile"] {
            assert_eq!(has(&posing, stream, None), "", "{id}");
            assert_eq!(has(&posing, stream, Some(&acl(&["$admins", "system", "role:admin"]))), "", "{id}");
        }
    }
    // One who did not say who they are is not the user of that name.
    assert_eq!(has(&Caller::anonymous(), "loans-42", Some(&acl(&["anonymous"]))), "");
}

#[test]
fn what_an_acl_does_not_say_is_as_the_name_implies() {
    let (bob, amy) = (user("bob", &[]), user("amy", &[]));
    assert_eq!(has(&amy, "user-bob-profile", Some(&acl(&["$all"]))), "rm", "public, and bob's to write");
    assert_eq!(has(&bob, "user-bob-profile", Some(&acl(&["$all"]))), "rwdmM");
    assert_eq!(has(&amy, "loans-42", Some(&acl(&["bob"]))), "wdM", "metadata tells nobody else");
    let closed = Acl { meta_read: Some(vec!["$admins".to_owned()]), ..acl(&["$all"]) };
    assert_eq!(has(&amy, "user-bob-profile", Some(&closed)), "r");
    assert_eq!(audience(&name("user-bob-profile"), Some(&closed)), BTreeSet::new());
}

fn an_id() -> impl Strategy<Value = String> {
    proptest::sample::select(&["bob", "amy", "liz", "system", "librarian"][..]).prop_map(str::to_owned)
}

fn listed() -> impl Strategy<Value = Option<Vec<String>>> {
    let name = prop_oneof![
        an_id(),
        an_id().prop_map(|id| format!("role:{id}")),
        proptest::sample::select(&["$all", "*", "$admins", "$ops", "system", "", "role:"][..])
            .prop_map(str::to_owned),
    ];
    proptest::option::of(proptest::collection::vec(name, 0..4))
}

fn callers() -> impl Strategy<Value = Caller> {
    let roles = proptest::sample::subsequence(
        vec!["librarian".to_owned(), "$ops".to_owned(), "bob".to_owned()],
        0..4,
    );
    prop_oneof![
        1 => Just(Caller::anonymous()),
        1 => Just(Caller::system()),
        1 => an_id().prop_map(|id| user(&id, &["admin"])),
        6 => (an_id(), roles).prop_map(|(id, roles)| Caller::user(&id, &roles)),
    ]
}

prop_compose! {
    fn acls()(read in listed(), write in listed(), delete in listed(), meta_read in listed(), meta_write in listed())
        -> Acl {
        Acl { read, write, delete, meta_read, meta_write }
    }
}

fn streams() -> impl Strategy<Value = StreamName> {
    const NAMES: [&str; 5] = ["loans-42", "user-bob-profile", "user-amy-loans-7", "system-x", "$settings"];
    proptest::sample::select(&NAMES[..]).prop_map(name)
}

proptest! {
    #[test]
    fn who_finds_a_stream_may_read_it_and_its_metadata(
        caller in callers(), stream in streams(), acl in proptest::option::of(acls()),
    ) {
        let may = |right| allows(&caller, &stream, acl.as_ref(), right);
        let finds = keys(&caller).is_none_or(|keys| {
            let audience = audience(&stream, acl.as_ref());
            keys.iter().any(|key| audience.contains(key))
        });
        prop_assert!(!finds || (may(Right::Read) && may(Right::MetaRead)));
        // And without an ACL of its own for metadata, who may read it finds it.
        if acl.as_ref().is_none_or(|acl| acl.meta_read.is_none()) {
            prop_assert_eq!(finds, may(Right::Read));
        }
    }

    #[test]
    fn a_metastream_is_as_its_stream_says(
        caller in callers(), stream in streams(), acl in proptest::option::of(acls()),
    ) {
        let metastream = stream.metastream().unwrap();
        for right in RIGHTS {
            let meant = if right.is_reading() { Right::MetaRead } else { Right::MetaWrite };
            prop_assert_eq!(
                allows(&caller, &metastream, acl.as_ref(), right),
                allows(&caller, &stream, acl.as_ref(), meant)
            );
        }
    }

    #[test]
    fn one_who_did_not_say_who_they_are_changes_nothing(stream in streams(), acl in proptest::option::of(acls())) {
        for right in RIGHTS.into_iter().filter(|right| !right.is_reading()) {
            prop_assert!(!allows(&Caller::anonymous(), &stream, acl.as_ref(), right));
        }
    }
}
