//! One client connection: hyper over a validated socket, and what is left to do when hyper is through with it.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{Extensions, HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tracing::debug;

use super::connections::{Connections, WakerSlot};
use super::limits::ConnectionLimits;
use super::observed::{Observe, ObservedBody, ObservedFuture};
use super::small_writes::SmallWrites;
use super::takeover::Takeover;
use super::validating_io::{HyperIo, RequestProgress, ValidatingIo};
use super::{http2, linger, refuse};
use crate::request_id::RequestId;

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// hyper keeps this many headers on its stack; more cost it an allocation for each request.
const HYPERS_OWN_MAX_HEADERS: usize = 100;

/// Serves one connection to its end.
pub(super) async fn serve<S, B>(
    stream: TcpStream,
    peer: SocketAddr,
    service: S,
    takeover: Takeover,
    connections: Rc<Connections>,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + 'static,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // Answers are small and complete: waiting to fill a segment would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot set TCP_NODELAY");
    }
    let progress = Rc::new(RequestProgress::default());
    let io = ValidatingIo::new(stream, connections.limits, Rc::clone(&progress));
    let io = Rc::new(RefCell::new(io));
    let tracked = Tracked {
        inner: service,
        progress,
        connections: Rc::clone(&connections),
    };
    let mut ended = serve_http1(&io, &tracked, &connections).await;
    let mut last_words = None;
    if io.borrow().is_http2() {
        io.borrow_mut().open();
        match http2::serve(&io, peer, tracked.inner, &connections).await {
            http2::End::Closed(closed) => ended = closed,
            http2::End::Idle(goodbye) => last_words = Some(goodbye),
        }
    }
    let io = Rc::into_inner(io).expect("hyper has let go of its half").into_inner();
    // Taken out in any case: it may own the takeover, which would keep both alive.
    let successor = takeover.take();
    match (ended, successor) {
        (Ok(()), Some(successor)) if io.may_switch() => {
            let (stream, ahead) = io.into_parts();
            return successor(stream, ahead).await;
        }
        (Ok(()), _) => {}
        // The client went away or stalled; nobody is left to answer.
        (Err(error), _) => debug!(%error, "connection ended early"),
    }
    if let Some(last_words) = last_words {
        return Box::pin(async move { linger::close(io.into_stream(), &last_words).await }).await;
    }
    // Boxed, because few connections end with words of their own, and all would carry the room for it.
    Box::pin(end(io, peer, &connections)).await;
}

/// Lets hyper serve the connection until it ends, or until what comes next is a refusal or HTTP/2.
async fn serve_http1<S, B>(
    io: &Rc<RefCell<ValidatingIo>>,
    tracked: &Tracked<S>,
    connections: &Rc<Connections>,
) -> hyper::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + 'static,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let progress = Rc::clone(&tracked.progress);
    let connection =
        builder(&connections.limits).serve_connection(SmallWrites(TokioIo::new(HyperIo(Rc::clone(io)))), tracked);
    let mut connection = pin!(connection);
    let mut slot = WakerSlot::new(connections);
    let mut told = false;
    let mut resets = false;
    poll_fn(|cx| {
        slot.register(cx);
        // hyper's `graceful_shutdown` ends an idle connection at once, so a connection that has not sent
        // its first request yet is shut down only after a grace time.
        let may_end = progress.has_started.get() || connections.grace_over.get();
        // It is idle for hyper even when half of a head has come; that head is still waited for. And a 101 must not
        // say that the connection closes.
        if !told && connections.closing.get() && may_end && !io.borrow().is_in_head() && !io.borrow().may_switch() {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        let polled = connection.as_mut().poll(cx);
        let is_whole = matches!(polled, Poll::Ready(Ok(())));
        // Whatever closes the connection before its answer is whole, the client must not take it for the answer's end.
        if progress.ends_by_close.get() && resets == is_whole {
            resets = !is_whole;
            io.borrow().reset_on_close(resets);
        }
        match polled {
            // hyper would wait for a request that will not come.
            Poll::Pending => io.borrow_mut().poll_end(cx).map(Ok),
            ended => ended,
        }
    })
    .await
}

fn builder(limits: &ConnectionLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // What it would do is done below it, with an answer to the client.
        .header_read_timeout(None)
        .half_close(true)
        .max_header_size(limits.head.max_bytes)
        .max_buf_size(limits.head.max_bytes);
    if limits.head.max_headers > HYPERS_OWN_MAX_HEADERS {
        builder.max_headers(limits.head.max_headers);
    }
    builder
}

/// Ends a connection whose last request hyper has answered, or will not.
async fn end(io: ValidatingIo, peer: SocketAddr, connections: &Connections) {
    if io.has_stalled() {
        connections.metrics.stalled.inc();
        debug!(%peer, "cut a client that does not read its answer");
        return io.reset_on_close(true);
    }
    let mut last_words = Vec::new();
    if let Some(refusal) = io.refusal_to_answer() {
        let id = RequestId::generate(fastrand::u128(..));
        refuse::note(refusal, peer, Some(&id), connections);
        last_words = refuse::response(refusal, &id, io.refuses_head_request());
    } else if let Some(refusal) = io.refusal_of_body() {
        refuse::note(refusal, peer, None, connections);
    }
    if io.is_refused() {
        linger::close(io.into_stream(), &last_words).await;
    }
}

/// The service of one connection, noting how far its requests have come and ending it during a drain.
struct Tracked<S> {
    inner: S,
    progress: Rc<RequestProgress>,
    connections: Rc<Connections>,
}

impl<S, B> Service<Request<Incoming>> for Tracked<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body,
{
    type Response = Response<ObservedBody<B, Answering>>;
    type Error = Infallible;
    type Future = ObservedFuture<S::Future, Answering>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.progress.has_started.set(true);
        let is_http_10 = request.version() == Version::HTTP_10;
        let answered = self.inner.call(request);
        ObservedFuture::new(
            answered,
            Answering {
                progress: Rc::clone(&self.progress),
                connections: Rc::clone(&self.connections),
                is_http_10,
            },
        )
    }
}

/// hyper would write `<none>` for a status that it has no words for; the field may be empty (RFC 9112 section 4).
#[cold]
fn leave_reason_empty(extensions: &mut Extensions) {
    extensions.get_or_insert(ReasonPhrase::from_static(b""));
}

/// A request until it is answered, which it is when this is dropped: at the end of the answer's body, or before.
struct Answering {
    progress: Rc<RequestProgress>,
    connections: Rc<Connections>,
    is_http_10: bool,
}

impl Answering {
    /// True when the connection ends with this answer.
    fn is_last<B: Body>(&self, answer: &Response<B>) -> bool {
        let status = answer.status();
        self.progress.is_broken.get()
            || (self.connections.phase.is_draining() && status != StatusCode::SWITCHING_PROTOCOLS)
            // The rest of the body is discarded for a while only, and what comes after that is no request.
            || (status == StatusCode::PAYLOAD_TOO_LARGE && self.progress.is_in_body.get())
            // HTTP/1.0 knows no chunks: only the end of the connection ends such a body (RFC 9112 section 6.3).
            || self.progress.ends_by_close.get()
    }
}

fn has_length<B: Body>(answer: &Response<B>) -> bool {
    answer.body().size_hint().exact().is_some() || answer.headers().contains_key(CONTENT_LENGTH)
}

impl<B: Body> Observe<B> for Answering {
    fn on_head(&mut self, answer: &mut Response<B>, cx: &mut Context<'_>) {
        if self.progress.declines_upgrade(answer.status()) {
            // The bytes behind the request were read already: the socket will not wake this task for them.
            cx.waker().wake_by_ref();
        }
        if self.is_http_10 && !has_length(answer) {
            self.progress.ends_by_close.set(true);
        }
        if answer.status().canonical_reason().is_none() {
            leave_reason_empty(answer.extensions_mut());
        }
        if self.is_last(answer) {
            // Next to the option that names a header of this answer.
            match answer.status() {
                StatusCode::UPGRADE_REQUIRED => answer.headers_mut().append(CONNECTION, CLOSE),
                _ => answer.headers_mut().insert(CONNECTION, CLOSE).is_some(),
            };
            if self.is_http_10 {
                // To an answer of HTTP/1.1, hyper would add the `keep-alive` that the client asked for.
                *answer.version_mut() = Version::HTTP_10;
            }
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.progress.answered.set(self.progress.answered.get() + 1);
    }
}
