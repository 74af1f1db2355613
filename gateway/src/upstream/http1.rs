//! HTTP/1.1 towards an upstream: one exchange at a time over one TCP connection.
//!
//! hyper's client is not used here. It takes a request away, hands it to a task of its own through a channel and keeps a
//! read buffer for each connection; this writes a request from where it stands and reads into a buffer that the whole
//! worker shares. So a request that may have to go out again needs no copy, an idle connection holds no buffer, and a
//! request costs about a third fewer instructions in user space (docs/decisions.md has the figures). What was written is
//! known to the byte, which is what decides whether a request may be sent again.
//!
//! ```text
//! start ─► poll_answer: write head, write body, read head ─► poll_body: (write on,) read body ─► may_be_used_again
//!                                      └─ into a header map that `recycle_header_map` kept from an answered request
//! ```

mod decode;
mod encode;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Response, request};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

use super::error::UpstreamError;
use super::injected_headers::InjectedHeaders;
use super::request_body::RequestBody;
pub use decode::recycle_header_map;
use decode::{Decoder, Head, Part};
use encode::{Encoder, SMALL};

/// Most bytes of one read.
const READ: usize = 64 * 1024;
/// From this much of a body to come on, it is read into a buffer of its own instead of being copied out of the shared one.
const LARGE: u64 = 16 * 1024;
/// Slices of one vectored write.
const SLICES: usize = 8;

thread_local! {
    /// Buffer of small reads: every connection of a worker uses it in turn, so it stays in the CPU's cache.
    static SHARED: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

pub(super) struct Http1 {
    stream: TcpStream,
    max_head: usize,
    /// The head and small parts, and how much of it is written.
    head_out: Vec<u8>,
    written: usize,
    /// Larger parts, after the above.
    parts_out: VecDeque<Bytes>,
    /// The body that is still to be asked for more.
    body: Option<(RequestBody, Encoder)>,
    /// Bytes of this request that the kernel took.
    sent: u64,
    /// Writing failed; what the upstream had to say before is still read.
    write_failed: bool,
    /// Read, and not looked at yet.
    ahead: Bytes,
    /// A head that did not come in one piece.
    partial: Vec<u8>,
    decoder: Decoder,
    is_head_request: bool,
    keep_alive: bool,
}

impl Http1 {
    pub(super) fn new(stream: TcpStream, max_head: usize) -> Self {
        Self {
            stream,
            max_head,
            head_out: Vec::new(),
            written: 0,
            parts_out: VecDeque::new(),
            body: None,
            sent: 0,
            write_failed: false,
            ahead: Bytes::new(),
            partial: Vec::new(),
            decoder: Decoder::Ended,
            is_head_request: false,
            keep_alive: true,
        }
    }

    /// Tells whether its last exchange ended in a way that allows another.
    pub(super) fn may_be_used_again(&self) -> bool {
        self.body_has_ended() && self.has_sent_all() && self.keep_alive && self.ahead.is_empty()
    }

    /// Tells whether the upstream has neither closed an idle connection nor sent anything on it.
    pub(super) fn is_quiet(&mut self) -> bool {
        // Nobody is to be woken: an idle connection is looked at when it is taken out.
        let mut cx = Context::from_waker(Waker::noop());
        let mut byte = [0];
        Pin::new(&mut self.stream)
            .poll_read(&mut cx, &mut ReadBuf::new(&mut byte))
            .is_pending()
    }

    /// Takes on a request. Nothing is written yet.
    pub(super) fn start(&mut self, head: &request::Parts, added: &InjectedHeaders<'_>, body: &RequestBody) {
        self.head_out.clear();
        self.sent = 0;
        self.is_head_request = head.method == Method::HEAD;
        let encoder = encode::head(&mut self.head_out, head, added, body);
        match body {
            RequestBody::Whole(bytes) if bytes.is_empty() => {}
            RequestBody::Whole(bytes) => self.enqueue(bytes.clone()),
            RequestBody::Streaming(_) => self.body = Some((body.clone(), encoder)),
        }
    }

    /// Takes on a request that another connection did not write.
    pub(super) fn start_unsent(&mut self, unsent: Unsent) {
        self.sent = 0;
        self.head_out = unsent.head_out;
        self.parts_out = unsent.parts_out;
        self.body = unsent.body;
        self.is_head_request = unsent.is_head_request;
    }

    /// The request again, whole, if not a byte of it went out.
    pub(super) fn take_unsent(&mut self) -> Option<Unsent> {
        (self.sent == 0).then(|| Unsent {
            head_out: std::mem::take(&mut self.head_out),
            parts_out: std::mem::take(&mut self.parts_out),
            body: self.body.take(),
            is_head_request: self.is_head_request,
        })
    }

    /// Writes the request and waits for the head of its answer.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, UpstreamError>> {
        self.write_on(cx)?;
        let head = ready!(self.poll_head(cx))?;
        self.keep_alive = head.keep_alive;
        self.decoder = head.decoder;
        Poll::Ready(Ok(head.response))
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, UpstreamError>> {
        loop {
            if !self.ahead.is_empty() {
                match self.take_head()? {
                    // The final answer is still to come.
                    Some(head) if head.is_interim() => continue,
                    Some(head) => return Poll::Ready(Ok(head)),
                    None => {}
                }
            }
            if ready!(self.poll_fill(cx, 0))? == 0 {
                return Poll::Ready(Err(UpstreamError::Closed));
            }
        }
    }

    /// A head, if there is a whole one.
    fn take_head(&mut self) -> Result<Option<Head>, UpstreamError> {
        if !self.partial.is_empty() {
            self.partial.extend_from_slice(&self.ahead);
            self.ahead = Bytes::from(std::mem::take(&mut self.partial));
        }
        match decode::head(&self.ahead, self.is_head_request)? {
            Some((head, length)) if length <= self.max_head => {
                self.ahead.advance(length);
                Ok(Some(head))
            }
            None if self.ahead.len() < self.max_head => {
                self.partial.extend_from_slice(&self.ahead);
                self.ahead.clear();
                Ok(None)
            }
            _ => Err(UpstreamError::HeadTooLarge(self.max_head)),
        }
    }

    /// The next part of the answer's body.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        if let Err(error) = self.write_on(cx) {
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            match self.decoder.next(&mut self.ahead) {
                Ok(Part::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Part::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(Part::Ended) => return Poll::Ready(None),
                Ok(Part::NeedsMore) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            match ready!(self.poll_fill(cx, self.decoder.expected())) {
                Ok(0) if matches!(self.decoder, Decoder::UntilClose) => self.decoder = Decoder::Ended,
                Ok(0) => return Poll::Ready(Some(Err(UpstreamError::Closed))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    pub(super) fn body_has_ended(&self) -> bool {
        matches!(self.decoder, Decoder::Ended)
    }

    pub(super) fn body_size(&self) -> SizeHint {
        match self.decoder {
            Decoder::Ended => SizeHint::with_exact(0),
            Decoder::Length(left) => SizeHint::with_exact(left),
            Decoder::Chunked(_) | Decoder::UntilClose => SizeHint::new(),
        }
    }

    /// Tells whether the whole request was written: the next bytes may be another protocol's.
    pub(super) fn has_sent_all(&self) -> bool {
        self.body.is_none() && !self.has_unsent() && !self.write_failed
    }

    /// The socket, for another protocol than this.
    pub(super) fn socket(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Bytes of that protocol that were read together with the answer's head.
    pub(super) fn take_ahead(&mut self) -> Bytes {
        std::mem::take(&mut self.ahead)
    }

    fn has_unsent(&self) -> bool {
        self.written < self.head_out.len() || !self.parts_out.is_empty()
    }

    fn enqueue(&mut self, part: Bytes) {
        if self.parts_out.is_empty() && part.len() <= SMALL {
            self.head_out.extend_from_slice(&part);
        } else {
            self.parts_out.push_back(part);
        }
    }

    /// Writes what can be written now. A connection that takes no more is not an error yet: the upstream may have
    /// answered before it closed.
    fn write_on(&mut self, cx: &mut Context<'_>) -> Result<(), UpstreamError> {
        if self.write_failed || (!self.has_unsent() && self.body.is_none()) {
            return Ok(());
        }
        match self.poll_write_all(cx) {
            Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(UpstreamError::Io(error))) if self.sent > 0 => {
                tracing::debug!(%error, "the upstream takes no more of the request");
                self.write_failed = true;
                Ok(())
            }
            Poll::Ready(Err(error)) => Err(error),
        }
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamError>> {
        if self.sent == 0 && self.parts_out.is_empty() {
            // What is there of the body goes out together with the head.
            if let Poll::Ready(more) = self.poll_more(cx) {
                more?;
            }
        }
        loop {
            while self.has_unsent() {
                let count = ready!(self.poll_write(cx))?;
                if count == 0 {
                    return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into()));
                }
                self.sent += count as u64;
                self.advance(count);
            }
            if self.body.is_none() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_more(cx))?;
        }
    }

    /// Polls the body for its next part.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamError>> {
        let Some((body, encoder)) = &mut self.body else {
            return Poll::Ready(Ok(()));
        };
        match ready!(Pin::new(body).poll_frame(cx)) {
            Some(Ok(frame)) => encoder.encode(frame, &mut self.head_out, &mut self.parts_out)?,
            Some(Err(_)) => return Poll::Ready(Err(UpstreamError::Upload)),
            None => {
                encoder.end(&mut self.head_out)?;
                self.body = None;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        let head = &self.head_out[self.written..];
        if self.parts_out.is_empty() {
            return stream.poll_write(cx, head);
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        slices[0] = IoSlice::new(head);
        let parts = self.parts_out.iter().take(SLICES - 1);
        let count = 1 + parts.len();
        for (slice, part) in slices[1..].iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
        }
        stream.poll_write_vectored(cx, &slices[..count])
    }

    fn advance(&mut self, count: usize) {
        let of_head = count.min(self.head_out.len() - self.written);
        self.written += of_head;
        if self.written == self.head_out.len() {
            self.head_out.clear();
            self.written = 0;
        }
        let mut left = count - of_head;
        while left > 0
            && let Some(part) = self.parts_out.front_mut()
        {
            let of_part = left.min(part.len());
            part.advance(of_part);
            left -= of_part;
            if part.is_empty() {
                self.parts_out.pop_front();
            }
        }
    }

    /// Reads once into `ahead`, which is empty; `expected` is how much of a body is known to come.
    fn poll_fill(&mut self, cx: &mut Context<'_>, expected: u64) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        if expected >= LARGE {
            let mut buffer = BytesMut::with_capacity(READ.min(usize::try_from(expected).unwrap_or(READ)));
            let count = ready!(poll_read_buf(stream, cx, &mut buffer))?;
            self.ahead = buffer.freeze();
            return Poll::Ready(Ok(count));
        }
        SHARED.with_borrow_mut(|shared| {
            let mut buffer = ReadBuf::new(shared);
            ready!(stream.poll_read(cx, &mut buffer))?;
            self.ahead = Bytes::copy_from_slice(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
    }
}

/// A request of which nothing was written: another connection may take it on.
pub struct Unsent {
    head_out: Vec<u8>,
    parts_out: VecDeque<Bytes>,
    body: Option<(RequestBody, Encoder)>,
    is_head_request: bool,
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
