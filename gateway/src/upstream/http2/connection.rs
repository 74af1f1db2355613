//! The task of one connection: it moves frames, and finds out when nobody is at the other end any more.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::Connection;
use h2::{Ping, PingPong, StreamId};
use shared::serve::FieldBlocks;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use crate::metrics::OpenGauge;

/// A connection with requests on it that has been silent for so long is asked for a sign of life,
const SILENCE: Duration = Duration::from_secs(10);
/// which may take so long.
const PONG: Duration = Duration::from_secs(5);
/// gRPC's servers end a connection that asks more often than this without an answer of theirs in between.
const PING_PAUSE: Duration = Duration::from_secs(300);

/// State of a connection, shared by its task and the requests on it.
#[derive(Debug)]
pub(super) struct ConnectionState {
    /// Time of the last read.
    pub(super) heard: Cell<Instant>,
    /// A part of an answer came since the peer was last asked for a sign of life.
    pub(super) has_answered: Cell<bool>,
    /// It has answered a request.
    pub(super) has_worked: Cell<bool>,
    /// Requests whose answer has not ended.
    pub(super) streams: Cell<usize>,
    /// No more requests will be sent.
    pub(super) is_let_go: Cell<bool>,
    pub(super) has_ended: Cell<bool>,
    /// Streams with a field block that is too large for trailers; nearly always none.
    large_blocks: RefCell<Vec<u32>>,
}

impl ConnectionState {
    pub(super) fn new(now: Instant) -> Rc<Self> {
        Rc::new(Self {
            heard: Cell::new(now),
            has_answered: Cell::new(false),
            has_worked: Cell::new(false),
            streams: Cell::new(0),
            is_let_go: Cell::new(false),
            has_ended: Cell::new(false),
            large_blocks: RefCell::default(),
        })
    }

    /// Tells whether the trailers of `stream` may be but a part of what was sent.
    pub(super) fn had_large_block(&self, stream: StreamId) -> bool {
        self.large_blocks.borrow().contains(&stream.as_u32())
    }

    /// The stream has ended.
    pub(super) fn forget(&self, stream: StreamId) {
        let mut large = self.large_blocks.borrow_mut();
        if !large.is_empty() {
            large.retain(|number| *number != stream.as_u32());
        }
    }
}

/// Streams of a connection that may have large blocks at a time. Those that had ended before are never forgotten, so an
/// upstream that goes on with them is to be stopped.
const MAX_LARGE_BLOCKS: usize = 1000;

/// A socket that notes when it hears something, and which streams have large field blocks.
pub(super) struct ActivityIo {
    stream: TcpStream,
    state: Rc<ConnectionState>,
    blocks: FieldBlocks,
}

impl ActivityIo {
    pub(super) fn new(stream: TcpStream, state: Rc<ConnectionState>, max_header_bytes: usize) -> Self {
        Self {
            stream,
            state,
            blocks: FieldBlocks::of_server(max_header_bytes),
        }
    }
}

impl AsyncRead for ActivityIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        let wire = &mut *self;
        wire.state.heard.set(Instant::now());
        wire.blocks.advance(&buffer.filled()[before..], |block| {
            wire.state.large_blocks.borrow_mut().push(block.stream);
        });
        match wire.state.large_blocks.borrow().len() {
            0..=MAX_LARGE_BLOCKS => Poll::Ready(read),
            _ => Poll::Ready(Err(io::Error::other("too many heads or trailers that are too large"))),
        }
    }
}

impl AsyncWrite for ActivityIo {
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

/// Moves frames until the connection ends, or is found to be dead: then its requests end with it.
pub(super) async fn drive(mut connection: Connection<ActivityIo, Bytes>, state: Rc<ConnectionState>, _open: OpenGauge) {
    let pings = connection.ping_pong().expect("nobody took it before");
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            debug!(%error, "an upstream's connection ended early");
        },
        () = until_dead(&state, pings) => debug!("an upstream's connection is dead"),
    }
    state.has_ended.set(true);
}

/// Returns when the peer has not answered a ping, or when there is no more use for the connection and it does not end.
async fn until_dead(state: &ConnectionState, mut pings: PingPong) {
    let mut keepalive = KeepalivePings::default();
    loop {
        let look_at = state.heard.get().max(Instant::now() - SILENCE / 2) + SILENCE;
        sleep_until(look_at).await;
        if state.streams.get() == 0 {
            match state.is_let_go.get() {
                true => return,
                // Nobody waits for it, and it will be looked at before it is used.
                false => continue,
            }
        }
        if keepalive.is_due(state, Instant::now())
            && !matches!(timeout(PONG, pings.ping(Ping::opaque())).await, Ok(Ok(_)))
        {
            return;
        }
    }
}

/// Schedule of keep-alive pings.
#[derive(Default)]
struct KeepalivePings {
    last: Option<Instant>,
}

impl KeepalivePings {
    fn is_due(&mut self, state: &ConnectionState, now: Instant) -> bool {
        let is_silent = now - state.heard.get() >= SILENCE;
        let is_allowed = |last| state.has_answered.get() || now - last >= PING_PAUSE;
        let is_due = is_silent && self.last.is_none_or(is_allowed);
        if is_due {
            self.last = Some(now);
            state.has_answered.set(false);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_peer_is_asked_once_until_it_answers_a_request_or_five_minutes_have_passed() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (state, mut keepalive) = (ConnectionState::new(start), KeepalivePings::default());
        assert!(!keepalive.is_due(&state, at(9)));
        assert!(keepalive.is_due(&state, at(10)));
        state.heard.set(at(10));
        assert!(!keepalive.is_due(&state, at(30)), "nothing but its word came");
        state.has_answered.set(true);
        state.heard.set(at(31));
        assert!(!keepalive.is_due(&state, at(40)), "it is not silent");
        assert!(keepalive.is_due(&state, at(41)));
        state.heard.set(at(41));
        assert!(!keepalive.is_due(&state, at(340)));
        assert!(keepalive.is_due(&state, at(341)));
    }
}
