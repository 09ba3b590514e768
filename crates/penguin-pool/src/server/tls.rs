//! TLS: a certificate and its key, from files that are looked at again while the service runs.
//!
//! The files are looked at when a connection comes and the last look is [`LOOK_EVERY`] ago. Their bytes decide, and not
//! their dates: tools copy those, and a date can be too coarse. A pair that cannot be used is told once, and the one in
//! force stays. Connections that are open go on with what they began with.

use crate::config::Settings;
use event_store::Clock;
use sha2::{Digest as _, Sha256};
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Mutex,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        CertificateError, ClientConfig, DigitallySignedStruct, Error, InconsistentKeys, ServerConfig,
        SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
        pki_types::{
            CertificateDer, PrivateKeyDer, ServerName, UnixTime,
            pem::{self, PemObject as _},
        },
        sign::{CertifiedKey, SingleCertAndKey},
    },
    server::TlsStream,
};
use zeroize::Zeroizing;

/// How often the files are looked at, at most.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What is spoken over a connection, as TLS lets both sides agree on it (ALPN).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.1.
    Http,
    /// HTTP/2 or HTTP/1.1, as KurrentDB's nodes speak.
    Node,
}

/// The certificate that the listeners show, and its key. Cloning shares it.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    files: Files,
    clock: Arc<dyn Clock>,
    provider: Arc<CryptoProvider>,
    pair: RwLock<Arc<Pair>>,
    /// Held while the files are looked at, so that one does so for all.
    last: Mutex<Look>,
}

/// A look at the files: when, and what was there, as a digest or as the reason why there is none.
struct Look {
    at: Duration,
    found: Result<[u8; 32], String>,
}

/// Where the certificate and the key are.
#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// What is in force.
struct Pair {
    http: Arc<ServerConfig>,
    node: Arc<ServerConfig>,
    certificate: CertificateDer<'static>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.0.files).finish()
    }
}

impl Tls {
    /// What `TLS_CERT` and `TLS_KEY` name; nothing where they are not set.
    ///
    /// # Errors
    /// A line that names the setting whose file cannot be read or used.
    pub async fn open(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Option<Self>, String> {
        let (Some(certificate), Some(key)) = (&settings.tls_cert, &settings.tls_key) else { return Ok(None) };
        Self::from_files(certificate.into(), key.into(), clock).await.map(Some)
    }

    async fn from_files(certificate: PathBuf, key: PathBuf, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let files = Files { certificate, key };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let at = clock.monotonic();
        let read = files.read().await?;
        let pair = RwLock::new(Arc::new(files.pair(&read, &provider)?));
        let last = Mutex::new(Look { at, found: Ok(read.digest()) });
        Ok(Self(Arc::new(Inner { files, clock, provider, pair, last })))
    }

    fn pair(&self) -> Arc<Pair> {
        Arc::clone(&self.0.pair.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the files, if that is due, and takes a new pair that is good.
    async fn look(&self) {
        let Inner { files, clock, provider, pair, .. } = &*self.0;
        // Whoever comes while another looks goes on with what there is.
        let Ok(mut last) = self.0.last.try_lock() else { return };
        let now = clock.monotonic();
        if now.saturating_sub(last.at) < LOOK_EVERY {
            return;
        }
        last.at = now;
        let read = files.read().await;
        let found = read.as_ref().map(Read::digest).map_err(Clone::clone);
        if found == last.found {
            return;
        }
        match read.and_then(|read| files.pair(&read, provider)) {
            Ok(new) => {
                *pair.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                tracing::info!(certificate = %files.certificate.display(), "TLS goes on with a new certificate");
            }
            Err(error) => {
                tracing::error!(error, "TLS goes on with the certificate it has: the new one is not good")
            }
        }
        last.found = found;
    }

    /// Makes a connection that came in a secret one. Only the client can keep it waiting: the caller sets a limit.
    ///
    /// # Errors
    /// What went wrong in the handshake.
    pub(super) async fn accept<T>(&self, connection: T, spoken: Spoken) -> io::Result<TlsStream<T>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        self.look().await;
        let pair = self.pair();
        let config = match spoken {
            Spoken::Http => &pair.http,
            Spoken::Node => &pair.node,
        };
        TlsAcceptor::from(Arc::clone(config)).accept(connection).await
    }

    /// How this process calls its own listeners: it believes the certificate that they show now, and no other. By which
    /// name it is known elsewhere, and who vouches for it there, does not matter here.
    ///
    /// # Errors
    /// A sentence if no such client can be made, which the parts that are built in rule out.
    pub(crate) fn client(&self) -> Result<ClientConfig, String> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.0.provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| format!("no TLS client can be made: {e}"))?;
        let verifier = Arc::new(OwnCertificate(self.clone()));
        Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }
}

/// What the files hold.
struct Read {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl Read {
    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update((self.certificate.len() as u64).to_be_bytes());
        digest.update(&self.certificate);
        digest.update(&*self.key);
        digest.finalize().into()
    }
}

impl Files {
    async fn read(&self) -> Result<Read, String> {
        let read = async |name: &str, path: &Path| {
            let read = tokio::fs::read(path).await;
            read.map_err(|e| format!("{name}: {} cannot be read: {e}", path.display()))
        };
        let certificate = read("TLS_CERT", &self.certificate).await?;
        Ok(Read { certificate, key: Zeroizing::new(read("TLS_KEY", &self.key).await?) })
    }

    fn pair(&self, read: &Read, provider: &Arc<CryptoProvider>) -> Result<Pair, String> {
        let (certificate_file, key_file) = (self.certificate.display(), self.key.display());
        let chain = CertificateDer::pem_slice_iter(&read.certificate).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|e| format!("TLS_CERT: {certificate_file} is no PEM: {e}"))?;
        let Some(certificate) = chain.first().cloned() else {
            return Err(format!(
                "TLS_CERT: there is no certificate in {certificate_file}; write a file of PEM"
            ));
        };
        let key = PrivateKeyDer::from_pem_slice(&read.key).map_err(|e| match e {
            pem::Error::NoItemsFound => format!(
                "TLS_KEY: there is no private key in {key_file}; write a file of PEM whose key is not encrypted"
            ),
            e => format!("TLS_KEY: {key_file} is no PEM: {e}"),
        })?;
        let key = provider.key_provider.load_private_key(key).map_err(|_| {
            format!(
                "TLS_KEY: the private key in {key_file} cannot be used; write an RSA, ECDSA or Ed25519 key"
            )
        })?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => {
                return Err(format!(
                    "TLS_KEY: {key_file} is not the key of the certificate in {certificate_file}; write the two that belong together"
                ));
            }
            Err(error) => {
                return Err(format!(
                    "TLS_CERT: the certificate in {certificate_file} cannot be used: {error}"
                ));
            }
        }
        let resolver = Arc::new(SingleCertAndKey::from(certified));
        let config = |protocols: &[&[u8]]| {
            let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
                .with_safe_default_protocol_versions()
                .map_err(|e| format!("TLS cannot be spoken: {e}"))?;
            let mut config = builder.with_no_client_auth().with_cert_resolver(resolver.clone());
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Ok::<_, String>(Arc::new(config))
        };
        Ok(Pair { http: config(&[b"http/1.1"])?, node: config(&[b"h2", b"http/1.1"])?, certificate })
    }
}

/// Believes the certificate that is in force here.
#[derive(Debug)]
struct OwnCertificate(Tls);

impl OwnCertificate {
    fn provider(&self) -> &CryptoProvider {
        &self.0.0.provider
    }
}

impl ServerCertVerifier for OwnCertificate {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *certificate == self.0.pair().certificate {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.provider().signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.provider().signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider().signature_verification_algorithms.supported_schemes()
    }
}
