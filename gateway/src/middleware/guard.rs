//! The shape of a layer that looks at a request and lets it pass or ends it.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::future::Either;
use shared::serve::{expects_continue, linger};
use tower::{Layer, Service};

use super::exchange::{Answer, Exchange};
use crate::error::ProxyError;

pub(crate) trait Check: Clone {
    fn check(&self, exchange: &Exchange) -> Result<(), ProxyError>;
}

/// Lets the client of a request that ends here come to read its answer: what it still sends is read for a while.
pub(crate) fn refuse_body(exchange: &mut Exchange) {
    if let Some(body) = exchange.body.take()
        && !expects_continue(&exchange.head.headers)
    {
        linger(body);
    }
}

/// Runs a [`Check`] before the service below.
#[derive(Clone)]
pub(crate) struct GuardLayer<C>(pub(crate) C);

impl<C: Check, S> Layer<S> for GuardLayer<C> {
    type Service = Guard<C, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Guard {
            check: self.0.clone(),
            inner,
        }
    }
}

#[derive(Clone)]
pub(crate) struct Guard<C, S> {
    check: C,
    inner: S,
}

impl<C, S> Service<Box<Exchange>> for Guard<C, S>
where
    C: Check,
    S: Service<Box<Exchange>, Response = Answer, Error = ProxyError>,
{
    type Response = Answer;
    type Error = ProxyError;
    type Future = Either<S::Future, Ready<Result<Answer, ProxyError>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut exchange: Box<Exchange>) -> Self::Future {
        match self.check.check(&exchange) {
            Ok(()) => Either::Left(self.inner.call(exchange)),
            Err(error) => {
                refuse_body(&mut exchange);
                Either::Right(ready(Err(error)))
            }
        }
    }
}
