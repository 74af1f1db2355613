//! Finds the route, or ends the request here.

use std::future::{Ready, ready};
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::future::Either;
use tower::{Layer, Service};

use super::exchange::{Answer, Exchange, Failure};
use crate::error::ProxyError;
use crate::proxy::Worker;
use crate::route::is_unsafe;

#[derive(Clone)]
pub(crate) struct RoutingLayer {
    worker: Rc<Worker>,
}

impl RoutingLayer {
    pub(crate) fn new(worker: Rc<Worker>) -> Self {
        Self { worker }
    }
}

impl<S> Layer<S> for RoutingLayer {
    type Service = Routing<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Routing {
            inner,
            worker: Rc::clone(&self.worker),
        }
    }
}

#[derive(Clone)]
pub(crate) struct Routing<S> {
    inner: S,
    worker: Rc<Worker>,
}

impl<S> Service<Exchange> for Routing<S>
where
    S: Service<Exchange, Response = Answer, Error = Failure>,
{
    type Response = Answer;
    type Error = Failure;
    type Future = Either<S::Future, Ready<Result<Answer, Failure>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut exchange: Exchange) -> Self::Future {
        let path = exchange.request.uri().path();
        let found = match is_unsafe(path) {
            true => Err(ProxyError::UnsafePath),
            false => self.worker.routes.find(path).ok_or(ProxyError::NoRoute),
        };
        match found {
            Ok(route) => {
                exchange.record.route = Some(route);
                Either::Left(self.inner.call(exchange))
            }
            Err(error) => Either::Right(ready(Err(Failure {
                error,
                record: exchange.record,
            }))),
        }
    }
}
