//! A bug in answering one request is that request's 500, not a connection that breaks.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Response, StatusCode};
use pin_project_lite::pin_project;
use shared::problem::Problem;
use tower::{Layer, Service};
use tracing::error;

#[derive(Debug, Clone, Copy)]
pub struct CatchPanicLayer;

impl<S> Layer<S> for CatchPanicLayer {
    type Service = CatchPanic<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CatchPanic { inner }
    }
}

#[derive(Debug, Clone)]
pub struct CatchPanic<S> {
    inner: S,
}

impl<S, R, C> Service<R> for CatchPanic<S>
where
    S: Service<R, Response = Response<C>>,
    C: From<Bytes>,
{
    type Response = Response<C>;
    type Error = S::Error;
    type Future = CatchPanicFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        CatchPanicFuture {
            inner: self.inner.call(request),
        }
    }
}

pin_project! {
    pub struct CatchPanicFuture<F> {
        #[pin]
        inner: F,
    }
}

impl<F, C, E> Future for CatchPanicFuture<F>
where
    F: Future<Output = Result<Response<C>, E>>,
    C: From<Bytes>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let inner = self.project().inner;
        // Nothing that the panic left half done is looked at again: the future is dropped after this.
        catch_unwind(AssertUnwindSafe(|| inner.poll(cx))).unwrap_or_else(|_panic| {
            // The panic hook has written what and where; its text may hold what a client must not see.
            error!("request handler panicked; responding 500");
            let problem = Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the server failed at this request");
            Poll::Ready(Ok(problem.into_response()))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::Request;
    use http_body_util::Full;
    use tower::{ServiceBuilder, ServiceExt, service_fn};

    use super::*;

    async fn poison(request: Request<&'static str>) -> Result<Response<Full<Bytes>>, Infallible> {
        assert_ne!(*request.body(), "poison");
        Ok(Response::default())
    }

    #[tokio::test]
    async fn a_panic_is_a_500_and_the_next_request_is_answered() {
        let service = ServiceBuilder::new().layer(CatchPanicLayer).service(service_fn(poison));
        let response = service
            .clone()
            .oneshot(Request::new("poison"))
            .await
            .expect("an answer");
        assert_eq!(response.status(), 500);
        let response = service.oneshot(Request::new("food")).await.expect("an answer");
        assert_eq!(response.status(), 200);
    }
}
