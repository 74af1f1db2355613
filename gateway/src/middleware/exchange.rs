//! Makes an [`Exchange`] of a request, and signs its answer with the request id, and with what pages of other origins may do
//! with it: here, where also the gateway's own errors pass.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response, Uri, Version};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use shared::request_id::{RequestId, X_REQUEST_ID};
use tower::{Layer, Service};

use crate::exchange::{Exchange, Peer, RequestRecord, Sender};
use crate::grpc::is_grpc;
use crate::known_headers::KnownHeaders;
use crate::route::decode_unreserved;
use crate::worker::CurrentWorker;
use shared::config::Networks;

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
        let known = KnownHeaders::in_headers(request.headers());
        let own = known.request_id.then(|| request.headers().get(X_REQUEST_ID)).flatten();
        let id = own.and_then(RequestId::from_client);
        let id = id.unwrap_or_else(|| RequestId::generate(fastrand::u128(..)));
        // gRPC is a protocol of HTTP/2, whose trailers can tell how a call ended.
        let is_grpc = request.version() == Version::HTTP_2 && is_grpc(request.headers(), known);
        let worker = self.worker.get();
        let sender = (!worker.snapshot.live.trusted_proxies.is_empty())
            .then(|| sender(&self.peer, request.headers(), &worker.snapshot.live.trusted_proxies));
        let record = RequestRecord::new(worker, id, Rc::clone(&self.peer), sender, is_grpc);
        let (head, body) = request.into_parts();
        ExchangeFuture {
            record: Rc::clone(&record),
            inner: self.inner.call(Box::new(Exchange {
                head,
                body: Some(body),
                known,
                record,
            })),
        }
    }
}

#[cold]
fn sender(peer: &Peer, headers: &HeaderMap, trusted: &Networks) -> Box<Sender> {
    Box::new(Sender::of(peer, headers, trusted))
}

/// Puts the path into the one form that routes match and upstreams get.
fn normalize_path<B>(request: &mut Request<B>) {
    let uri = request.uri();
    let mut path = match decode_unreserved(uri.path()) {
        Some(path) => path,
        // A URL without a path is complete with `/`, whatever follows (RFC 9112 section 3.2.1).
        None if uri
            .path_and_query()
            .is_some_and(|target| target.as_str().starts_with('?')) =>
        {
            "/".to_owned()
        }
        None => return,
    };
    if let Some(query) = request.uri().query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(path).ok();
    // Decoding unreserved characters keeps a URI valid; if not, the request is routed by the path as received.
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

pin_project! {
    pub(crate) struct ExchangeFuture<F> {
        #[pin]
        inner: F,
        record: Rc<RequestRecord>,
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
        if let Some((cors, request)) = this.record.cors() {
            cors.write(request, response.headers_mut());
        }
        Poll::Ready(Ok(response))
    }
}
