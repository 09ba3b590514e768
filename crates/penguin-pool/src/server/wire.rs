//! What stands between a TCP connection and HTTP: TLS where it is on, and patience with whoever takes nothing.

use super::{
    stalled::Stalled,
    tls::{Spoken, Tls},
};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::server::TlsStream;

/// How long a client may take nothing of what is sent to it.
const STALLED: Duration = Duration::from_secs(60);
/// How long a client may take for its part of the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long whoever spoke without TLS may take to hear that.
const FAREWELL: Duration = Duration::from_secs(1);
/// The first byte of what begins with TLS: a record of its handshake.
const TLS_BEGINS: u8 = 0x16;

/// A connection, in plain or by TLS.
#[derive(Debug)]
pub(crate) enum Wire {
    /// In plain.
    Plain(Stalled<TcpStream>),
    /// By TLS. What is written waits in its buffers, so patience is with the connection below.
    Secret(Box<TlsStream<Stalled<TcpStream>>>),
}

/// Takes a connection up: with TLS after its handshake, which has a limit. Who speaks in plain where TLS is on is given
/// `answer`, which is to be HTTP, and is let go.
///
/// # Errors
/// What went wrong in the handshake: it took too long, say.
pub(crate) async fn take(
    stream: TcpStream,
    tls: Option<&Tls>,
    spoken: Spoken,
    answer: impl FnOnce() -> Vec<u8>,
) -> io::Result<Wire> {
    // An answer is written at once; waiting for more to send with it would only delay it.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return Ok(Wire::Plain(Stalled::new(stream, STALLED))) };
    let handshake = async {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first != [TLS_BEGINS] {
            refuse(stream, &answer()).await?;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not speak TLS"));
        }
        let secret = tls.accept(Stalled::new(stream, STALLED), spoken).await?;
        Ok(Wire::Secret(Box::new(secret)))
    };
    timeout(HANDSHAKE, handshake).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Says `answer` and ends. What the other side said is read first, as far as it is there: a connection that is closed with
/// something unread is reset, and a reset overtakes the answer.
async fn refuse(mut stream: TcpStream, answer: &[u8]) -> io::Result<()> {
    let mut said = [0; 8 << 10];
    let _ = timeout(FAREWELL, stream.read(&mut said)).await;
    stream.write_all(answer).await?;
    stream.shutdown().await?;
    let rest = async { while stream.read(&mut said).await.is_ok_and(|read| read > 0) {} };
    let _ = timeout(FAREWELL, rest).await;
    Ok(())
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Secret(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Secret(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Self::Secret(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Secret(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Secret(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Secret(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Inputs};
    use std::sync::Arc;
    use test_support::MockClock;
    use tokio::net::TcpListener;

    #[tokio::test(start_paused = true)]
    async fn a_handshake_has_a_limit() {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = tempfile::tempdir().unwrap();
        let write = |name: &str, setting: &str, text: String| {
            let path = files.path().join(name);
            std::fs::write(&path, text).unwrap();
            (setting.to_owned(), path.display().to_string())
        };
        let certificate = write("cert.pem", "TLS_CERT", pair.cert.pem());
        let key = write("key.pem", "TLS_KEY", pair.signing_key.serialize_pem());
        let inputs = Inputs { variables: [certificate, key].into(), directory: None };
        let settings = Config::from_inputs(&inputs).unwrap().settings;
        let tls = Tls::open(&settings, Arc::new(MockClock::new())).await.unwrap().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for said in [&b""[..], &[TLS_BEGINS], &[TLS_BEGINS, 3, 1, 2, 0, 1]] {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            client.write_all(said).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            // The time is a paused clock's.
            let error = take(stream, Some(&tls), Spoken::Http, Vec::new).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
    }
}
