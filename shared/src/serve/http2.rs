//! HTTP/2 without TLS, for clients that know it is spoken here (RFC 9113 section 3.3).
//!
//! hyper drives the connection and hands each stream to a task of its own ([`Streams`] is its executor). What is added
//! here are the ends: a connection without streams idles only so long, one that drains says GOAWAY, and a stream whose
//! client opens no window for its answer is reset.

mod checked;
mod head;
mod wire;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use pin_project_lite::pin_project;

use super::connections::{Connections, WakerSlot};
use super::deadline::Deadline;
use super::http1::{HeadLimits, Refusal};
use super::limits::Http2Limits;
use super::linger::{expects_continue, linger};
use super::observed::{Observe, ObservedBody, ObservedFuture};
use super::refuse;
use super::validating_io::{HyperIo, ValidatingIo};
use crate::request_id::{RequestId, X_REQUEST_ID};
use checked::{CheckedBody, CheckedFuture};
use wire::{FollowedIo, Wire};

/// Streams that a client reset before they were taken up: more, and it is up to no good (CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 20;

/// Streams that were reset because of the client's own mistakes.
const MAX_ERROR_RESETS: usize = 256;

/// The time that a client has for closing a connection that was ended with GOAWAY and has no streams.
const GOODBYE: Duration = Duration::from_secs(2);

/// The end of a connection.
pub(super) enum End {
    /// hyper ended it.
    Closed(hyper::Result<()>),
    /// It has no open stream and is to be closed with these last words.
    Idle(Vec<u8>),
}

/// Serves a connection whose client has begun to speak HTTP/2, to its end.
pub(super) async fn serve<S, B>(
    io: &Rc<RefCell<ValidatingIo>>,
    peer: SocketAddr,
    service: S,
    connections: &Rc<Connections>,
) -> End
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + 'static,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let limits = &connections.limits;
    let streams = Streams(Rc::new(OpenStreams {
        connections: Rc::clone(connections),
        count: Cell::new(0),
        has_started: Cell::new(false),
        latest: RefCell::new(None),
        connection: RefCell::new(None),
    }));
    let open = Rc::clone(&streams.0);
    let service = CountedService {
        inner: service,
        peer,
        open: Rc::clone(&open),
    };
    let wire = Rc::new(RefCell::new(Wire::new()));
    let followed = FollowedIo {
        inner: HyperIo(Rc::clone(io)),
        wire: Rc::clone(&wire),
    };
    let connection =
        builder(limits.http2, h2_head_bytes(limits.head), streams).serve_connection(TokioIo::new(followed), service);
    let mut connection = pin!(connection);
    let mut slot = WakerSlot::new(connections);
    let mut idle = Deadline::default();
    let mut awaited = Awaited::Request;
    let mut drain = Drain::default();
    poll_fn(|cx| {
        slot.register(cx);
        open.connection.borrow_mut().get_or_insert_with(|| cx.waker().clone());
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(End::Closed(ended));
            }
            let is_idle = open.count.get() == 0 && io.borrow().is_flushed() && wire.borrow().is_idle();
            match drain.next(&open, &wire.borrow(), is_idle) {
                Step::GoOn => {}
                Step::End => return Poll::Ready(End::Idle(wire.borrow().goodbye())),
                Step::GoAway => {
                    connection.as_mut().graceful_shutdown();
                    continue;
                }
            }
            let waits_for = Awaited::of(&open, &wire.borrow(), is_idle);
            if awaited != waits_for {
                awaited = waits_for;
                idle.clear();
            }
            match waits_for {
                Awaited::Answer => return Poll::Pending,
                Awaited::Window { .. } => {
                    ready!(idle.poll(cx, limits.send_timeout));
                    connections.metrics.stalled.inc();
                    return Poll::Ready(End::Closed(Ok(())));
                }
                Awaited::Request if drain.is_told => return idle.poll(cx, GOODBYE).map(|()| End::Closed(Ok(()))),
                Awaited::Request => {
                    ready!(idle.poll(cx, limits.keepalive_timeout));
                    return Poll::Ready(End::Idle(wire.borrow().goodbye()));
                }
            }
        }
    })
    .await
}

/// The next event of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Request,
    /// An answer that is not made yet.
    Answer,
    /// Room for the rest of an answer, of which so many frames were sent.
    Window {
        sent: u64,
    },
}

impl Awaited {
    fn of(open: &OpenStreams, wire: &Wire, is_idle: bool) -> Self {
        match open.count.get() {
            0 if is_idle => Self::Request,
            0 => Self::Window {
                sent: wire.sent_frames(),
            },
            _ => Self::Answer,
        }
    }
}

/// The end of a connection in a drain. hyper says GOAWAY twice, with a PING between, and some clients lose every request
/// that has no answer by then (httpx does). So a connection goes on until it has no open stream, and then ends with one
/// GOAWAY behind its last answer. One that idles when the drain begins has its next request answered first, as its
/// client may be about to send that.
#[derive(Default)]
struct Drain {
    /// A stream was open since the drain began.
    was_busy: bool,
    /// The last stream when the listener was closed.
    last_at_close: Option<u32>,
    /// hyper was told to end the connection.
    is_told: bool,
}

enum Step {
    GoOn,
    /// The connection has no open stream and ends now.
    End,
    /// hyper is to end it, with streams that are open.
    GoAway,
}

impl Drain {
    fn next(&mut self, open: &OpenStreams, wire: &Wire, is_idle: bool) -> Step {
        let connections = &open.connections;
        if self.is_told || !connections.phase.is_draining() {
            return Step::GoOn;
        }
        let (closing, grace_over) = (connections.closing.get(), connections.grace_over.get());
        if is_idle {
            // A new connection has a while for its first request: it is on its way.
            let ends = self.was_busy || (closing && (open.has_started.get() || grace_over));
            return if ends { Step::End } else { Step::GoOn };
        }
        self.was_busy = true;
        if closing {
            // A client that begins one request while another is under way would go on for ever.
            let last_at_close = *self.last_at_close.get_or_insert(wire.last_stream());
            self.is_told = wire.last_stream() > last_at_close && wire.has_many_open();
        }
        if self.is_told { Step::GoAway } else { Step::GoOn }
    }
}

/// The most that h2 reads of a head before it answers 431 by itself, without a body. It counts 32 bytes with each field,
/// and a cookie may come in many, so that this is far above [`HeadLimits::max_bytes`], which holds for what it passes on.
fn h2_head_bytes(limits: HeadLimits) -> usize {
    2 * limits.max_bytes + (32 << 10)
}

fn builder(limits: Http2Limits, max_header_bytes: usize, streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(u32::try_from(max_header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_ERROR_RESETS)
        .initial_stream_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_send_buf_size(usize::try_from(limits.stream_window).unwrap_or(usize::MAX))
        .keep_alive_interval(limits.ping_interval)
        .keep_alive_timeout(limits.ping_timeout);
    builder
}

/// The streams of one connection.
struct OpenStreams {
    connections: Rc<Connections>,
    /// Requests whose answer has not ended.
    count: Cell<usize>,
    has_started: Cell<bool>,
    /// Between a request and the task that will serve it.
    latest: RefCell<Option<Rc<SentFrames>>>,
    /// The task of the connection, woken when the last stream has ended.
    connection: RefCell<Option<Waker>>,
}

/// The progress of an answer.
#[derive(Debug, Default)]
struct SentFrames {
    /// Frames that its body gave.
    frames: Cell<u64>,
    /// The last of them was not taken whole, or hyper would have asked for the next.
    waits_for_client: Cell<bool>,
}

impl SentFrames {
    /// hyper asks for the next frame once it has sent this one.
    fn note_frame(&self) {
        self.waits_for_client.set(true);
        self.frames.set(self.frames.get() + 1);
    }
}

/// A stream, counted as open until it is dropped with its answer's body.
struct Stream {
    open: Rc<OpenStreams>,
    sent: Rc<SentFrames>,
}

impl Stream {
    fn new(open: &Rc<OpenStreams>) -> Self {
        let sent = Rc::new(SentFrames::default());
        open.count.set(open.count.get() + 1);
        open.has_started.set(true);
        open.latest.replace(Some(Rc::clone(&sent)));
        Self {
            open: Rc::clone(open),
            sent,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.open.count.set(self.open.count.get() - 1);
        if self.open.count.get() == 0
            && let Some(connection) = &*self.open.connection.borrow()
        {
            connection.wake_by_ref();
        }
    }
}

/// Runs each stream in a local task.
#[derive(Clone)]
struct Streams(Rc<OpenStreams>);

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, future: F) {
        // hyper calls the service and then spawns the stream that it answers.
        let sent = self.0.latest.take().unwrap_or_default();
        tokio::task::spawn_local(StreamTask {
            inner: future,
            connections: Rc::clone(&self.0.connections),
            sent,
            frames: 0,
            client: Deadline::default(),
        });
    }
}

pin_project! {
    /// Dropping hyper's future resets the stream, which lets go of what answers it.
    struct StreamTask<F> {
        #[pin]
        inner: F,
        connections: Rc<Connections>,
        sent: Rc<SentFrames>,
        frames: u64,
        client: Deadline,
    }
}

impl<F: Future<Output = ()>> Future for StreamTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.inner.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let frames = this.sent.frames.get();
        if frames != *this.frames {
            *this.frames = frames;
            this.client.clear();
        }
        if !this.sent.waits_for_client.get() {
            this.client.clear();
            return Poll::Pending;
        }
        ready!(this.client.poll(cx, this.connections.limits.send_timeout));
        this.connections.metrics.stalled.inc();
        Poll::Ready(())
    }
}

struct CountedService<S> {
    inner: S,
    peer: SocketAddr,
    open: Rc<OpenStreams>,
}

impl<S, B> Service<Request<Incoming>> for CountedService<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    type Response = Response<ObservedBody<CheckedBody<B>, Stream>>;
    type Error = Infallible;
    type Future = ObservedFuture<CheckedFuture<S::Future>, Stream>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let stream = Stream::new(&self.open);
        let answered = match head::check(&request, &self.open.connections.limits.head) {
            Ok(()) => CheckedFuture::Called {
                inner: self.inner.call(request),
            },
            Err(refusal) => CheckedFuture::Rejected {
                answer: Some(self.reject(request, refusal)),
            },
        };
        ObservedFuture::new(answered, stream)
    }
}

impl<S> CountedService<S> {
    #[cold]
    fn reject(&self, request: Request<Incoming>, refusal: Refusal) -> Response<Bytes> {
        let id = RequestId::generate(fastrand::u128(..));
        refuse::note(refusal, self.peer, Some(&id), &self.open.connections);
        if !expects_continue(request.headers()) {
            linger(request.into_body());
        }
        let mut answer: Response<Bytes> = refusal.problem().request_id(id.as_str()).into_response();
        answer.headers_mut().insert(X_REQUEST_ID, id.header_value().clone());
        answer
    }
}

impl<B: Body> Observe<B> for Stream {
    fn on_pending(&mut self) {
        self.sent.waits_for_client.set(false);
    }

    fn on_frame(&mut self, _frame: &Frame<B::Data>, _is_last: bool) {
        self.sent.note_frame();
    }

    fn on_error(&mut self, _error: &B::Error) {
        self.sent.note_frame();
    }

    fn on_end(&mut self) {
        self.sent.note_frame();
    }
}
