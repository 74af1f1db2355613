//! A request in the stack: with its id, its client and the record of what happens to it.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version, request};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use shared::request_id::{RequestId, X_REQUEST_ID};
use shared::serve::Takeover;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::grpc::is_grpc;
use super::present::Present;
use crate::body::ResponseBody;
use crate::proxy::{CurrentWorker, Worker};
use crate::route::decode_unreserved;

/// The client's side of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// The address as X-Real-IP carries it, made once a connection.
    pub(crate) header: HeaderValue,
    /// Gets its connection, once it is to be another protocol's.
    pub(crate) takeover: Takeover,
}

impl Peer {
    pub(crate) fn new(peer: SocketAddr, takeover: Takeover) -> Rc<Self> {
        // An IPv4 client of a dual-stack listener is an IPv4 client.
        let address = peer.ip().to_canonical();
        let header = HeaderValue::from_str(&address.to_string()).expect("an IP address is a valid header value");
        Rc::new(Self {
            address,
            header,
            takeover,
        })
    }
}

/// Passed from layer to layer as a box: moving the request itself through each of them would cost more.
pub(crate) struct Exchange {
    pub(crate) head: request::Parts,
    /// Until it is read, sent on or refused.
    pub(crate) body: Option<Incoming>,
    pub(crate) present: Present,
    pub(crate) record: Rc<Record>,
}

/// What is known of a request from the start, and what becomes known on its way, for its log line and its metrics. It
/// is shared with the access log, which has to know it also when the client leaves before there is an answer.
pub(crate) struct Record {
    /// The settings as they were when it came: they hold for all of it.
    pub(crate) worker: Rc<Worker>,
    pub(crate) id: RequestId,
    pub(crate) peer: Rc<Peer>,
    pub(crate) is_grpc: bool,
    /// When the request's head was there.
    pub(crate) started: Instant,
    /// Index into the route table.
    pub(crate) route: Cell<Option<usize>>,
    pub(crate) endpoint: Cell<Option<SocketAddr>>,
    /// The status of an answer of the gateway's own that HTTP is told is a success, as gRPC wants it.
    pub(crate) failed: Cell<Option<StatusCode>>,
    /// Time spent on reading a body before the upstream was asked: the client's, not the gateway's.
    pub(crate) body_wait: Cell<Duration>,
    pub(crate) upstream_asked: Cell<Option<Instant>>,
    /// From the first attempt to reach the upstream to the head of its answer, or to giving up.
    pub(crate) upstream: Cell<Option<Duration>>,
    pub(crate) attempts: Cell<usize>,
}

impl Record {
    pub(crate) fn new(worker: Rc<Worker>, id: RequestId, peer: Rc<Peer>, is_grpc: bool) -> Rc<Self> {
        Rc::new(Self {
            worker,
            id,
            peer,
            is_grpc,
            failed: Cell::default(),
            started: Instant::now(),
            route: Cell::default(),
            endpoint: Cell::default(),
            body_wait: Cell::default(),
            upstream_asked: Cell::default(),
            upstream: Cell::default(),
            attempts: Cell::default(),
        })
    }

    pub(crate) fn ask_upstream(&self, now: Instant) {
        self.upstream_asked.set(Some(now));
    }

    pub(crate) fn upstream_answered(&self, now: Instant) {
        self.upstream.set(self.upstream_asked.get().map(|asked| now - asked));
    }

    /// The upstream's time; while it has not answered, the time so far.
    pub(crate) fn upstream_time(&self) -> Option<Duration> {
        self.upstream
            .get()
            .or_else(|| self.upstream_asked.get().map(|asked| asked.elapsed()))
    }
}

pub(crate) type Answer = Response<ResponseBody>;

#[derive(Clone)]
pub(crate) struct ExchangeLayer {
    worker: Rc<CurrentWorker>,
    peer: Rc<Peer>,
}

impl ExchangeLayer {
    pub(crate) fn new(worker: Rc<CurrentWorker>, peer: Rc<Peer>) -> Self {
        Self { worker, peer }
    }
}

impl<S> Layer<S> for ExchangeLayer {
    type Service = ExchangeService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ExchangeService {
            inner,
            worker: Rc::clone(&self.worker),
            peer: Rc::clone(&self.peer),
        }
    }
}

#[derive(Clone)]
pub(crate) struct ExchangeService<S> {
    inner: S,
    worker: Rc<CurrentWorker>,
    peer: Rc<Peer>,
}

impl<S, B> Service<Request<Incoming>> for ExchangeService<S>
where
    S: Service<Box<Exchange>, Response = Response<B>, Error = Infallible>,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = ExchangeFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        normalize_path(&mut request);
        let present = Present::in_headers(request.headers());
        let own = present
            .request_id
            .then(|| request.headers().get(X_REQUEST_ID))
            .flatten();
        let id = own.and_then(RequestId::from_client);
        let id = id.unwrap_or_else(|| RequestId::generate(fastrand::u128(..)));
        // gRPC is a protocol of HTTP/2, whose trailers can tell how a call ended.
        let is_grpc = request.version() == Version::HTTP_2 && is_grpc(request.headers(), present);
        let record = Record::new(self.worker.get(), id, Rc::clone(&self.peer), is_grpc);
        let (head, body) = request.into_parts();
        ExchangeFuture {
            record: Rc::clone(&record),
            inner: self.inner.call(Box::new(Exchange {
                head,
                body: Some(body),
                present,
                record,
            })),
        }
    }
}

/// Puts the path into the one form that routes match and upstreams get.
fn normalize_path<B>(request: &mut Request<B>) {
    let Some(mut path) = decode_unreserved(request.uri().path()) else {
        return;
    };
    if let Some(query) = request.uri().query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(path).ok();
    // A form that is no URI any more cannot come of this; were it so, the path as sent is judged.
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

pin_project! {
    pub(crate) struct ExchangeFuture<F> {
        #[pin]
        inner: F,
        record: Rc<Record>,
    }
}

impl<F, B> Future for ExchangeFuture<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Output = Result<Response<B>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(mut response) = ready!(this.inner.poll(cx));
        response
            .headers_mut()
            .insert(X_REQUEST_ID, this.record.id.header_value().clone());
        Poll::Ready(Ok(response))
    }
}
