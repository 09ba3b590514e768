//! A wire that can be cut: it stands between a client and a server, and lets a test end all that runs through it.

use std::{io, net::SocketAddr};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// Passes bytes on to a server, until it is cut. Dropping it cuts everything and stops listening.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    /// How often it was cut; what was begun before the newest cut has ended.
    cuts: watch::Sender<u64>,
    listening: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port of loopback, for `server`.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn to(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let cuts = watch::Sender::new(0);
        let listening = tokio::spawn(listen(listener, server, cuts.clone()));
        Ok(Self { address, cuts, listening })
    }

    /// Where clients find it.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection that runs through it, in the middle of whatever it carries. New ones are taken.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
        self.cut();
    }
}

async fn listen(listener: TcpListener, server: SocketAddr, cuts: watch::Sender<u64>) {
    while let Ok((mut client, _)) = listener.accept().await {
        let mut cut = cuts.subscribe();
        tokio::spawn(async move {
            let pass_on = async {
                if let Ok(mut server) = TcpStream::connect(server).await {
                    // Either end may go away at any time: that is what it is for.
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            };
            tokio::select! {
                () = pass_on => {}
                _ = cut.changed() => {}
            }
        });
    }
}
