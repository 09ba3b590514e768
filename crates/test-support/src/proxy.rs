//! A wire that fails as wires do: it stands between a client and a server, and lets a test end, reset or hold up all that
//! runs through it.

use std::{io, net::SocketAddr};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// Passes bytes on to a server, until it is told otherwise. Dropping it cuts everything and stops listening.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    listening: JoinHandle<()>,
}

/// What is being done to the wire.
#[derive(Debug, Clone, Copy)]
struct State {
    server: SocketAddr,
    /// How often it was cut or reset; what was begun before the newest time has ended.
    ends: u64,
    /// Whether the newest end was a reset.
    reset: bool,
    /// Whether nothing passes: bytes wait, connections stay open, new ones are taken.
    stalled: bool,
    /// How often it was frozen: over what was begun before, nothing passes any more.
    frozen: u64,
}

impl Proxy {
    /// Listens on a free port of loopback, for `server`.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn to(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = watch::Sender::new(State { server, ends: 0, reset: false, stalled: false, frozen: 0 });
        let listening = tokio::spawn(listen(listener, state.clone()));
        Ok(Self { address, state, listening })
    }

    /// Where clients find it.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that are made from now on lead to this server: the first one was started anew elsewhere, say.
    pub fn lead_to(&self, server: SocketAddr) {
        self.state.send_modify(|state| state.server = server);
    }

    /// Ends every connection that runs through it, in the middle of whatever it carries. New ones are taken.
    pub fn cut(&self) {
        self.state.send_modify(|state| {
            state.ends += 1;
            state.reset = false;
        });
    }

    /// Ends every connection as [`Proxy::cut`] does, with a reset at both ends instead of an orderly end.
    pub fn reset(&self) {
        self.state.send_modify(|state| {
            state.ends += 1;
            state.reset = true;
        });
    }

    /// From now on no byte passes, either way. Nobody is told.
    pub fn stall(&self) {
        self.state.send_modify(|state| state.stalled = true);
    }

    /// Over the connections that run through it no byte passes ever again, and nobody is told. New ones are whole.
    pub fn freeze(&self) {
        self.state.send_modify(|state| state.frozen += 1);
    }

    /// Lets bytes pass again, those that waited first.
    pub fn flow(&self) {
        self.state.send_modify(|state| state.stalled = false);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
        self.cut();
    }
}

async fn listen(listener: TcpListener, state: watch::Sender<State>) {
    while let Ok((mut client, _)) = listener.accept().await {
        let mut state = state.subscribe();
        tokio::spawn(async move {
            let State { server, ends, .. } = *state.borrow_and_update();
            let Ok(mut server) = TcpStream::connect(server).await else { return };
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            // Either end may go away at any time: that is what it is for.
            tokio::select! {
                _ = pass_on(from_client, to_server, state.clone()) => {}
                _ = pass_on(from_server, to_client, state.clone()) => {}
                _ = state.wait_for(|now| now.ends != ends) => {}
            }
            if state.borrow().ends != ends && state.borrow().reset {
                for end in [&client, &server] {
                    // It is only an orderly end if this fails.
                    let _ = end.set_zero_linger();
                }
            }
        });
    }
}

/// Passes bytes on one way, until one end closes. Half-closed connections are closed: nobody here leaves one.
async fn pass_on(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut state: watch::Receiver<State>,
) -> io::Result<()> {
    let frozen = state.borrow().frozen;
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut bytes).await?;
        if state.wait_for(|now| !now.stalled && now.frozen == frozen).await.is_err() || read == 0 {
            return Ok(());
        }
        to.write_all(&bytes[..read]).await?;
    }
}
