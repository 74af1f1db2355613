//! Route → answer here, or forward to a cluster.

mod deadline;
mod forward;
mod headers;
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
use crate::exchange::{Answer, Exchange, ResponseBody, refuse_body};
use crate::route::Target;
use crate::worker::Worker;

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
        let worker = Rc::clone(&exchange.record.worker);
        // The one boxed future of a request: forwarding is written as it reads, with awaits.
        Box::pin(async move { answer(&worker, exchange).await })
    }
}

async fn answer(worker: &Worker, mut exchange: Box<Exchange>) -> Result<Answer, ProxyError> {
    let route = worker
        .routes
        .get(exchange.record.route.get().ok_or(ProxyError::NoRoute)?);
    match &route.target {
        Target::Forward(forward) => forward::forward(worker, forward, exchange).await,
        Target::Respond {
            status,
            content_type,
            body,
        } => {
            if !matches!(exchange.head.method, Method::GET | Method::HEAD) {
                refuse_body(&mut exchange);
                return Err(ProxyError::MethodNotAllowed("GET, HEAD"));
            }
            let mut response = Response::new(ResponseBody::from(body.clone()));
            *response.status_mut() = *status;
            response.headers_mut().insert(CONTENT_TYPE, content_type.clone());
            Ok(response)
        }
    }
}
