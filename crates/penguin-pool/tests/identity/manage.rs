//! Accounts and keys, managed over HTTP while the service runs.

use crate::{
    bed::{Bed, PASSWORD, ask, refused},
    trail::records,
};
use penguin_pool::security::accounts::Scope;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

impl Bed {
    fn call(&self, login: &str, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/api/auth/{path}", self.service.url);
        self.service.client.request(method, url).basic_auth(login, Some(PASSWORD))
    }
}

async fn data(request: RequestBuilder, status: u16) -> Value {
    let (was, body) = ask(request).await;
    assert_eq!(was, status, "{body}");
    body["data"].clone()
}

#[tokio::test]
async fn an_administrator_makes_changes_and_deletes_accounts() {
    let bed = Bed::start().await;
    let made = bed
        .call("ada", Method::POST, "accounts")
        .json(&json!({ "loginName": "carol", "roles": ["auditor"] }));
    let made = data(made, 201).await;
    assert_eq!(made["account"]["loginName"], "carol");
    let password = made["password"].as_str().unwrap().to_owned();
    let me =
        async |password: &str| ask(bed.service.get("/api/auth/me").basic_auth("carol", Some(password))).await;
    let (status, body) = me(&password).await;
    assert_eq!(
        (status, &body["data"]["id"], &body["data"]["roles"]),
        (200, &json!("carol"), &json!(["auditor"]))
    );
    assert_eq!((&body["data"]["isAdmin"], &body["data"]["readOnly"]), (&json!(false), &json!(false)));

    let again = ask(bed.call("ada", Method::POST, "accounts").json(&json!({ "loginName": "carol" }))).await;
    assert_eq!(refused(409, "stream-already-exists", &again), "User 'carol' already exists.");
    let change = bed.call("ada", Method::PATCH, "accounts/carol");
    let changed = data(change.json(&json!({ "fullName": "Carol", "password": "another-one" })), 200).await;
    assert_eq!((&changed["fullName"], &changed["roles"]), (&json!("Carol"), &json!(["auditor"])));
    assert_eq!((me(&password).await.0, me("another-one").await.0), (401, 200));
    data(bed.call("ada", Method::PATCH, "accounts/carol").json(&json!({ "disabled": true })), 200).await;
    assert_eq!(me("another-one").await.0, 401);
    data(bed.call("ada", Method::PATCH, "accounts/carol").json(&json!({ "disabled": false })), 200).await;
    assert_eq!(me("another-one").await.0, 200);

    let list = data(bed.call("ada", Method::GET, "accounts"), 200).await;
    let names: Vec<_> = list["accounts"].as_array().unwrap().iter().map(|a| a["loginName"].clone()).collect();
    assert_eq!(names, ["ada", "bob", "carol"]);
    assert!(!list.to_string().contains("argon2"), "{list}");
    data(bed.call("ada", Method::DELETE, "accounts/carol"), 200).await;
    assert_eq!(me("another-one").await.0, 401);
    let gone = ask(bed.call("ada", Method::DELETE, "accounts/carol")).await;
    refused(404, "user-not-found", &gone);
}

#[tokio::test]
async fn accounts_are_the_administrators() {
    let bed = Bed::on(&[("AUDIT", "true")], None).await;
    bed.add("ada", &["admin"]).await;
    bed.add("bob", &[]).await;
    for (method, path) in [
        (Method::GET, "accounts"),
        (Method::POST, "accounts"),
        (Method::PATCH, "accounts/ada"),
        (Method::DELETE, "accounts/ada"),
    ] {
        let request = bed.call("bob", method, path).json(&json!({ "loginName": "carol" }));
        let answer = if path == "accounts/ada" {
            ask(request.json(&json!({ "roles": [] }))).await
        } else {
            ask(request).await
        };
        refused(403, "permission-denied", &answer);
    }
    let (_, key) = bed.key("ada", Scope::Admin, None).await;
    let trail = records(&bed.service, &key, "caller=bob&action=delete-account", 1).await;
    let told = (&trail[0]["subject"], &trail[0]["outcome"]);
    assert_eq!(told, (&json!("ada"), &json!("permission-denied")));
}

#[tokio::test]
async fn everybody_makes_and_revokes_keys_of_their_own() {
    let bed = Bed::start().await;
    let made = bed.call("bob", Method::POST, "keys").json(&json!({ "label": "report", "days": 1 }));
    let made = data(made, 201).await;
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    let by_key = async |path: &str| ask(bed.service.get(path).header("x-api-key", key)).await;
    let (status, body) = by_key("/api/auth/me").await;
    assert_eq!((status, &body["data"]["id"], &body["data"]["readOnly"]), (200, &json!("bob"), &json!(true)));
    let (_, listed) = by_key("/api/auth/keys").await;
    assert_eq!(
        (&listed["data"]["keys"][0]["id"], &listed["data"]["keys"][0]["scope"]),
        (&json!(id), &json!("read"))
    );
    assert!(!listed.to_string().contains(key));

    // Nobody else's, and not more than their own.
    assert_eq!(data(bed.call("bob", Method::GET, "keys"), 200).await["keys"].as_array().unwrap().len(), 1);
    for body in [json!({ "loginName": "ada" }), json!({ "scope": "admin" })] {
        let answer = ask(bed.call("bob", Method::POST, "keys").json(&body)).await;
        refused(403, "permission-denied", &answer);
    }
    let (adas, _) = bed.key("ada", Scope::Admin, None).await;
    let answer = ask(bed.call("bob", Method::DELETE, &format!("keys/{adas}"))).await;
    refused(404, "user-not-found", &answer);
    data(bed.call("ada", Method::DELETE, &format!("keys/{id}")), 200).await;
    assert_eq!(by_key("/api/auth/me").await.0, 401);
}

#[tokio::test]
async fn a_key_makes_no_keys_and_no_accounts() {
    let bed = Bed::start().await;
    let (_, key) = bed.key("ada", Scope::Admin, None).await;
    for path in ["keys", "accounts"] {
        let request = bed.service.post(&format!("/api/auth/{path}")).header("x-api-key", &key);
        let body = if path == "keys" { json!({}) } else { json!({ "loginName": "carol" }) };
        let message = refused(403, "permission-denied", &ask(request.json(&body)).await);
        assert_eq!(message, "An API key makes no accounts and no keys: send a password or a token");
    }
}

#[tokio::test]
async fn kurrentdbs_name_of_the_administrators_is_the_same_role() {
    let bed = Bed::on(&[("AUDIT", "true")], None).await;
    bed.add("ada", &["admin"]).await;
    let dto = json!({ "loginName": "olga", "roles": ["$admins"], "password": PASSWORD });
    let made = data(bed.call("ada", Method::POST, "accounts").json(&dto), 201).await;
    assert_eq!(made["account"]["roles"], json!(["admin"]));
    let (_, key) = bed.key("olga", Scope::Read, None).await;
    for path in ["/api/audit", "/api/streams/system-accounts/events"] {
        let answer = ask(bed.service.get(path).header("x-api-key", &key)).await;
        refused(403, "permission-denied", &answer);
    }
}

#[tokio::test]
async fn ones_own_password_takes_the_one_of_now() {
    let bed = Bed::start().await;
    let token = bed.token("bob").await;
    let change = async |current: &str, new: &str| {
        let request = bed.service.client.put(format!("{}/api/auth/password", bed.service.url));
        let body = json!({ "currentPassword": current, "newPassword": new });
        ask(request.bearer_auth(&token).json(&body)).await
    };
    refused(401, "authentication-failed", &change("wrong", "a better one").await);
    let (status, body) = change(PASSWORD, "short").await;
    assert_eq!((status, &body["details"][0]["path"]), (400, &json!("newPassword")), "{body}");
    assert_eq!(change(PASSWORD, "a better one").await.0, 200);
    // The token was given for the password that was.
    refused(401, "authentication-failed", &change("a better one", "another").await);
    assert_eq!(ask(bed.browse().basic_auth("bob", Some("a better one"))).await.0, 200);
    assert_eq!(ask(bed.browse().basic_auth("bob", Some(PASSWORD))).await.0, 401);
}

#[tokio::test]
async fn keys_outlive_a_password_unless_they_are_to_go_with_it() {
    let bed = Bed::on(&[("AUDIT", "true")], None).await;
    bed.add("ada", &["admin"]).await;
    bed.add("bob", &[]).await;
    let (_, adas) = bed.key("ada", Scope::Admin, None).await;
    let (_, key) = bed.key("bob", Scope::Read, None).await;
    let by_key = async || ask(bed.browse().header("x-api-key", &key)).await.0;
    let change = async |current: &str, body: Value| {
        let url = format!("{}/api/auth/password", bed.service.url);
        ask(bed.service.client.put(url).basic_auth("bob", Some(current.to_owned())).json(&body)).await
    };
    let body = json!({ "currentPassword": PASSWORD, "newPassword": "a better one" });
    assert_eq!((change(PASSWORD, body).await.0, by_key().await), (200, 200), "it stays");
    let body = json!({ "currentPassword": "wrong", "newPassword": "a third one", "revokeKeys": true });
    refused(401, "authentication-failed", &change("a better one", body).await);
    assert_eq!(by_key().await, 200, "nothing was changed");
    let body = json!({ "currentPassword": "a better one", "newPassword": "a third one", "revokeKeys": true });
    assert_eq!((change("a better one", body).await.0, by_key().await), (200, 401));

    // And for administrators, with a password and without.
    for (body, password) in [
        (json!({ "password": "a fourth one", "revokeKeys": true }), "a fourth one"),
        (json!({ "revokeKeys": true }), "a fourth one"),
    ] {
        let (_, key) = bed.key("bob", Scope::Read, None).await;
        data(bed.call("ada", Method::PATCH, "accounts/bob").json(&body), 200).await;
        refused(401, "authentication-failed", &ask(bed.browse().header("x-api-key", &key)).await);
        assert_eq!(ask(bed.browse().basic_auth("bob", Some(password))).await.0, 200);
    }
    let (status, _) = ask(bed.browse().header("x-api-key", &adas)).await;
    assert_eq!(status, 200, "nobody else's");
    let trail = records(&bed.service, &adas, "action=revoke-keys&subject=bob", 3).await;
    let callers: Vec<_> = trail.iter().map(|record| &record["caller"]).collect();
    assert_eq!(callers, ["bob", "ada", "ada"]);
}

#[tokio::test]
async fn one_key_too_many_is_refused_with_what_to_do() {
    let bed = Bed::start().await;
    for _ in 0..100 {
        bed.key("bob", Scope::Read, None).await;
    }
    let answer = ask(bed.call("bob", Method::POST, "keys").json(&json!({}))).await;
    let message = refused(400, "validation-failed", &answer);
    assert!(message.contains("revoke one"), "{message}");
}
