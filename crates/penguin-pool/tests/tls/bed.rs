//! A service with a certificate of its own making, and what believes in it.

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tempfile::TempDir;
use test_support::{MockClock, TestService};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, ServerName},
    },
};

/// Generous: only a test that fails waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) type Pair = CertifiedKey<KeyPair>;

pub(crate) fn pair() -> Pair {
    generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap()
}

pub(crate) struct Bed {
    pub(crate) service: TestService,
    pub(crate) clock: Arc<MockClock>,
    pub(crate) pair: Pair,
    pub(crate) files: Files,
}

/// Where the pair is.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn with(pair: &Pair) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write(pair);
        files
    }

    pub(crate) fn write(&self, pair: &Pair) {
        std::fs::write(self.certificate(), pair.cert.pem()).unwrap();
        std::fs::write(self.key(), pair.signing_key.serialize_pem()).unwrap();
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.0.path().join("cert.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.0.path().join("key.pem")
    }
}

impl Bed {
    pub(crate) async fn start() -> Self {
        let (pair, clock) = (pair(), Arc::new(MockClock::new()));
        let files = Files::with(&pair);
        let service = TestService::builder()
            .set("TLS_CERT", files.certificate().display())
            .set("TLS_KEY", files.key().display())
            .clock(clock.clone())
            .start()
            .await;
        Self { service, clock, pair, files }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.service.service.address()
    }

    /// A client that believes in this pair alone, with a connection of its own for each request.
    pub(crate) fn client(&self) -> reqwest::Client {
        client(&self.pair)
    }
}

pub(crate) fn client(pair: &Pair) -> reqwest::Client {
    let root = reqwest::Certificate::from_der(pair.cert.der()).unwrap();
    reqwest::Client::builder()
        .add_root_certificate(root)
        .tls_built_in_root_certs(false)
        .pool_max_idle_per_host(0)
        .timeout(PATIENCE)
        .build()
        .unwrap()
}

/// A connection by TLS that believes in this pair; what it offers to speak.
pub(crate) async fn connect(
    address: SocketAddr,
    pair: &Pair,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(pair.cert.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap()
}

/// The certificate that a connection was shown.
pub(crate) fn shown(connection: &TlsStream<TcpStream>) -> &CertificateDer<'static> {
    &connection.get_ref().1.peer_certificates().unwrap()[0]
}
