//! The shape of a layer that looks at a request and lets it pass or ends it.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::future::Either;
use tower::{Layer, Service};

use crate::error::ProxyError;
use crate::exchange::{Answer, Exchange, refuse_body};

pub(crate) trait Check: Clone {
    fn check(&self, exchange: &Exchange) -> Result<(), ProxyError>;
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
