//! A connection after its upstream switched protocols: bytes both ways, until both sides have ended theirs.
//!
//! Bytes from one side are written to the other before more is read, so a slow reader slows its writer down. At most one
//! read's worth waits in memory for each direction, and nothing while nobody sends. The endpoint's place is held until
//! the end.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tracing::debug;

use crate::upstream::Upgraded;

/// Most bytes of one read.
const READ: usize = 16 * 1024;
/// Longest silence of one direction once the other has ended: a side that closed may not mean to read on.
const HALF_CLOSED: Duration = Duration::from_secs(60);
/// A silent peer is asked for a sign of life after this, and given up about two minutes later.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_EVERY: Duration = Duration::from_secs(30);
const PROBES: u32 = 4;

thread_local! {
    /// Buffer of reads, for all tunnels of a worker.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// The end of a tunnel, for whoever records it. A tunnel that never begins, because its client left before, has none.
#[derive(Clone, Default)]
pub(crate) struct TunnelEnd(Rc<Cell<Option<EndObserver>>>);

type EndObserver = Box<dyn FnOnce(TunnelTotals)>;

impl TunnelEnd {
    /// Runs `record` at the end; it is dropped without a call when there is none.
    pub(crate) fn observe(&self, record: impl FnOnce(TunnelTotals) + 'static) {
        self.0.set(Some(Box::new(record)));
    }

    pub(crate) fn reached(&self, ended: TunnelTotals) {
        if let Some(record) = self.0.take() {
            record(ended);
        }
    }
}

/// A connection to an upstream that switched protocols, before the client's is joined to it.
pub(crate) struct Tunnel {
    upstream: Upgraded,
    idle_timeout: Duration,
}

/// Totals of a tunnel, and the reason of its end, unless both sides closed it.
#[derive(Debug)]
pub(crate) struct TunnelTotals {
    pub to_client: u64,
    pub to_upstream: u64,
    pub broke: Option<TunnelFault>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TunnelFault {
    #[error("the client broke the tunnel: {0}")]
    Client(io::Error),
    #[error("the upstream broke the tunnel: {0}")]
    Upstream(io::Error),
    #[error("the tunnel was idle for too long")]
    Idle,
}

impl Tunnel {
    pub(crate) fn new(upstream: Upgraded, idle_timeout: Duration) -> Self {
        Self { upstream, idle_timeout }
    }

    /// Passes bytes on until the end, first those that the client sent behind its request.
    pub(crate) async fn run(mut self, mut client: TcpStream, ahead: Bytes) -> TunnelTotals {
        let upstream_ahead = self.upstream.take_ahead();
        probe(&client);
        probe(self.upstream.socket());
        let mut to_upstream = Flow::starting_with(ahead);
        let mut to_client = Flow::starting_with(upstream_ahead);
        let mut progress = None;
        let ended = poll_fn(|cx| {
            let socket = self.upstream.socket();
            let up = to_upstream.poll(&mut client, socket, cx).map_err(TunnelFault::Client)?;
            let down = to_client.poll(socket, &mut client, cx).map_err(TunnelFault::Upstream)?;
            if up.is_ready() && down.is_ready() {
                return Poll::Ready(Ok(()));
            }
            let before = progress.replace((to_upstream.passed, to_client.passed, up.is_ready() || down.is_ready()));
            let limit = match up.is_ready() || down.is_ready() {
                true => self.idle_timeout.min(HALF_CLOSED),
                false => self.idle_timeout,
            };
            let until = (before != progress).then(|| Instant::now() + limit);
            ready!(self.upstream.poll_timer(until, cx));
            Poll::Ready(Err(TunnelFault::Idle))
        })
        .await;
        TunnelTotals {
            to_client: to_client.passed,
            to_upstream: to_upstream.passed,
            broke: ended.err(),
        }
    }
}

/// One direction.
struct Flow {
    /// Read, but not written yet.
    held: Bytes,
    passed: u64,
    state: FlowState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FlowState {
    Open,
    /// The source has ended; the sink is to be told when it has taken everything.
    Ending,
    Ended,
}

impl Flow {
    fn starting_with(held: Bytes) -> Self {
        Self {
            held,
            passed: 0,
            state: FlowState::Open,
        }
    }

    /// Ready when nothing more will pass. A sink that takes no more ends its direction only: what it sent before still
    /// goes the other way. A source that fails is an error.
    fn poll(&mut self, source: &mut TcpStream, sink: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while !self.held.is_empty() {
                match ready!(Pin::new(&mut *sink).poll_write(cx, &self.held)) {
                    Ok(count @ 1..) => {
                        self.passed += count as u64;
                        self.held.advance(count);
                    }
                    Ok(0) | Err(_) => self.give_up(),
                }
            }
            self.held = Bytes::new();
            match self.state {
                FlowState::Open => ready!(self.poll_read(source, sink, cx))?,
                FlowState::Ending => {
                    // A sink that is gone needs no telling.
                    let _told = ready!(Pin::new(&mut *sink).poll_shutdown(cx));
                    self.state = FlowState::Ended;
                }
                FlowState::Ended => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Reads once, and writes what the sink takes at once; the rest is held.
    fn poll_read(
        &mut self,
        source: &mut TcpStream,
        sink: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(source).poll_read(cx, &mut buffer))?;
            let read = buffer.filled();
            if read.is_empty() {
                self.state = FlowState::Ending;
                return Poll::Ready(Ok(()));
            }
            let written = match Pin::new(sink).poll_write(cx, read) {
                Poll::Ready(Ok(count)) => count,
                // Tried once more with what is held.
                Poll::Ready(Err(_)) | Poll::Pending => 0,
            };
            self.passed += written as u64;
            self.held = Bytes::copy_from_slice(&read[written..]);
            Poll::Ready(Ok(()))
        })
    }

    fn give_up(&mut self) {
        self.held = Bytes::new();
        self.state = FlowState::Ended;
    }
}

/// Turns TCP keep-alive on, so that the kernel finds out when the peer is gone.
fn probe(socket: &TcpStream) {
    let keepalive = TcpKeepalive::new()
        .with_time(PROBE_AFTER)
        .with_interval(PROBE_EVERY)
        .with_retries(PROBES);
    if let Err(error) = SockRef::from(socket).set_tcp_keepalive(&keepalive) {
        debug!(%error, "cannot have a silent peer probed");
    }
}
