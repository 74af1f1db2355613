//! Route → answer here, or forward to a cluster.

mod deadline;
mod forward;
mod headers;
mod max_forwards;
mod retry;
mod upgrade;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use tower::Service;

use crate::error::{METHODS, ProxyError};
use crate::exchange::{Answer, Exchange, RequestRecord, ResponseBody, refuse_body};
use crate::worker::WorkerTarget;

/// The innermost service.
#[derive(Clone)]
pub(crate) struct Proxy;

impl Service<Box<Exchange>> for Proxy {
    type Response = Answer;
    type Error = ProxyError;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, ProxyError>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, exchange: Box<Exchange>) -> Self::Future {
        let record = Rc::clone(&exchange.record);
        // The one boxed future of a request: forwarding is written as it reads, with awaits.
        Box::pin(async move { answer(&record, exchange).await })
    }
}

async fn answer(record: &RequestRecord, mut exchange: Box<Exchange>) -> Result<Answer, ProxyError> {
    let Some(route) = record.route_id() else {
        return own_options(exchange);
    };
    if record.is_preflight() {
        return preflight(record, exchange);
    }
    match record.worker.target(route) {
        WorkerTarget::Forward(forward, cluster) => forward::forward(cluster, forward, exchange).await,
        WorkerTarget::Respond(respond) => {
            if !matches!(exchange.head.method, Method::GET | Method::HEAD) {
                refuse_body(&mut exchange);
                return Err(ProxyError::MethodNotAllowed("GET, HEAD"));
            }
            let mut response = Response::new(ResponseBody::from(respond.body.clone()));
            *response.status_mut() = respond.status;
            response
                .headers_mut()
                .insert(CONTENT_TYPE, respond.content_type.clone());
            Ok(response)
        }
    }
}

/// The answer to a browser that asks whether it may send a request: its headers say what is permitted, and every answer of
/// such a route has those.
#[cold]
fn preflight(record: &RequestRecord, mut exchange: Box<Exchange>) -> Result<Answer, ProxyError> {
    refuse_body(&mut exchange);
    if record.cors().is_some_and(|(cors, request)| !cors.permits(request)) {
        return Err(ProxyError::OriginNotPermitted);
    }
    let mut response = Response::new(ResponseBody::from(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// The answer to `OPTIONS *`, which asks the gateway itself (RFC 9110 section 9.3.7). Every other request has a route here.
#[cold]
fn own_options(mut exchange: Box<Exchange>) -> Result<Answer, ProxyError> {
    refuse_body(&mut exchange);
    let mut response = Response::new(ResponseBody::from(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
    Ok(response)
}
