//! The accept loop of one worker, and how it ends.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::connection;
use super::connections::{Connections, OpenGuard};
use super::limits::ConnectionLimits;
use super::metrics::ConnectionMetrics;
use super::proxy_protocol;
use super::takeover::Takeover;
use crate::config::Networks;
use crate::lifecycle::{Phase, PhaseWatch};

/// A connection taken from the accept queue at the very end has sent nothing yet; its request is on the
/// way. This is how long it is waited for.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// The pause after a failed accept (out of file descriptors, most often): the next try waits for a connection to end,
/// at most this long.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves `socket` until the process closes and the last connection has ended. Runs on a local runtime.
pub(super) async fn serve<M, S, B>(
    socket: StdListener,
    proxies: Networks,
    limits: ConnectionLimits,
    phase: PhaseWatch,
    metrics: ConnectionMetrics,
    make_service: M,
) -> io::Result<()>
where
    M: Fn(SocketAddr, Takeover) -> S + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + 'static,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (mut closing, mut draining) = (phase.clone(), phase.clone());
    let connections = Rc::new(Connections::new(phase, limits, metrics));
    let make_service = Rc::new(make_service);
    let start = |mut stream: TcpStream, peer: SocketAddr| {
        let guard = OpenGuard::new(&connections);
        if proxies.contains(peer.ip().to_canonical()) {
            let (make_service, connections) = (Rc::clone(&make_service), Rc::clone(&connections));
            tokio::task::spawn_local(async move {
                if let Some(client) = proxy_protocol::client(&mut stream, peer, &connections).await {
                    let takeover = Takeover::default();
                    let service = make_service(client, takeover.clone());
                    connection::serve(stream, client, service, takeover, connections).await;
                }
                drop(guard);
            });
            return;
        }
        let takeover = Takeover::default();
        let service = make_service(peer, takeover.clone());
        let served = connection::serve(stream, peer, service, takeover, Rc::clone(&connections));
        tokio::task::spawn_local(async move {
            served.await;
            drop(guard);
        });
    };

    let listener = TcpListener::from_std(socket)?;
    let mut end = std::pin::pin!(closing.reached(Phase::Closing));
    let mut drain = std::pin::pin!(draining.reached(Phase::Draining));
    let mut drains = false;
    loop {
        tokio::select! {
            biased;
            () = &mut end => break,
            () = &mut drain, if !drains => {
                drains = true;
                connections.wake_all();
            }
            accepted = accept(&listener, &connections) => match accepted {
                Ok((stream, peer)) => start(stream, peer),
                Err(error) => {
                    connections.metrics.accept_errors.inc();
                    warn!(%error, "cannot accept connections");
                    // Only the wait matters, not which of the two ended it.
                    let _either = timeout(ACCEPT_RETRY, connections.one_ended()).await;
                }
            },
        }
    }

    // Closing a listener resets what waits in its accept queue, so take everything first.
    let socket = listener.into_std()?;
    loop {
        let accepted = socket.accept().and_then(|(stream, peer)| {
            stream.set_nonblocking(true)?;
            Ok((TcpStream::from_std(stream)?, peer))
        });
        match accepted {
            Ok((stream, peer)) => start(stream, peer),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // That client has gone already; the ones behind it have not.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                warn!(%error, "cannot accept the connections left in the queue");
                break;
            }
        }
    }
    drop(socket);
    connections.closing.set(true);
    connections.wake_all();
    debug!(open = connections.open(), "listener closed");

    let grace = async {
        sleep(FIRST_REQUEST_GRACE).await;
        connections.grace_over.set(true);
        connections.wake_all();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = connections.all_ended() => {}
        () = grace => {}
    }
    Ok(())
}

/// The next connection, once there is room for it.
async fn accept(listener: &TcpListener, connections: &Connections) -> io::Result<(TcpStream, SocketAddr)> {
    while connections.open() >= connections.limits.max_connections {
        connections.one_ended().await;
    }
    listener.accept().await
}
