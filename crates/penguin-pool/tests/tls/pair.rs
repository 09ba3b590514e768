//! A certificate that is replaced while the service runs, and one that is no good.

use crate::bed::{Bed, Files, PATIENCE, client, connect, pair, shown};
use penguin_pool::{
    config::{Config, Inputs},
    server::{LOOK_EVERY, Tls},
};
use std::{path::Path, sync::Arc, time::Duration};
use test_support::MockClock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn a_new_pair_is_taken_without_a_restart_and_open_connections_go_on() {
    let bed = Bed::start().await;
    let mut open = connect(bed.address(), &bed.pair, &[]).await.unwrap();
    assert_eq!(shown(&open), bed.pair.cert.der());
    let new = pair();
    bed.files.write(&new);
    bed.clock.advance(LOOK_EVERY - Duration::from_millis(1));
    connect(bed.address(), &bed.pair, &[]).await.unwrap();
    bed.clock.advance(Duration::from_millis(1));
    assert_eq!(shown(&connect(bed.address(), &new, &[]).await.unwrap()), new.cert.der());
    assert!(connect(bed.address(), &bed.pair, &[]).await.is_err(), "the old one is shown to nobody any more");
    open.write_all(b"GET /health HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, open.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // What the service checks by itself goes along.
    let url = format!("{}/health/comprehensive", bed.service.url);
    let health: serde_json::Value = client(&new).get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!(health["services"]["http"]["status"], "healthy", "{health}");
}

#[tokio::test]
async fn a_pair_that_is_no_good_changes_nothing() {
    let bed = Bed::start().await;
    let good = async || {
        bed.clock.advance(LOOK_EVERY);
        connect(bed.address(), &bed.pair, &[]).await.unwrap();
    };
    let other = pair();
    std::fs::write(bed.files.key(), other.signing_key.serialize_pem()).unwrap();
    good().await;
    std::fs::write(bed.files.certificate(), "nothing").unwrap();
    good().await;
    std::fs::remove_file(bed.files.certificate()).unwrap();
    good().await;
    bed.files.write(&other);
    bed.clock.advance(LOOK_EVERY);
    connect(bed.address(), &other, &[]).await.unwrap();
}

async fn opened(certificate: &Path, key: &Path) -> Result<Option<Tls>, String> {
    let set = |name: &str, path: &Path| (name.to_owned(), path.display().to_string());
    let variables = [set("TLS_CERT", certificate), set("TLS_KEY", key)].into();
    let config = Config::from_inputs(&Inputs { variables, directory: None }).unwrap();
    Tls::open(&config.settings, Arc::new(MockClock::new())).await
}

#[tokio::test]
async fn a_pair_that_cannot_be_used_is_refused_in_a_line_that_names_the_setting() {
    let (pair, other) = (pair(), pair());
    let (files, others) = (Files::with(&pair), Files::with(&other));
    let (certificate, key) = (files.certificate(), files.key());
    assert!(opened(&certificate, &key).await.unwrap().is_some());
    let none = certificate.with_file_name("none.pem");
    let empty = certificate.with_file_name("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let broken = certificate.with_file_name("broken.pem");
    std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\n???\n-----END CERTIFICATE-----\n").unwrap();
    let nonsense = certificate.with_file_name("nonsense.pem");
    std::fs::write(&nonsense, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    for (certificate, key, said) in [
        (&none, &key, ["TLS_CERT: ", "none.pem cannot be read"]),
        (&certificate, &none, ["TLS_KEY: ", "none.pem cannot be read"]),
        (&empty, &key, ["TLS_CERT: ", "there is no certificate in"]),
        (&key, &key, ["TLS_CERT: ", "there is no certificate in"]),
        (&broken, &key, ["TLS_CERT: ", "is no PEM"]),
        (&certificate, &certificate, ["TLS_KEY: ", "there is no private key in"]),
        (&certificate, &nonsense, ["TLS_KEY: ", "cannot be used"]),
        (&certificate, &others.key(), ["TLS_KEY: ", "is not the key of the certificate in"]),
    ] {
        let line = opened(certificate, key).await.unwrap_err();
        assert!(line.starts_with(said[0]) && line.contains(said[1]), "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
    }
}
