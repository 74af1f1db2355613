//! The client's body on its way to the upstream.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use shared::serve::{expects_continue, linger, max_trailer_bytes, trailer_bytes};
use tokio::time::Instant;

use super::error::{BodyError, BodyFault};

/// A request body towards the upstream; a clone of a streaming one is the same stream.
#[derive(Clone)]
pub enum RequestBody {
    /// Read in whole before; empty once it was given out.
    Whole(Bytes),
    /// Passes through as it comes.
    Streaming(Rc<ClientBody>),
}

/// A streaming body, shared between hyper, which pulls it, and the proxy, which has to know how it fares
/// and what to do with the rest of it.
pub struct ClientBody {
    incoming: RefCell<Incoming>,
    limit: u64,
    max_trailer_bytes: usize,
    passed: Cell<u64>,
    last_frame: Cell<Instant>,
    state: Cell<BodyState>,
    /// Reason why the body ended early, when the client caused it.
    fault: RefCell<Option<BodyFault>>,
    expects_continue: bool,
    kept: RefCell<Kept>,
}

/// Parts of a body that are kept at most, each of which costs memory besides its bytes.
const MOST_PARTS: usize = 64;

/// Parts of a body that were sent, kept while they may have to be sent again. Their bytes are shared, not copied.
#[derive(Default)]
struct Kept {
    /// Most bytes to keep; nothing is kept when it is 0, or once there are more.
    limit: u64,
    bytes: u64,
    parts: Vec<KeptPart>,
    /// Parts that were given out since the last start.
    given: usize,
}

#[derive(Clone)]
enum KeptPart {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Kept {
    fn keep(&mut self, frame: &Frame<Bytes>) {
        if self.limit == 0 {
            return;
        }
        self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        if self.bytes > self.limit || self.parts.len() == MOST_PARTS {
            return self.stop();
        }
        let trailers = || frame.trailers_ref().cloned().map(KeptPart::Trailers);
        self.parts
            .extend(frame.data_ref().cloned().map(KeptPart::Data).or_else(trailers));
        self.given = self.parts.len();
    }

    /// Drops the parts that were sent; parts that are still to be sent again stay.
    fn stop(&mut self) {
        self.limit = 0;
        self.parts.drain(..self.given);
        self.given = 0;
    }

    fn next(&mut self) -> Option<Frame<Bytes>> {
        let part = self.parts.get(self.given)?.clone();
        self.given += 1;
        Some(match part {
            KeptPart::Data(data) => Frame::data(data),
            KeptPart::Trailers(trailers) => Frame::trailers(trailers),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyState {
    /// Nobody asked for it yet.
    Untouched,
    /// The upstream has room, and the client has not sent more.
    WaitsForClient,
    /// The client has sent more than the upstream has taken.
    WaitsForUpstream,
    Ended,
}

impl RequestBody {
    /// The client's body, when it streams.
    pub fn upload(&self) -> Option<&ClientBody> {
        match self {
            Self::Streaming(upload) => Some(upload),
            Self::Whole(_) => None,
        }
    }

    pub fn into_upload(self) -> Option<Rc<ClientBody>> {
        match self {
            Self::Streaming(upload) => Some(upload),
            Self::Whole(_) => None,
        }
    }
}

impl ClientBody {
    /// A body of up to `limit` bytes, in a message whose head has up to `max_header_bytes`.
    pub fn new(incoming: Incoming, headers: &HeaderMap, limit: u64, max_header_bytes: usize) -> Rc<Self> {
        Rc::new(Self {
            incoming: RefCell::new(incoming),
            limit,
            max_trailer_bytes: max_trailer_bytes(max_header_bytes),
            passed: Cell::new(0),
            last_frame: Cell::new(Instant::now()),
            state: Cell::new(BodyState::Untouched),
            fault: RefCell::new(None),
            expects_continue: expects_continue(headers),
            kept: RefCell::default(),
        })
    }

    /// Keeps what is given out, up to `limit` bytes, so that it can be given out again.
    pub fn keep(&self, limit: u64) {
        self.kept.borrow_mut().limit = limit;
    }

    /// It will not be asked for again: there is an answer.
    pub fn stop_keeping(&self) {
        self.kept.borrow_mut().stop();
    }

    /// Tells whether every part that was sent can be sent again.
    pub fn can_start_again(&self) -> bool {
        self.state.get() == BodyState::Untouched || self.kept.borrow().limit > 0
    }

    /// Begins anew.
    pub fn start_again(&self) {
        self.kept.borrow_mut().given = 0;
    }

    /// Time of the last progress: the body arrived, or a part of it passed.
    pub fn last_frame(&self) -> Instant {
        self.last_frame.get()
    }

    pub fn has_ended(&self) -> bool {
        self.state.get() == BodyState::Ended
    }

    pub fn waits_for_client(&self) -> bool {
        self.state.get() == BodyState::WaitsForClient
    }

    pub fn take_fault(&self) -> Option<BodyFault> {
        self.fault.borrow_mut().take()
    }

    /// The exchange is over before the body is: what the client still sends is thrown away for a while, so
    /// that it comes to read its answer.
    pub fn discard_rest(self: Rc<Self>) {
        let never_sent = self.expects_continue && self.state.get() == BodyState::Untouched;
        if !self.has_ended() && !never_sent {
            linger(Rest(self));
        }
    }

    fn is_end_stream(&self) -> bool {
        let kept = self.kept.borrow();
        kept.given == kept.parts.len() && self.incoming.borrow().is_end_stream()
    }

    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let kept = self.kept.borrow_mut().next();
        if kept.is_some() {
            return Poll::Ready(kept.map(Ok));
        }
        let mut incoming = self.incoming.borrow_mut();
        let frame = match Pin::new(&mut *incoming).poll_frame(cx) {
            Poll::Pending => {
                self.state.set(BodyState::WaitsForClient);
                return Poll::Pending;
            }
            Poll::Ready(None) => {
                self.state.set(BodyState::Ended);
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(error))) => {
                self.state.set(BodyState::Ended);
                self.fault.replace(Some(BodyFault::Broke(error)));
                return Poll::Ready(Some(Err("the client's body broke off".into())));
            }
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        self.last_frame.set(Instant::now());
        self.passed
            .set(self.passed.get() + frame.data_ref().map_or(0, |data| data.len() as u64));
        self.state.set(match incoming.is_end_stream() {
            true => BodyState::Ended,
            false => BodyState::WaitsForUpstream,
        });
        if self.passed.get() > self.limit {
            self.fault.replace(Some(BodyFault::TooLarge(self.limit)));
            return Poll::Ready(Some(Err("the client's body is over the limit".into())));
        }
        let trailers = frame.trailers_ref();
        if trailers.is_some_and(|trailers| trailer_bytes(trailers) > self.max_trailer_bytes) {
            self.fault
                .replace(Some(BodyFault::TrailersTooLarge(self.max_trailer_bytes)));
            return Poll::Ready(Some(Err("the client's trailers are over the limit".into())));
        }
        self.kept.borrow_mut().keep(&frame);
        Poll::Ready(Some(Ok(frame)))
    }
}

/// What a client still sends of a body that nobody wants any more, also of one over its limit.
struct Rest(Rc<ClientBody>);

impl Body for Rest {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut *self.0.incoming.borrow_mut()).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.incoming.borrow().is_end_stream()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Streaming(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Streaming(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Streaming(body) => body.incoming.borrow().size_hint(),
        }
    }
}
