//! A panic while a request is handled becomes the answer 500 to that request, and its connection goes on.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Response, StatusCode};
use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tracing::error;

use crate::problem::Problem;

/// The layer of [`CatchPanic`], for requests of any type.
#[derive(Debug, Clone, Copy)]
pub struct CatchPanicLayer;

impl<S> Layer<S> for CatchPanicLayer {
    type Service = CatchPanic<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CatchPanic { inner }
    }
}

/// A service that catches the panics of `inner`. A panic while the answer's body is sent is not caught: the head has left.
#[derive(Debug, Clone)]
pub struct CatchPanic<S> {
    inner: S,
}

impl<S, R, B> Service<R> for CatchPanic<S>
where
    S: Service<R, Response = Response<B>>,
    B: From<Bytes>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = CatchPanicFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        // A service keeps nothing of a request in itself that another request could see half done.
        let called = catch_unwind(AssertUnwindSafe(|| self.inner.call(request)));
        CatchPanicFuture { inner: called.ok() }
    }
}

pin_project! {
    /// The answer of [`CatchPanic`].
    #[derive(Debug)]
    pub struct CatchPanicFuture<F> {
        // `None` when the call itself panicked.
        #[pin]
        inner: Option<F>,
    }
}

impl<F, B, E> Future for CatchPanicFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: From<Bytes>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(inner) = self.project().inner.as_pin_mut() else {
            return Poll::Ready(Ok(internal_error()));
        };
        // The future is dropped after a panic, so nothing half done is polled again.
        catch_unwind(AssertUnwindSafe(|| inner.poll(cx))).unwrap_or_else(|_panic| Poll::Ready(Ok(internal_error())))
    }
}

#[cold]
fn internal_error<B: From<Bytes>>() -> Response<B> {
    // The panic hook has logged the panic and its place, which a client must not see.
    error!("a request panicked and is answered 500");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the server failed at this request").into_response()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::Full;
    use tower::{ServiceBuilder, ServiceExt, service_fn};

    use super::*;

    /// Panics in the call for `early`, and while the answer is awaited for `late`.
    async fn answer(request: &'static str) -> StatusCode {
        let service = ServiceBuilder::new()
            .layer(CatchPanicLayer)
            .service(service_fn(|request: Box<&'static str>| {
                assert_ne!(*request, "early");
                async move {
                    assert_ne!(*request, "late");
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
                }
            }));
        service.oneshot(Box::new(request)).await.expect("an answer").status()
    }

    #[tokio::test]
    async fn a_panic_is_a_500_whenever_it_comes_and_other_requests_are_answered() {
        assert_eq!(answer("early").await, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer("late").await, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer("fine").await, StatusCode::OK);
    }
}
