//! A TCP relay before a server of the test, which stops relaying when it is told to.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// The state of the way to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Every byte passes.
    Open,
    /// Connections are accepted and stay open, and no byte passes in either direction.
    Dropping,
    /// Connections are reset, those that are open and those that come.
    Resetting,
}

/// Relays bytes to a server.
#[derive(Debug)]
pub struct TcpFront {
    /// The address it listens on.
    pub address: SocketAddr,
    way: watch::Sender<Way>,
    task: JoinHandle<()>,
}

impl TcpFront {
    /// Starts a front of the server at `server`, with the way open.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let way = watch::Sender::new(Way::Open);
        let state = way.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(relay(client, server, state.subscribe()));
            }
        });
        Self { address, way, task }
    }

    /// Changes the way for all connections, those that are open included.
    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

impl Drop for TcpFront {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(mut client: TcpStream, server: SocketAddr, mut way: watch::Receiver<Way>) {
    let mut server = TcpStream::connect(server).await.expect("the server is there");
    let (mut request, mut answer) = ([0; 4096], [0; 4096]);
    loop {
        let now = *way.borrow_and_update();
        if now == Way::Resetting {
            SockRef::from(&client)
                .set_linger(Some(Duration::ZERO))
                .expect("a TCP socket can linger");
            return;
        }
        let is_open = now == Way::Open;
        let relayed = tokio::select! {
            changed = way.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            length = client.read(&mut request), if is_open => match length {
                Ok(length @ 1..) => server.write_all(&request[..length]).await,
                _ => return,
            },
            length = server.read(&mut answer), if is_open => match length {
                Ok(length @ 1..) => client.write_all(&answer[..length]).await,
                _ => return,
            },
        };
        // Who left ends the connection for the other.
        if relayed.is_err() {
            return;
        }
    }
}
