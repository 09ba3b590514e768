//! Tokens of every kind that is taken, and of every kind that is not.

use super::*;
use aws_lc_rs::{
    encoding::AsDer as _,
    rsa::{KeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use futures::FutureExt as _;
use jsonwebtoken::{Algorithm as Alg, jwk::Jwk};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use test_support::MockClock;
use tokio::sync::Semaphore;

const ISSUER: &str = "https://id.example.org";
const SECRET: &str = "a secret that is shared, of 32 bytes and more";

/// A key pair of an issuer.
struct Pair {
    algorithm: Alg,
    sign: EncodingKey,
    jwk: Value,
}

impl Pair {
    fn new(algorithm: Alg, kid: &str) -> Self {
        let rng = aws_lc_rs::rand::SystemRandom::new();
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (sign, mut jwk) = match algorithm {
            Alg::EdDSA => {
                let document = Ed25519KeyPair::generate_pkcs8(&rng).unwrap();
                let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
                let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref()) });
                (EncodingKey::from_ed_der(document.as_ref()), jwk)
            }
            Alg::ES256 => {
                let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let document = EcdsaKeyPair::generate_pkcs8(curve, &rng).unwrap();
                let pair = EcdsaKeyPair::from_pkcs8(curve, document.as_ref()).unwrap();
                // A point: 4, then both coordinates.
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                let jwk = json!({ "kty": "EC", "crv": "P-256", "x": text(x), "y": text(y) });
                (EncodingKey::from_ec_der(document.as_ref()), jwk)
            }
            Alg::RS256 => {
                let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
                let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
                // The library wants PKCS#1, which stands within PKCS#8 after 26 bytes of head.
                let sign = EncodingKey::from_rsa_der(&pkcs8.as_ref()[26..]);
                let jwk = Jwk::from_encoding_key(&sign, algorithm).unwrap();
                (sign, serde_json::to_value(jwk).unwrap())
            }
            _ => {
                let jwk = json!({ "kty": "oct", "k": text(SECRET.as_bytes()) });
                (EncodingKey::from_secret(SECRET.as_bytes()), jwk)
            }
        };
        jwk["kid"] = kid.into();
        jwk["use"] = "sig".into();
        Self { algorithm, sign, jwk }
    }

    fn token(&self, claims: &Value) -> SecretString {
        let header = jsonwebtoken::Header {
            kid: self.jwk["kid"].as_str().map(str::to_owned),
            ..jsonwebtoken::Header::new(self.algorithm)
        };
        jsonwebtoken::encode(&header, claims, &self.sign).unwrap().into()
    }
}

/// Good claims at the mock clock's beginning, with some of them changed.
fn claims(changed: Value) -> Value {
    let now = MockClock::new().now().millis() / 1000;
    let mut claims = json!({
        "iss": ISSUER, "aud": ["other", "penguins"], "sub": "bob", "exp": now + 60, "nbf": now, "iat": now,
        "roles": ["lender"],
    });
    for (name, value) in changed.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn tokens(sources: Vec<Source>, clock: &Arc<MockClock>) -> Tokens {
    Tokens::new(Options {
        sources,
        issuer: Some(ISSUER.to_owned()),
        audience: Some("penguins".to_owned()),
        secret: None,
        lifetime: Duration::from_secs(3600),
        clock: Arc::<MockClock>::clone(clock),
    })
    .unwrap()
}

fn text(keys: &[&Pair]) -> Source {
    let keys: Vec<_> = keys.iter().map(|pair| &pair.jwk).collect();
    Source::Text(json!({ "keys": keys }).to_string().into())
}

async fn refusal(tokens: &Tokens, token: &SecretString) -> &'static str {
    match tokens.verify(token).await {
        Err(TokenError::Refused(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_algorithm_is_good_with_its_own_key_and_bad_once_tampered_with() {
    let pairs = [Alg::EdDSA, Alg::ES256, Alg::RS256, Alg::HS256]
        .map(|algorithm| Pair::new(algorithm, &format!("{algorithm:?}")));
    let tokens = tokens(vec![text(&pairs.iter().collect::<Vec<_>>())], &Arc::new(MockClock::new()));
    for pair in &pairs {
        let token = pair.token(&claims(json!({})));
        let verified = tokens.verify(&token).await.unwrap();
        let expected = Verified {
            subject: "bob".into(),
            roles: vec!["lender".into()],
            own: false,
            version: None,
            until: verified.until,
        };
        assert_eq!(verified, expected, "{:?}", pair.algorithm);
        let parts: Vec<_> = token.expose_secret().split('.').collect();
        let other = URL_SAFE_NO_PAD.encode(claims(json!({ "sub": "ada" })).to_string());
        let tampered = format!("{}.{other}.{}", parts[0], parts[2]);
        assert_eq!(refusal(&tokens, &tampered.into()).await, "its signature is wrong");
        let unsigned = format!("{}.{}.", parts[0], parts[1]);
        assert_eq!(refusal(&tokens, &unsigned.into()).await, "its signature is wrong");
    }
}

#[tokio::test]
async fn claims_that_do_not_hold_are_refused() {
    let pair = Pair::new(Alg::EdDSA, "1");
    let clock = Arc::new(MockClock::new());
    let tokens = tokens(vec![text(&[&pair])], &clock);
    let now = clock.now().millis() / 1000;
    for (changed, reason) in [
        (json!({ "iss": "https://evil.example.org" }), "it was issued by another"),
        (json!({ "iss": null }), "it was issued by another"),
        (json!({ "aud": "others" }), "it is for another audience"),
        (json!({ "aud": null }), "it is for another audience"),
        (json!({ "exp": null }), "it does not say when it ends"),
        (json!({ "exp": now - 30 }), "it has expired"),
        (json!({ "nbf": now + 31 }), "it is not good yet"),
        (json!({ "iat": now + 31 }), "it is not good yet"),
        (json!({ "exp": "tomorrow" }), "its claims cannot be read"),
        (json!({ "sub": null }), "it does not say whom it is about"),
        (json!({ "sub": "system" }), "its subject is no user id"),
        (json!({ "sub": "role:admin" }), "its subject is no user id"),
        (json!({ "sub": "" }), "its subject is no user id"),
        (json!({ "roles": [1] }), "its claims cannot be read"),
    ] {
        assert_eq!(refusal(&tokens, &pair.token(&claims(changed.clone()))).await, reason, "{changed}");
    }
    for good in
        [json!({ "exp": now - 29 }), json!({ "nbf": now + 30 }), json!({ "aud": "penguins", "exp": 4e9 })]
    {
        assert!(tokens.verify(&pair.token(&claims(good.clone()))).await.is_ok(), "{good}");
    }
}

#[tokio::test]
async fn which_algorithm_is_right_is_not_the_tokens_to_say() {
    let pair = Pair::new(Alg::RS256, "rsa");
    let tokens = tokens(vec![text(&[&pair])], &Arc::new(MockClock::new()));
    let body = URL_SAFE_NO_PAD.encode(claims(json!({})).to_string());
    let with = |header: Value, signature: &str| -> SecretString {
        format!("{}.{body}.{signature}", URL_SAFE_NO_PAD.encode(header.to_string())).into()
    };
    for alg in ["none", "None", "NONE", "", "HS384", "RS512", "PS256", "ES384"] {
        let token = with(json!({ "alg": alg, "kid": "rsa" }), "");
        assert_eq!(refusal(&tokens, &token).await, "its algorithm is not taken", "{alg}");
    }
    // The public key is known to everybody: as a shared secret it would let anybody sign.
    let public = pair.jwk["n"].as_str().unwrap();
    let raw = URL_SAFE_NO_PAD.decode(public).unwrap();
    for secret in [public.as_bytes(), &raw, pair.jwk.to_string().as_bytes()] {
        let header =
            jsonwebtoken::Header { kid: Some("rsa".into()), ..jsonwebtoken::Header::new(Alg::HS256) };
        let token =
            jsonwebtoken::encode(&header, &claims(json!({})), &EncodingKey::from_secret(secret)).unwrap();
        assert_eq!(refusal(&tokens, &token.into()).await, "no key is known for it");
    }
    let good = pair.token(&claims(json!({})));
    let signature = good.expose_secret().rsplit('.').next().unwrap();
    let critical = with(json!({ "alg": "RS256", "kid": "rsa", "crit": ["b64"] }), signature);
    assert_eq!(refusal(&tokens, &critical).await, "it demands an extension that is not known here");
    for bad in
        ["", "a", "a.b", "a.b.c", "a.b.c.d", "....", "eyJ9.e30.", &format!("{}x", good.expose_secret())]
    {
        assert!(tokens.verify(&bad.into()).await.is_err(), "{bad}");
    }
}

#[tokio::test]
async fn own_tokens_are_ones_of_this_secret_and_no_others_key_signs_them() {
    let clock = Arc::new(MockClock::new());
    let (one, other) = (tokens(Vec::new(), &clock), tokens(Vec::new(), &clock));
    let issued = one.issue("bob", &["lender".to_owned()], "v1".to_owned()).unwrap();
    let verified = one.verify(&issued.token).await.unwrap();
    assert_eq!((verified.own, verified.version.as_deref()), (true, Some("v1")));
    assert_eq!(refusal(&other, &issued.token).await, "its signature is wrong");
    clock.advance(Duration::from_secs(3600 + 30));
    assert_eq!(refusal(&one, &issued.token).await, "it has expired");
    // An issuer whose tokens are believed cannot speak in this service's name.
    let pair = Pair::new(Alg::HS256, OWN);
    let both = tokens_with(&pair, &clock);
    let forged = pair.token(&claims(json!({ "iss": OWN, "aud": OWN, "ver": "v1" })));
    assert_eq!(refusal(&both, &forged).await, "its signature is wrong");
}

fn tokens_with(pair: &Pair, clock: &Arc<MockClock>) -> Tokens {
    tokens(vec![text(&[pair])], clock)
}

#[tokio::test]
async fn a_file_of_keys_is_read_again_when_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    let (first, second) = (Pair::new(Alg::ES256, "1"), Pair::new(Alg::EdDSA, "2"));
    std::fs::write(&path, first.jwk.to_string()).unwrap();
    let clock = Arc::new(MockClock::new());
    let tokens = tokens(vec![Source::File(path.clone())], &clock);
    let token = |pair: &Pair| pair.token(&claims(json!({})));
    assert!(tokens.verify(&token(&first)).await.is_ok());
    assert_eq!(refusal(&tokens, &token(&second)).await, "no key is known for it");
    std::fs::write(&path, json!({ "keys": [second.jwk] }).to_string()).unwrap();
    assert_eq!(
        refusal(&tokens, &token(&second)).await,
        "no key is known for it",
        "it is not looked at that often"
    );
    clock.advance(Duration::from_secs(5));
    assert!(tokens.verify(&token(&second)).await.is_ok());
    assert_eq!(refusal(&tokens, &token(&first)).await, "no key is known for it");
    std::fs::write(&path, "broken").unwrap();
    clock.advance(Duration::from_secs(5));
    assert!(tokens.verify(&token(&second)).await.is_ok(), "what is known stays good");
}

#[tokio::test]
async fn an_address_of_keys_is_asked_when_a_key_is_not_known_and_not_more_often_than_that() {
    let served = Arc::new(std::sync::Mutex::new(String::new()));
    let asked = Arc::new(AtomicUsize::new(0));
    let router = {
        let (served, asked) = (Arc::clone(&served), Arc::clone(&asked));
        axum::Router::new().route(
            "/jwks",
            axum::routing::get(move || {
                asked.fetch_add(1, Ordering::SeqCst);
                let text = served.lock().unwrap().clone();
                async move { text }
            }),
        )
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, router).await });
    let (first, second) = (Pair::new(Alg::ES256, "1"), Pair::new(Alg::EdDSA, "2"));
    let shared = Pair::new(Alg::HS256, "3");
    let clock = Arc::new(MockClock::new());
    let tokens = tokens(vec![Source::Address(url.parse().unwrap())], &clock);
    let token = |pair: &Pair| pair.token(&claims(json!({})));
    assert!(
        matches!(tokens.verify(&token(&first)).await, Err(TokenError::Unavailable(_))),
        "no keys were had yet"
    );
    assert!(matches!(tokens.verify(&token(&first)).await, Err(TokenError::Unavailable(_))));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    *served.lock().unwrap() = json!({ "keys": [first.jwk, { "kty": "unheard-of" }, shared.jwk] }).to_string();
    clock.advance(Duration::from_secs(30));
    let good = claims(json!({ "exp": 4e9 }));
    assert!(tokens.verify(&first.token(&good)).await.is_ok());
    assert_eq!(
        refusal(&tokens, &token(&shared)).await,
        "no key is known for it",
        "a secret that is published is none"
    );
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    *served.lock().unwrap() = json!({ "keys": [second.jwk] }).to_string();
    clock.advance(Duration::from_secs(30));
    assert!(tokens.verify(&first.token(&good)).await.is_ok());
    assert_eq!(asked.load(Ordering::SeqCst), 2, "a key that is known is not asked for");
    assert!(tokens.verify(&second.token(&good)).await.is_ok());
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    assert_eq!(refusal(&tokens, &first.token(&good)).await, "no key is known for it");
    assert_eq!(asked.load(Ordering::SeqCst), 3, "who makes up key ids makes nobody be asked");
}

#[tokio::test]
async fn an_address_that_hangs_keeps_no_token_waiting_whose_key_is_known() {
    let (first, second) = (Pair::new(Alg::ES256, "1"), Pair::new(Alg::EdDSA, "2"));
    let served = Arc::new(std::sync::Mutex::new(json!({ "keys": [first.jwk] }).to_string()));
    // One that may answer, and word of each question.
    let (may_answer, (asked, mut questions)) =
        (Arc::new(Semaphore::new(1)), tokio::sync::mpsc::unbounded_channel());
    let router = {
        let (served, may_answer) = (Arc::clone(&served), Arc::clone(&may_answer));
        let answer = move || {
            asked.send(()).unwrap();
            let (served, may_answer) = (Arc::clone(&served), Arc::clone(&may_answer));
            async move {
                may_answer.acquire().await.unwrap().forget();
                served.lock().unwrap().clone()
            }
        };
        axum::Router::new().route("/jwks", axum::routing::get(answer))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, router).await });
    let clock = Arc::new(MockClock::new());
    let tokens = tokens(vec![Source::Address(url.parse().unwrap())], &clock);
    let [of_first, of_second] = [&first, &second].map(|pair| pair.token(&claims(json!({ "exp": 4e9 }))));
    assert!(tokens.verify(&of_first).await.is_ok());
    questions.recv().await.unwrap();

    // The keys are old and asked for, and the answer does not come. What waits for nothing is ready when it is first asked.
    let is_ready = || tokens.verify(&of_first).now_or_never().is_some_and(|verified| verified.is_ok());
    clock.advance(Duration::from_secs(600));
    assert!(is_ready());
    tokio::time::timeout(Duration::from_secs(30), questions.recv()).await.unwrap().unwrap();
    assert!(is_ready(), "while it is asked");
    clock.advance(Duration::from_secs(30));
    assert!(is_ready(), "when it may be asked again");
    let mut unknown = std::pin::pin!(tokens.verify(&of_second));
    assert!(futures::poll!(&mut unknown).is_pending(), "its key may be on the way");

    *served.lock().unwrap() = json!({ "keys": [second.jwk] }).to_string();
    may_answer.add_permits(10);
    assert!(unknown.await.is_ok());
    assert_eq!(refusal(&tokens, &of_first).await, "no key is known for it");

    // Nobody asked for long: what was known then is not believed unasked.
    *served.lock().unwrap() = json!({ "keys": [first.jwk] }).to_string();
    clock.advance(Duration::from_secs(1200));
    assert_eq!(refusal(&tokens, &of_second).await, "no key is known for it");
    assert!(is_ready());
}

#[test]
fn short_secrets_and_private_keys_are_refused() {
    let clock: Arc<dyn Clock> = Arc::new(MockClock::new());
    let with = |source: Source| Sources::new(vec![source], Arc::clone(&clock)).err().unwrap_or_default();
    assert!(with(Source::Shared("short".into())).contains("32 bytes"));
    assert!(
        with(Source::Text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".into()))
            .contains("private key")
    );
    assert!(with(Source::Text("nonsense".into())).contains("no key"));
    assert!(with(Source::Text("{}".into())).contains("no key"));
}
