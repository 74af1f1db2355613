//! One client connection.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use pin_project_lite::pin_project;
use tokio::net::TcpStream;
use tracing::debug;

use super::SmallWrites;
use super::accept::Connections;

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Serves one connection to its end.
pub(super) async fn serve<S, B>(stream: TcpStream, service: S, connections: Rc<Connections>)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + 'static,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // Answers are small and complete: waiting to fill a segment would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot set TCP_NODELAY");
    }
    let started = Rc::new(Cell::new(false));
    let tracked = Tracked {
        inner: service,
        started: Rc::clone(&started),
        connections: Rc::clone(&connections),
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(connections.limits.keepalive_timeout)
        .max_header_size(connections.limits.max_header_bytes)
        .max_buf_size(connections.limits.max_header_bytes)
        .serve_connection(SmallWrites(TokioIo::new(stream)), tracked);
    let mut connection = pin!(connection);
    let mut slot = WakerSlot::new(&connections);
    let mut told = false;
    let ended = poll_fn(|cx| {
        slot.register(cx);
        // hyper's `graceful_shutdown` ends an idle connection at once, so a connection that has not sent
        // its first request yet is told only after a grace time.
        let may_end = started.get() || connections.grace_over.get();
        if !told && connections.closing.get() && may_end {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    });
    if let Err(error) = ended.await {
        // The client went away, stalled or spoke no HTTP; nobody is left to answer.
        debug!(%error, "connection ended early");
    }
}

/// The service of one connection, noting its first request and ending the connection during a drain.
struct Tracked<S> {
    inner: S,
    started: Rc<Cell<bool>>,
    connections: Rc<Connections>,
}

impl<S, B> Service<Request<Incoming>> for Tracked<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = TrackedFuture<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.started.set(true);
        TrackedFuture {
            inner: self.inner.call(request),
            connections: Rc::clone(&self.connections),
        }
    }
}

pin_project! {
    struct TrackedFuture<F> {
        #[pin]
        inner: F,
        connections: Rc<Connections>,
    }
}

impl<F, B> Future for TrackedFuture<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Output = Result<Response<B>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(mut response) = ready!(this.inner.poll(cx));
        if this.connections.phase.is_draining() {
            response.headers_mut().insert(CONNECTION, CLOSE);
        }
        Poll::Ready(Ok(response))
    }
}

/// The place of a connection's waker among its worker's, for as long as the connection lives.
struct WakerSlot {
    slot: Option<usize>,
    connections: Rc<Connections>,
}

impl WakerSlot {
    fn new(connections: &Rc<Connections>) -> Self {
        Self {
            slot: None,
            connections: Rc::clone(connections),
        }
    }

    /// A task keeps one waker for its life, so the first poll's is enough.
    fn register(&mut self, cx: &Context<'_>) {
        if self.slot.is_none() {
            self.slot = Some(self.connections.wakers.borrow_mut().insert(cx.waker().clone()));
        }
    }
}

impl Drop for WakerSlot {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.connections.wakers.borrow_mut().remove(slot);
        }
    }
}
