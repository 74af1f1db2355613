//! The task of one connection: it moves frames, and finds out when nobody is at the other end any more.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::Connection;
use h2::{Ping, PingPong};
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

/// A connection with requests on it that has been silent for so long is asked for a sign of life,
const SILENCE: Duration = Duration::from_secs(10);
/// which may take so long.
const PONG: Duration = Duration::from_secs(5);

/// What is known of a connection, to its task and to whoever sends requests over it.
#[derive(Debug)]
pub(super) struct Link {
    /// When something last came.
    pub(super) heard: Cell<Instant>,
    /// Requests whose answer has not ended.
    pub(super) streams: Cell<usize>,
    /// No more requests will be sent.
    pub(super) is_let_go: Cell<bool>,
    pub(super) has_ended: Cell<bool>,
}

impl Link {
    pub(super) fn new(now: Instant) -> Rc<Self> {
        Rc::new(Self {
            heard: Cell::new(now),
            streams: Cell::new(0),
            is_let_go: Cell::new(false),
            has_ended: Cell::new(false),
        })
    }
}

/// A socket that notes when it hears something.
pub(super) struct Wire {
    pub(super) stream: TcpStream,
    pub(super) link: Rc<Link>,
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        self.link.heard.set(Instant::now());
        Poll::Ready(read)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Counts a connection as open.
pub(super) struct Open(IntGauge);

impl Open {
    pub(super) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Moves frames until the connection ends, or is found to be dead: then its requests end with it.
pub(super) async fn drive(mut connection: Connection<Wire, Bytes>, link: Rc<Link>, _open: Open) {
    let pings = connection.ping_pong().expect("nobody took it before");
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            debug!(%error, "an upstream's connection ended early");
        },
        () = until_dead(&link, pings) => debug!("an upstream's connection is dead"),
    }
    link.has_ended.set(true);
}

/// Returns when the peer has not answered a ping, or when there is no more use for the connection and it does not end.
async fn until_dead(link: &Link, mut pings: PingPong) {
    loop {
        let look_at = link.heard.get().max(Instant::now() - SILENCE / 2) + SILENCE;
        sleep_until(look_at).await;
        if link.streams.get() == 0 {
            match link.is_let_go.get() {
                true => return,
                // Nobody waits for it, and it will be looked at before it is used.
                false => continue,
            }
        }
        let is_silent = link.heard.get().elapsed() >= SILENCE;
        if is_silent && !matches!(timeout(PONG, pings.ping(Ping::opaque())).await, Ok(Ok(_))) {
            return;
        }
    }
}
