//! A client's socket as hyper sees it: requests come through only when they are valid, and neither a head that
//! trickles in nor an answer that is not read holds it for ever.
//!
//! hyper never sees a byte of a head that is refused, or not complete yet: what has come of it is held here.
//! Usually a head comes in one piece and nothing is held, copied or timed.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tracing::debug;

use super::deadline::Deadline;
use super::field_blocks::FieldBlocks;
use super::http1::{Refusal, Validator};
use super::limits::ConnectionLimits;

thread_local! {
    /// The buffer for bytes that arrive while a request is being answered.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; 8 * 1024]);
}

/// The progress of a connection's requests, shared by its socket and its service.
#[derive(Debug, Default)]
pub(super) struct RequestProgress {
    pub(super) has_started: Cell<bool>,
    /// Requests whose answer has ended.
    pub(super) answered: Cell<u64>,
    /// The body of the current request is none: its answer is the connection's last.
    pub(super) is_broken: Cell<bool>,
    /// The body of the current request has not come in whole.
    pub(super) is_in_body: Cell<bool>,
    pub(super) upgrade: Cell<Upgrade>,
    /// The end of the connection is the only end of the current answer.
    pub(super) ends_by_close: Cell<bool>,
}

/// The state of a request to switch protocols.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upgrade {
    #[default]
    None,
    /// The request of this number, counted from one, does, and is the last that hyper has been given.
    Asked(u64),
    /// Its answer says that HTTP goes on.
    Declined,
}

impl RequestProgress {
    /// Notes the answer to the current request, and returns true when the request asked to switch protocols and the answer does not.
    pub(super) fn declines_upgrade(&self, status: StatusCode) -> bool {
        let declines =
            self.upgrade.get() == Upgrade::Asked(self.answered.get() + 1) && status != StatusCode::SWITCHING_PROTOCOLS;
        if declines {
            self.upgrade.set(Upgrade::Declined);
        }
        declines
    }
}

/// The trailers of HTTP/2 requests: hyper would pass on what fits of them, so a connection with larger ones ends.
#[derive(Debug)]
struct TrailerCheck {
    blocks: FieldBlocks,
    are_too_large: bool,
}

impl TrailerCheck {
    fn new(max_header_bytes: usize) -> Self {
        Self {
            blocks: FieldBlocks::of_client(max_header_bytes),
            are_too_large: false,
        }
    }

    fn advance(&mut self, bytes: &[u8]) {
        // A head that is too large is answered.
        self.blocks
            .advance(bytes, |block| self.are_too_large |= !block.opens_stream);
    }

    fn verdict(&self) -> io::Result<()> {
        match self.are_too_large {
            true => Err(io::Error::new(io::ErrorKind::InvalidData, "the trailers are too large")),
            false => Ok(()),
        }
    }
}

#[derive(Debug)]
pub(super) struct ValidatingIo {
    stream: TcpStream,
    limits: ConnectionLimits,
    progress: Rc<RequestProgress>,
    validator: Validator,
    /// Read, but not given to hyper: a head or a line that is not complete, and what is complete of it since.
    held: Vec<u8>,
    /// The number of bytes of `held` that may pass.
    cleared: usize,
    /// Set when the connection does not speak HTTP/1: then every byte may pass.
    http2: Option<TrailerCheck>,
    waits_for: Option<Awaited>,
    waiting: Deadline,
    writing: Deadline,
    is_flushed: bool,
    has_stalled: bool,
    /// True when the client ended its sending side while it waits for an answer that it is to get.
    is_half_closed: bool,
}

/// The next event of an idle connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Request,
    RestOfHead,
}

impl ValidatingIo {
    pub(super) fn new(stream: TcpStream, limits: ConnectionLimits, progress: Rc<RequestProgress>) -> Self {
        Self {
            stream,
            limits,
            progress,
            validator: Validator::new(limits.head),
            held: Vec::new(),
            cleared: 0,
            http2: None,
            waits_for: None,
            waiting: Deadline::default(),
            writing: Deadline::default(),
            is_flushed: true,
            has_stalled: false,
            is_half_closed: false,
        }
    }

    /// True when part of a head has arrived.
    pub(super) fn is_in_head(&self) -> bool {
        self.validator.is_in_head()
    }

    /// True when the client has begun to speak HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.validator.is_http2()
    }

    /// Lets every byte pass, those that are kept first.
    pub(super) fn open(&mut self) {
        let mut check = TrailerCheck::new(self.limits.head.max_bytes);
        check.advance(&self.held);
        self.http2 = Some(check);
        self.cleared = self.held.len();
    }

    /// The refusal that hyper knows nothing of, when it is time to answer it: after everything before it.
    pub(super) fn refusal_to_answer(&self) -> Option<Refusal> {
        let its_turn = self.is_flushed && self.all_answered() && !self.validator.is_in_body();
        self.validator.refusal().filter(|_| its_turn)
    }

    /// The refusal of a body, which hyper and the service above it have received as an error.
    pub(super) fn refusal_of_body(&self) -> Option<Refusal> {
        self.validator.refusal().filter(|_| self.validator.is_in_body())
    }

    pub(super) fn is_refused(&self) -> bool {
        self.validator.refusal().is_some()
    }

    /// True when the answer to the refused request has no body.
    pub(super) fn refuses_head_request(&self) -> bool {
        self.validator.is_head_request()
    }

    /// True when everything that was to be written is.
    pub(super) fn is_flushed(&self) -> bool {
        self.is_flushed
    }

    /// True when the client did not read for too long.
    pub(super) fn has_stalled(&self) -> bool {
        self.has_stalled
    }

    /// True when a request that asks to switch protocols has no answer yet, or one that does switch.
    pub(super) fn may_switch(&self) -> bool {
        self.validator.asks_upgrade()
    }

    /// The socket, and what was read behind the last request.
    pub(super) fn into_parts(self) -> (TcpStream, Bytes) {
        (self.stream, Bytes::from(self.held))
    }

    /// Makes a close of the socket a reset, which also discards what the kernel still has for the client; or no longer.
    pub(super) fn reset_on_close(&self, resets: bool) {
        let linger = resets.then_some(Duration::ZERO);
        if let Err(error) = SockRef::from(&self.stream).set_linger(linger) {
            debug!(%error, "cannot choose how the connection is closed");
        }
    }

    pub(super) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Ready when the client has left or idled for too long, and when something other than HTTP/1 comes next: a refusal
    /// that is to be answered, or HTTP/2. To be polled
    /// whenever hyper has nothing to do: it does not ask for more in every case in which it waits for more.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.refusal_to_answer().is_some() || self.validator.is_http2() || self.poll_left(cx).is_ready() {
            return Poll::Ready(());
        }
        let awaited = if self.validator.is_in_head() {
            Awaited::RestOfHead
        } else if self.all_answered() && self.is_flushed {
            Awaited::Request
        } else {
            // Others see to how long a body and an answer may take.
            self.waits_for = None;
            return Poll::Pending;
        };
        if self.waits_for.replace(awaited) != Some(awaited) {
            self.waiting.clear();
        }
        match awaited {
            Awaited::Request => self.waiting.poll(cx, self.limits.keepalive_timeout),
            Awaited::RestOfHead => {
                ready!(self.waiting.poll(cx, self.limits.header_timeout));
                self.validator.refuse(Refusal::HeadTimeout);
                match self.refusal_to_answer() {
                    Some(_) => Poll::Ready(()),
                    None => Poll::Pending,
                }
            }
        }
    }

    /// Ready when a client leaves that waits for an answer. hyper would find out too, but it takes a new buffer for
    /// that with every request.
    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_awaited = self.is_half_closed || self.validator.is_in_body() || self.validator.refusal().is_some();
        if self.all_answered() || is_awaited {
            return Poll::Pending;
        }
        SCRATCH.with_borrow_mut(|scratch| {
            // One read ahead is enough, unless it may be another protocol's beginning or has to become a whole head.
            while self.cleared == 0 && self.held.len() < self.limits.head.max_bytes {
                if self.progress.upgrade.get() == Upgrade::Declined {
                    self.read_on();
                    continue;
                }
                let mut buffer = ReadBuf::new(scratch);
                let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
                if read.is_err() {
                    return Poll::Ready(());
                }
                if buffer.filled().is_empty() {
                    self.is_half_closed = self.limits.answer_half_closed;
                    return if self.is_half_closed {
                        Poll::Pending
                    } else {
                        Poll::Ready(())
                    };
                }
                self.held.extend_from_slice(buffer.filled());
                self.cleared = self.validator.advance(&self.held);
                self.note_progress();
            }
            Poll::Pending
        })
    }

    fn all_answered(&self) -> bool {
        self.validator.requests() == self.progress.answered.get()
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Some(check) = &self.http2 {
            check.verdict()?;
        }
        loop {
            if self.cleared > 0 {
                self.give_held(buffer);
                return Poll::Ready(Ok(()));
            }
            if let Some(check) = &mut self.http2 {
                ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
                check.advance(&buffer.filled()[before..]);
                return Poll::Ready(check.verdict());
            }
            if let Some(refusal) = self.validator.refusal() {
                return self.poll_refused(refusal);
            }
            if self.progress.upgrade.get() == Upgrade::Declined {
                self.read_on();
                continue;
            }
            if self.validator.asks_upgrade() && self.held.len() >= self.limits.head.max_bytes {
                // The answer wakes whoever reads.
                return Poll::Pending;
            }
            ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
            if buffer.filled().len() == before {
                return Poll::Ready(Ok(()));
            }
            self.validate(buffer, before);
            if buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Leaves in `buffer`, of what was read into it after `before`, what hyper may see, and keeps the rest.
    fn validate(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        let read = &buffer.filled()[before..];
        if self.held.is_empty() {
            let passed = self.validator.advance(read);
            if passed < read.len() {
                self.held.extend_from_slice(&read[passed..]);
                buffer.set_filled(before + passed);
            }
            if passed > 0 {
                self.waits_for = None;
            }
        } else {
            self.held.extend_from_slice(read);
            buffer.set_filled(before);
            self.cleared = self.validator.advance(&self.held);
        }
        self.note_progress();
    }

    /// Reads what follows a request that asked for another protocol as what it is: HTTP.
    fn read_on(&mut self) {
        self.progress.upgrade.set(Upgrade::None);
        self.validator.decline_upgrade();
        self.cleared = self.validator.advance(&self.held);
        self.note_progress();
    }

    fn note_progress(&self) {
        self.progress.is_in_body.set(self.validator.is_in_body());
        if self.validator.asks_upgrade() {
            self.progress.upgrade.set(Upgrade::Asked(self.validator.requests()));
        }
    }

    fn give_held(&mut self, buffer: &mut ReadBuf<'_>) {
        let given = self.cleared.min(buffer.remaining());
        buffer.put_slice(&self.held[..given]);
        self.held.drain(..given);
        self.cleared -= given;
        if self.held.is_empty() {
            // It was as large as a head; few connections need it again.
            self.held = Vec::new();
        }
        self.waits_for = None;
    }

    fn poll_refused(&self, refusal: Refusal) -> Poll<io::Result<()>> {
        if self.validator.is_in_body() {
            self.progress.is_broken.set(true);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, refusal)));
        }
        // Were this the end of the connection, hyper would abandon the requests before it. It goes on waiting
        // until it has answered them, and then is let go.
        Poll::Pending
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.is_flushed = false;
        let stream = Pin::new(&mut self.stream);
        let written = match slices {
            [only] => stream.poll_write(cx, only),
            slices => stream.poll_write_vectored(cx, slices),
        };
        if written.is_ready() {
            self.writing.clear();
            return written;
        }
        ready!(self.writing.poll(cx, self.limits.send_timeout));
        self.writing.clear();
        // Linux calls a socket writable when a third of its buffer is free. A client that reads slowly may have
        // taken less, and then there is room all the same.
        match SockRef::from(&self.stream).send_vectored(slices) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.has_stalled = true;
                let stalled = io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer");
                Poll::Ready(Err(stalled))
            }
            sent => Poll::Ready(sent),
        }
    }
}

/// The half of a [`ValidatingIo`] that is given to hyper; the other half outlives hyper and ends the connection.
#[derive(Debug)]
pub(super) struct HyperIo(pub(super) Rc<RefCell<ValidatingIo>>);

impl AsyncRead for HyperIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_read(cx, buffer)
    }
}

impl AsyncWrite for HyperIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().stream.is_write_vectored()
    }

    /// hyper flushes when it has written all it had.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *self.0.borrow_mut();
        wire.is_flushed = true;
        Pin::new(&mut wire.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_shutdown(cx)
    }
}
