//! Refuses a body that announces itself as too large, before a byte of it is read. A body without a
//! length is counted while it streams, by [`crate::body::RequestBody`].

use std::future::{Ready, ready};
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::future::Either;
use http_body::Body;
use tower::{Layer, Service};

use super::exchange::{Answer, Exchange, Failure};
use crate::error::ProxyError;
use crate::proxy::Worker;

#[derive(Clone)]
pub(crate) struct BodyLimitLayer {
    worker: Rc<Worker>,
}

impl BodyLimitLayer {
    pub(crate) fn new(worker: Rc<Worker>) -> Self {
        Self { worker }
    }
}

impl<S> Layer<S> for BodyLimitLayer {
    type Service = BodyLimit<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BodyLimit {
            inner,
            worker: Rc::clone(&self.worker),
        }
    }
}

#[derive(Clone)]
pub(crate) struct BodyLimit<S> {
    inner: S,
    worker: Rc<Worker>,
}

impl<S> Service<Exchange> for BodyLimit<S>
where
    S: Service<Exchange, Response = Answer, Error = Failure>,
{
    type Response = Answer;
    type Error = Failure;
    type Future = Either<S::Future, Ready<Result<Answer, Failure>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, exchange: Exchange) -> Self::Future {
        let limit = self.worker.max_body_bytes;
        if exchange.request.body().size_hint().lower() <= limit {
            return Either::Left(self.inner.call(exchange));
        }
        Either::Right(ready(Err(Failure {
            error: ProxyError::BodyTooLarge(limit),
            record: exchange.record,
        })))
    }
}
