//! Turns a failure into its problem body.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tracing::warn;

use super::exchange::{Answer, Exchange, Record};
use super::grpc;
use crate::error::ProxyError;

#[derive(Clone)]
pub(crate) struct ErrorResponseLayer;

impl<S> Layer<S> for ErrorResponseLayer {
    type Service = ErrorResponse<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ErrorResponse { inner }
    }
}

#[derive(Clone)]
pub(crate) struct ErrorResponse<S> {
    inner: S,
}

impl<S> Service<Box<Exchange>> for ErrorResponse<S>
where
    S: Service<Box<Exchange>, Response = Answer, Error = ProxyError>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = ErrorResponseFuture<S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // No layer of this stack queues: each is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, exchange: Box<Exchange>) -> Self::Future {
        ErrorResponseFuture {
            record: Rc::clone(&exchange.record),
            inner: self.inner.call(exchange),
        }
    }
}

pin_project! {
    pub(crate) struct ErrorResponseFuture<F> {
        #[pin]
        inner: F,
        record: Rc<Record>,
    }
}

impl<F> Future for ErrorResponseFuture<F>
where
    F: Future<Output = Result<Answer, ProxyError>>,
{
    type Output = Result<Answer, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.inner.poll(cx)).unwrap_or_else(|error| answer(&error, this.record));
        Poll::Ready(Ok(answer))
    }
}

fn answer(error: &ProxyError, record: &Record) -> Answer {
    let problem = error.problem();
    if problem.status().is_server_error() {
        // The client is told what failed; the address and the cause are for whoever runs the gateway.
        warn!(request_id = %record.id, endpoint = record.endpoint.get().map(tracing::field::display), attempts = record.attempts.get(), %error, "upstream failed");
    }
    if record.is_grpc {
        record.failed.set(Some(problem.status()));
        return grpc::answer(error, problem);
    }
    problem.request_id(record.id.as_str()).into_response()
}
