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

use http::header::CONTENT_TYPE;
use http::{Method, Response};
use tower::Service;

use crate::error::ProxyError;
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
    let route = record.route_id().ok_or(ProxyError::NoRoute)?;
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
