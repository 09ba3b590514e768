//! KurrentDB's protocol: its official client logs in, and manages the accounts that HTTP knows.

use crate::bed::{Bed, PASSWORD, ask};
use kurrentdb::{
    AppendToStreamOptions, Client, Error, EventData, ReadAllOptions,
    operations::{self, UserDetails},
};
use kurrentdb_protocol::grpc::proto::event_store::client::{
    operations::operations_client::OperationsClient,
    users::{CreateReq, DeleteReq, create_req, delete_req, users_client::UsersClient},
};
use penguin_pool::security::accounts::Scope;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tonic::{Code, Request, Status, transport::Endpoint};

pub(crate) const ADA: &str = "ada:correct-horse@";
pub(crate) const BOB: &str = "bob:correct-horse@";

async fn start() -> (Bed, SocketAddr) {
    let mut bed = Bed::start().await;
    let address = serve(&mut bed).await;
    (bed, address)
}

/// Serves KurrentDB's protocol too.
pub(crate) async fn serve(bed: &mut Bed) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    bed.service.service.serve_kurrentdb(listener).unwrap()
}

pub(crate) fn client(address: SocketAddr, who: &str) -> Client {
    Client::new(format!("kurrentdb://{who}{address}?tls=false").parse().unwrap()).unwrap()
}

pub(crate) fn operator(address: SocketAddr, who: &str) -> operations::Client {
    operations::Client::from(client(address, who))
}

async fn details(operator: &operations::Client, login: &str) -> Result<Vec<UserDetails>, Error> {
    let mut stream = operator.user_details(login, &Default::default()).await?;
    let mut found = Vec::new();
    while let Some(user) = stream.next().await? {
        found.push(user);
    }
    Ok(found)
}

#[tokio::test]
async fn the_official_client_comes_in_with_a_password_and_not_without() {
    let (_bed, address) = start().await;
    let event = EventData::json("Lent", &serde_json::json!({ "n": 1 })).unwrap();
    let append = async |who: &str| {
        client(address, who)
            .append_to_stream("loan-1", &AppendToStreamOptions::default(), event.clone())
            .await
    };
    append(ADA).await.unwrap();
    for who in ["", "ada:wrong@", "eve:correct-horse@"] {
        let refused = append(who).await;
        assert!(matches!(refused, Err(Error::AccessDenied)), "{who}: {refused:?}");
        let read = client(address, who).read_all(&ReadAllOptions::default()).await;
        assert!(read.is_err(), "{who}");
    }
}

#[tokio::test]
async fn accounts_made_by_the_official_client_are_those_of_http() {
    let (bed, address) = start().await;
    let ada = operator(address, ADA);
    let options = Default::default();
    ada.create_user("carol", "a long password", "Carol", vec!["$admins".into(), "lenders".into()], &options)
        .await
        .unwrap();
    let carol = &details(&ada, "carol").await.unwrap()[0];
    assert_eq!(
        (&*carol.full_name, &*carol.groups, carol.disabled),
        ("Carol", &["$admins".to_owned(), "lenders".to_owned()][..], false)
    );
    assert_eq!(ask(bed.browse().basic_auth("carol", Some("a long password"))).await.0, 200);
    let kept = bed.service.service.identity().accounts().find("carol").await.unwrap().unwrap();
    assert_eq!(kept.roles, ["admin", "lenders"]);
    ada.disable_user("carol", &options).await.unwrap();
    assert_eq!(ask(bed.browse().basic_auth("carol", Some("a long password"))).await.0, 401);
    ada.enable_user("carol", &options).await.unwrap();
    ada.reset_user_password("carol", "another password", &options).await.unwrap();
    assert_eq!(ask(bed.browse().basic_auth("carol", Some("a long password"))).await.0, 401);
    ada.change_user_password("carol", "another password", "a third password", &options).await.unwrap();
    assert_eq!(ask(bed.browse().basic_auth("carol", Some("a third password"))).await.0, 200);
    ada.update_user("carol", "a fourth password", "Carol C.", vec![], &options).await.unwrap();
    assert_eq!(details(&ada, "carol").await.unwrap()[0].full_name, "Carol C.");
    assert_eq!(details(&ada, "").await.unwrap().len(), 3, "all of them");
    ada.delete_user("carol", &options).await.unwrap();
    assert!(matches!(details(&ada, "carol").await, Err(Error::ResourceNotFound)));
    assert_eq!(ask(bed.browse().basic_auth("carol", Some("a fourth password"))).await.0, 401);
}

#[tokio::test]
async fn who_is_no_administrator_manages_their_own_password_alone() {
    let (bed, address) = start().await;
    let bob = operator(address, BOB);
    let options = Default::default();
    let denied =
        |result: Result<(), Error>| assert!(matches!(result, Err(Error::AccessDenied)), "{result:?}");
    denied(bob.create_user("eve", "a long password", "", vec![], &options).await);
    denied(bob.update_user("bob", "", "", vec!["$admins".into()], &options).await);
    denied(bob.reset_user_password("bob", "a long password", &options).await);
    denied(bob.reset_user_password("ada", "a long password", &options).await);
    denied(bob.change_user_password("ada", PASSWORD, "a long password", &options).await);
    denied(bob.delete_user("ada", &options).await);
    denied(bob.disable_user("ada", &options).await);
    denied(details(&bob, "ada").await.map(drop));
    denied(details(&bob, "").await.map(drop));
    assert_eq!(details(&bob, "bob").await.unwrap()[0].login, "bob");
    denied(bob.change_user_password("bob", "wrong", "a long password", &options).await);
    bob.change_user_password("bob", PASSWORD, "a long password", &options).await.unwrap();
    assert_eq!(ask(bed.browse().basic_auth("bob", Some("a long password"))).await.0, 200);
}

fn of_ada<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    // ada:correct-horse
    request.metadata_mut().insert("authorization", "Basic YWRhOmNvcnJlY3QtaG9yc2U=".parse().unwrap());
    request
}

#[tokio::test]
async fn a_key_makes_no_accounts_here_either() {
    let (bed, address) = start().await;
    let (_, key) = bed.key("ada", Scope::Admin, None).await;
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let options = create_req::Options {
        login_name: "eve".into(),
        password: "a long password".into(),
        full_name: String::new(),
        groups: vec!["$admins".into()],
    };
    let mut create = Request::new(CreateReq { options: Some(options) });
    create.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    let denied = UsersClient::new(channel).create(create).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied, "{denied}");
    assert_eq!(
        bed.service.service.identity().accounts().find("eve").await.unwrap().map(|a| a.login_name.clone()),
        None
    );
}

fn trailers(status: &Status) -> (Code, &str, &str) {
    let text = |name| status.metadata().get(name).map_or("", |v| v.to_str().unwrap());
    (status.code(), text("exception"), text("login-name"))
}

#[tokio::test]
async fn refusals_are_kurrentdbs_to_the_letter() {
    let (_bed, address) = start().await;
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let mut users = UsersClient::new(channel.clone());
    let create = |password: &str| CreateReq {
        options: Some(create_req::Options {
            login_name: "bob".into(),
            password: password.into(),
            full_name: String::new(),
            groups: vec![],
        }),
    };
    let conflict = users.create(of_ada(create("a long password"))).await.unwrap_err();
    assert_eq!(trailers(&conflict), (Code::FailedPrecondition, "user-conflict", "bob"));
    let delete = DeleteReq { options: Some(delete_req::Options { login_name: "eve".into() }) };
    let missing = users.delete(of_ada(delete.clone())).await.unwrap_err();
    assert_eq!(trailers(&missing), (Code::NotFound, "user-not-found", "eve"));
    let short = users.create(of_ada(create("short"))).await.unwrap_err();
    assert_eq!(short.code(), Code::InvalidArgument, "{short}");
    let empty = users.create(of_ada(CreateReq { options: None })).await.unwrap_err();
    assert_eq!(empty.code(), Code::InvalidArgument, "{empty}");
    let nobody = users.delete(Request::new(delete)).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated, "{nobody}");
    let mut operations = OperationsClient::new(channel);
    let nobody = operations.shutdown(Request::new(())).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated, "{nobody}");
    let refused = operations.shutdown(of_ada(())).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented, "{refused}");
    assert!(refused.message().contains("stopped by the process"), "{refused}");
}

#[tokio::test]
async fn the_nodes_http_asks_for_credentials_where_kurrentdb_does() {
    let (bed, address) = start().await;
    let get = |path: &str| bed.service.client.get(format!("http://{address}{path}"));
    for path in ["/health/live", "/info", "/ping", "/gossip"] {
        assert!(get(path).send().await.unwrap().status().is_success(), "{path}");
    }
    for path in ["/stats", "/streams/system-accounts", "/streams/$all"] {
        let refused = get(path).send().await.unwrap();
        assert_eq!(refused.status(), 401, "{path}");
        assert_eq!(refused.headers()["www-authenticate"], r#"Basic realm="KurrentDB""#);
        assert!(refused.bytes().await.unwrap().is_empty());
        let known = get(path).basic_auth("ada", Some(PASSWORD)).send().await.unwrap();
        assert_eq!(known.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn who_guesses_is_locked_out_by_their_address() {
    let mut bed = Bed::on(&[("TRUSTED_PROXIES", "127.0.0.1")], None).await;
    bed.add("ada", &["admin"]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = bed.service.service.serve_kurrentdb(listener).unwrap();
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let attempt = async |from: &str, login: &str| {
        let mut request = Request::new(());
        request.metadata_mut().insert("authorization", login.parse().unwrap());
        request.metadata_mut().insert("x-forwarded-for", from.parse().unwrap());
        OperationsClient::new(channel.clone()).shutdown(request).await.unwrap_err().code()
    };
    let (wrong, right) = ("Basic YWRhOndyb25n", "Basic YWRhOmNvcnJlY3QtaG9yc2U=");
    for _ in 0..5 {
        assert_eq!(attempt("10.0.0.1", wrong).await, Code::Unauthenticated);
    }
    assert_eq!(attempt("10.0.0.1", right).await, Code::ResourceExhausted);
    assert_eq!(attempt("10.0.0.2", right).await, Code::Unimplemented, "another address is let in");
    // The node's HTTP interface is under the same lock.
    let get = |from: &str| {
        let url = format!("http://{address}/stats");
        bed.service.client.get(url).basic_auth("ada", Some("wrong")).header("x-forwarded-for", from)
    };
    assert_eq!(get("10.0.0.1").send().await.unwrap().status(), 429);
    assert_eq!(get("10.0.0.2").send().await.unwrap().status(), 401);
}
