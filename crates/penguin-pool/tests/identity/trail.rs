//! What identity writes down: logins, refused credentials, and changes of accounts and keys.

use crate::{
    bed::{Bed, PASSWORD, ask},
    face,
};
use futures::{SinkExt as _, StreamExt as _};
use penguin_pool::security::accounts::Scope;
use serde_json::{Value, json};
use std::{process::Command, time::Duration};
use test_support::TestService;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};

/// Long enough for the slowest machine.
const LONG: Duration = Duration::from_secs(30);

async fn start() -> Bed {
    let bed = Bed::with(super::BACKEND, &[("AUDIT", "true"), ("RATE_LIMIT_MAX_REQUESTS", "0")]).await;
    bed.add("ada", &["admin"]).await;
    bed.add("bob", &[]).await;
    bed
}

/// The records of a query, oldest first, once there are so many.
pub(crate) async fn records(service: &TestService, key: &str, query: &str, count: usize) -> Vec<Value> {
    let there = async {
        loop {
            let asked = service.get(&format!("/api/audit?{query}")).header("x-api-key", key);
            let mut answer = asked.send().await.unwrap().json::<Value>().await.unwrap();
            let mut records = answer["data"]["records"].as_array_mut().unwrap().split_off(0);
            if records.len() >= count {
                records.reverse();
                return records;
            }
        }
    };
    tokio::time::timeout(LONG, there).await.unwrap()
}

/// Who, what, about whom, and what came of it.
fn told(records: &[Value]) -> Vec<[String; 4]> {
    let text = |record: &Value, name: &str| record[name].as_str().unwrap_or_default().to_owned();
    records.iter().map(|r| ["caller", "action", "subject", "outcome"].map(|name| text(r, name))).collect()
}

#[tokio::test]
async fn logins_are_written_down_good_and_bad_and_never_what_they_came_with() {
    let bed = start().await;
    let (_, key) = bed.key("ada", Scope::Admin, None).await;
    let basic = |login: &str, password: &str| bed.browse().basic_auth(login, Some(password.to_owned()));
    let first = bed.service.post("/api/auth/token").basic_auth("ada", Some(PASSWORD));
    assert_eq!(ask(first.header("x-request-id", "r-1")).await.0, 200);
    for _ in 0..3 {
        assert_eq!(ask(basic("ada", PASSWORD)).await.0, 200, "it is remembered");
    }
    bed.token("ada").await;
    for _ in 0..5 {
        assert_eq!(ask(basic("bob", "swordfish")).await.0, 401);
    }
    assert_eq!(ask(basic("bob", PASSWORD)).await.0, 429);
    let long = "é".repeat(500);
    assert_eq!(ask(basic(&long, "swordfish")).await.0, 401);

    let found = records(&bed.service, &key, "action=login", 9).await;
    let failed = ["anonymous", "login", "bob", "authentication-failed"];
    let cut = "é".repeat(64);
    let mut expected = vec![["ada", "login", "ada", "ok"]; 2];
    expected.extend([failed; 5]);
    expected.push(["anonymous", "login", "bob", "rate-limited"]);
    expected.push(["anonymous", "login", &cut, "authentication-failed"]);
    assert_eq!(told(&found), expected);
    assert_eq!((&found[0]["requestId"], &found[0]["address"]), (&json!("r-1"), &json!("127.0.0.1")));
    let about = records(&bed.service, &key, "subject=bob&action=login", 6).await;
    assert_eq!(about.len(), 6);
    let all = records(&bed.service, &key, "limit=1000", 9).await;
    let all = Value::from(all).to_string();
    assert!(!all.contains("swordfish") && !all.contains(PASSWORD), "{all}");
}

#[tokio::test]
async fn refused_credentials_are_written_down_and_good_ones_by_what_they_do() {
    let bed = start().await;
    let (_, key) = bed.key("ada", Scope::Admin, None).await;
    let (revoked, bobs) = bed.key("bob", Scope::Read, None).await;
    let token = bed.token("bob").await;
    let accounts = bed.service.service.identity().accounts();
    accounts.revoke_key(&revoked, "ada").await.unwrap();
    accounts.set_enabled("bob", false, "ada").await.unwrap();
    for request in [
        bed.browse().header("x-api-key", &bobs),
        bed.browse().header("x-api-key", "nonsense"),
        bed.browse().bearer_auth("a.b.c"),
        bed.browse().bearer_auth(&token),
        bed.browse().header("authorization", "Digest x"),
    ] {
        assert_eq!(ask(request).await.0, 401);
    }
    let found = records(&bed.service, &key, "outcome=authentication-failed", 5).await;
    let refused = |action, subject| ["anonymous", action, subject, "authentication-failed"];
    assert_eq!(
        told(&found),
        [
            refused("api-key", &revoked),
            refused("api-key", ""),
            refused("token", ""),
            refused("token", "bob"),
            refused("credentials", ""),
        ]
    );
    let secrets = [token, bobs.rsplit('_').next().unwrap().to_owned()];
    let all = Value::from(records(&bed.service, &key, "limit=1000", 5).await).to_string();
    assert!(secrets.iter().all(|secret| !all.contains(secret)), "{all}");
}

#[tokio::test]
async fn changes_of_accounts_and_keys_are_written_down_refusals_too() {
    let mut bed = start().await;
    let (id, key) = bed.key("ada", Scope::Admin, None).await;
    let address = face::serve(&mut bed).await;
    let options = Default::default();
    let ada = face::operator(address, face::ADA);
    ada.create_user("carol", "a long password", "Carol", vec!["lenders".into()], &options).await.unwrap();
    assert!(ada.create_user("carol", "a long password", "", vec![], &options).await.is_err());
    ada.disable_user("carol", &options).await.unwrap();
    ada.enable_user("carol", &options).await.unwrap();
    ada.reset_user_password("carol", "another password", &options).await.unwrap();
    ada.delete_user("carol", &options).await.unwrap();
    let bob = face::operator(address, face::BOB);
    assert!(bob.reset_user_password("ada", "a long password", &options).await.is_err());
    let accounts = bed.service.service.identity().accounts();
    accounts.revoke_key(&id, "bob").await.unwrap();

    assert_eq!(ask(bed.browse().header("x-api-key", key)).await.0, 401);
    let (_, key) = bed.key("ada", Scope::Admin, None).await;
    let records_of_accounts = records(&bed.service, &key, "stream=system-accounts", 12).await;
    let found = told(&records_of_accounts);
    let expected = [
        ["system", "create-account", "ada", "ok"],
        ["system", "create-account", "bob", "ok"],
        ["system", "create-key", &id, "ok"],
        ["ada", "create-account", "carol", "ok"],
        ["ada", "create-account", "carol", "stream-already-exists"],
        ["ada", "disable-account", "carol", "ok"],
        ["ada", "enable-account", "carol", "ok"],
        ["ada", "set-password", "carol", "ok"],
        ["ada", "delete-account", "carol", "ok"],
        ["bob", "set-password", "ada", "permission-denied"],
        ["bob", "revoke-key", &id, "ok"],
    ];
    assert_eq!(found[..expected.len()], expected);
    // What came by KurrentDB's protocol came from somewhere, refused or not.
    for (record, [by, ..]) in records_of_accounts.iter().zip(expected) {
        let came = record["address"].as_str();
        let asked = by != "system" && record["action"] != "revoke-key";
        assert_eq!(came, asked.then_some("127.0.0.1"), "{record}");
    }
    let logins = records(&bed.service, &key, "action=login", 2).await;
    assert_eq!(told(&logins), [["ada", "login", "ada", "ok"], ["bob", "login", "bob", "ok"]]);
}

#[tokio::test]
async fn who_looks_at_the_accounts_and_keys_of_others_is_written_down_and_who_looks_at_their_own_is_not() {
    let mut bed = start().await;
    let (_, key) = bed.key("ada", Scope::Admin, None).await;
    let (_, bobs) = bed.key("bob", Scope::Read, None).await;
    let address = face::serve(&mut bed).await;
    let get =
        |path: &str, key: &str| bed.service.get(path).header("x-api-key", key).header("x-request-id", "r-1");
    for (key, accounts) in [(&bobs, 403), (&key, 200)] {
        assert_eq!(ask(get("/api/auth/accounts", key)).await.0, accounts);
        assert_eq!(ask(get("/api/auth/keys", key)).await.0, 200);
    }
    let options = Default::default();
    for who in [face::ADA, face::BOB] {
        let operator = face::operator(address, who);
        for login in ["", "ada", "bob", "eve"] {
            // A refusal stands in the answer, or in what comes of it.
            if let Ok(mut told) = operator.user_details(login, &options).await {
                while let Ok(Some(_)) = told.next().await {}
            }
        }
    }
    let looks = async |action: &str, count: usize| {
        let found = records(&bed.service, &key, &format!("action={action}"), count).await;
        for record in &found {
            assert_eq!(
                (&record["address"], &record["streams"]),
                (&json!("127.0.0.1"), &json!(["system-accounts"]))
            );
        }
        (found[0]["requestId"].clone(), told(&found))
    };
    let (request, accounts) = looks("read-account", 8).await;
    assert_eq!(request, "r-1");
    assert_eq!(
        accounts,
        [
            ["bob", "read-account", "$all", "permission-denied"],
            ["ada", "read-account", "$all", "ok"],
            ["ada", "read-account", "$all", "ok"],
            ["ada", "read-account", "bob", "ok"],
            ["ada", "read-account", "eve", "user-not-found"],
            ["bob", "read-account", "$all", "permission-denied"],
            ["bob", "read-account", "ada", "permission-denied"],
            ["bob", "read-account", "eve", "permission-denied"],
        ]
    );
    assert_eq!(looks("read-key", 1).await.1, [["ada", "read-key", "$all", "ok"]]);
}

#[tokio::test]
async fn what_comes_by_kurrentdbs_protocol_is_written_down_with_its_address() {
    let mut bed = start().await;
    let (_, key) = bed.key("ada", Scope::Admin, None).await;
    let address = face::serve(&mut bed).await;
    let bob = face::client(address, face::BOB);
    let event = kurrentdb::EventData::json("Lent", &json!({ "n": 1 })).unwrap();
    bob.append_to_stream("loan-1", &Default::default(), event).await.unwrap();
    let node = format!("http://{address}/streams/loan-1/0");
    let read = bed.service.client.get(node).basic_auth("bob", Some(PASSWORD)).send().await.unwrap();
    assert_eq!(read.status(), 200);
    let login = records(&bed.service, &key, "action=login", 1).await;
    let deeds = records(&bed.service, &key, "stream=loan-1&caller=bob", 2).await;
    assert_eq!(deeds[0]["action"], "append");
    for record in login.iter().chain(&deeds) {
        assert_eq!(record["address"], "127.0.0.1", "{record}");
    }
}

#[tokio::test]
async fn who_follows_over_a_socket_is_written_down_with_the_address_refused_or_not() {
    let bed = Bed::with(super::BACKEND, &[("AUDIT", "true"), ("TRUSTED_PROXIES", "127.0.0.1")]).await;
    bed.add("ada", &["admin"]).await;
    bed.add("bob", &[]).await;
    let (_, key) = bed.key("ada", Scope::Admin, None).await;
    let (_, bobs) = bed.key("bob", Scope::Read, None).await;
    let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", bed.service.service.address());
    let mut request = url.into_client_request().unwrap();
    for (name, value) in [("x-request-id", "r-7"), ("x-forwarded-for", "203.0.113.7")] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let (mut socket, _) = connect_async(request).await.unwrap();
    let mut said = async |packet: String, until: &str| {
        socket.send(Message::text(packet)).await.unwrap();
        let heard = async {
            loop {
                let text = socket.next().await.unwrap().unwrap().into_text().unwrap().to_string();
                if text.starts_with(until) {
                    return text;
                }
            }
        };
        tokio::time::timeout(LONG, heard).await.unwrap()
    };
    said(r#"40/ws/streams,{"token":"nonsense"}"#.to_owned(), "44/ws/streams,").await;
    said(format!(r#"40/ws/streams,{{"token":"{bobs}"}}"#), "40/ws/streams,").await;
    for (id, stream) in ["loan-1", "user-ada-profile", "system-audit"].into_iter().enumerate() {
        let packet = format!(r#"42/ws/streams,{id}["subscribe",{{"streamName":"{stream}"}}]"#);
        let answer = said(packet, &format!("43/ws/streams,{id}")).await;
        assert_eq!(answer.contains(r#""success":true"#), id == 0, "{answer}");
    }
    let found = records(&bed.service, &key, "caller=bob", 5).await;
    let deeds: Vec<_> = found
        .iter()
        .map(|r| ["action", "outcome"].map(|name| r[name].as_str().unwrap()))
        .zip(found.iter().map(|r| r["streams"][0].as_str().unwrap()))
        .collect();
    assert_eq!(
        deeds,
        [
            (["describe", "stream-not-found"], "loan-1"),
            (["subscribe", "ok"], "loan-1"),
            (["describe", "stream-not-found"], "user-ada-profile"),
            (["subscribe", "stream-not-found"], "user-ada-profile"),
            (["describe", "permission-denied"], "system-audit"),
        ]
    );
    let refused = records(&bed.service, &key, "outcome=authentication-failed", 1).await;
    for record in found.iter().chain(&refused) {
        assert_eq!(
            (&record["requestId"], &record["address"]),
            (&json!("r-7"), &json!("203.0.113.7")),
            "{record}"
        );
    }
}

#[tokio::test]
async fn what_the_command_line_does_stands_in_the_trail_in_a_chain_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_penguin-pool"))
            .args(arguments)
            .env_clear()
            .envs([("NODE_ENV", "test"), ("AUDIT", "true"), ("DATA_DIR", data.to_str().unwrap())])
            .env("ENCRYPTION_KEY", "01".repeat(32))
            .current_dir(directory.path())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        said.trim().to_owned()
    };
    run(&["user", "add", "ada", "--role", "admin"]);
    let key = run(&["key", "add", "ada", "--scope", "admin"]);
    run(&["user", "ls"]);
    run(&["keys", "rotate"]);
    run(&["keys", "accept-loss"]);
    let service = TestService::builder()
        .set("AUTH_MODE", "required")
        .set("AUDIT", "true")
        .set("DATA_DIR", data.display())
        .set("ENCRYPTION_KEY", "01".repeat(32))
        .set("RATE_LIMIT_MAX_REQUESTS", 0)
        .start()
        .await;
    let found = records(&service, &key, "caller=cli", 4).await;
    let id = key.split('_').nth(1).unwrap();
    assert_eq!(
        told(&found),
        [
            ["cli", "create-account", "ada", "ok"],
            ["cli", "create-key", id, "ok"],
            ["cli", "rotate-keys", "", "ok"],
            ["cli", "accept-loss", "", "ok"],
        ]
    );
    service.stop().await;
    let verdict = run(&["audit", "verify"]);
    assert!(verdict.contains("no fault"), "{verdict}");
}
