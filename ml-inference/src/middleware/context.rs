//! The request's id and the meaning of its path: found out once, for everything below. The id is on the response as
//! `X-Request-ID`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use shared::request_id::X_REQUEST_ID;
use tower::{Layer, Service};

use crate::http::ParsedRequest;

#[derive(Debug, Clone, Copy)]
pub struct ContextLayer;

impl<S> Layer<S> for ContextLayer {
    type Service = Contextual<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Contextual { inner }
    }
}

#[derive(Debug, Clone)]
pub struct Contextual<S> {
    inner: S,
}

impl<S, B, C> Service<Request<B>> for Contextual<S>
where
    S: Service<ParsedRequest<B>, Response = Response<C>>,
{
    type Response = Response<C>;
    type Error = S::Error;
    type Future = ContextFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let parsed = ParsedRequest::new(request);
        let id = parsed.id.header_value().clone();
        ContextFuture {
            inner: self.inner.call(parsed),
            id: Some(id),
        }
    }
}

pin_project! {
    pub struct ContextFuture<F> {
        #[pin]
        inner: F,
        id: Option<HeaderValue>,
    }
}

impl<F, C, E> Future for ContextFuture<F>
where
    F: Future<Output = Result<Response<C>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        if let Some(id) = this.id.take() {
            response.headers_mut().insert(X_REQUEST_ID, id);
        }
        Poll::Ready(Ok(response))
    }
}
