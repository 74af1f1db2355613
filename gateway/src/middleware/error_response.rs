//! Turns a failure into its problem body; for gRPC's clients, which look for a status of their own kind, into that
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>). Clients of the model servers' protocols get the same
//! body as `application/json`: KServe's shows the text of `error` only then.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use pin_project_lite::pin_project;
use shared::grpc::{UNIMPLEMENTED, trailers_only};
use shared::problem::Problem;
use tower::{Layer, Service};
use tracing::warn;

use crate::error::ProxyError;
use crate::exchange::{Answer, Exchange, RequestRecord};
use crate::grpc::{DEADLINE_EXCEEDED, INTERNAL, PERMISSION_DENIED, UNAUTHENTICATED, UNAVAILABLE, UNKNOWN};

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
            is_model_protocol: is_model_protocol(exchange.head.uri.path()),
            inner: self.inner.call(exchange),
        }
    }
}

pin_project! {
    pub(crate) struct ErrorResponseFuture<F> {
        #[pin]
        inner: F,
        record: Rc<RequestRecord>,
        is_model_protocol: bool,
    }
}

impl<F> Future for ErrorResponseFuture<F>
where
    F: Future<Output = Result<Answer, ProxyError>>,
{
    type Output = Result<Answer, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer =
            ready!(this.inner.poll(cx)).unwrap_or_else(|error| answer(&error, this.record, *this.is_model_protocol));
        Poll::Ready(Ok(answer))
    }
}

/// Tells whether the path is one of TensorFlow Serving's REST API or of the Open Inference Protocol.
fn is_model_protocol(path: &str) -> bool {
    let below = path.strip_prefix("/v2").or_else(|| path.strip_prefix("/v1/models"));
    below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

#[cold]
fn answer(error: &ProxyError, record: &RequestRecord, is_model_protocol: bool) -> Answer {
    let problem = error.problem();
    if problem.status().is_server_error() {
        // The client is told what failed; the address and the cause are for whoever runs the gateway.
        warn!(request_id = %record.id, endpoint = record.endpoint.get().map(tracing::field::display), attempts = record.attempts.get(), %error, "upstream failed");
    }
    if record.is_grpc {
        record.failed.set(Some(problem.status()));
        return grpc_answer(error, problem);
    }
    let mut answer: Answer = problem.request_id(record.id.as_str()).into_response();
    if is_model_protocol {
        let json = HeaderValue::from_static("application/json");
        answer.headers_mut().insert(CONTENT_TYPE, json);
    }
    answer
}

/// The failure as an answer without a message, whose trailers are its headers.
fn grpc_answer(error: &ProxyError, problem: Problem) -> Answer {
    let status = problem.status();
    let mut answer: Answer = trailers_only(grpc_code(error, status), problem.detail());
    let explained: Response<bytes::Bytes> = problem.into_response();
    if let Some(after) = explained.headers().get(RETRY_AFTER) {
        answer.headers_mut().insert(RETRY_AFTER, after.clone());
    }
    answer
}

/// gRPC's status for an HTTP status, by
/// <https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>, where the gateway does not know better.
fn grpc_code(error: &ProxyError, status: StatusCode) -> u16 {
    match status {
        _ if matches!(error, ProxyError::DeadlineExceeded) => DEADLINE_EXCEEDED,
        StatusCode::BAD_REQUEST => INTERNAL,
        StatusCode::UNAUTHORIZED => UNAUTHENTICATED,
        StatusCode::FORBIDDEN => PERMISSION_DENIED,
        StatusCode::NOT_FOUND => UNIMPLEMENTED,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use shared::grpc::{GRPC_MESSAGE, GRPC_STATUS};

    use super::*;
    use crate::upstream::ConnectError;

    #[test]
    fn a_failure_has_the_code_that_its_http_status_means() {
        for (error, code) in [
            (ProxyError::NoRoute, "12"),
            (ProxyError::UnsafePath, "13"),
            (ProxyError::ApiKeyWrong, "16"),
            (ProxyError::BodyTooLarge(1), "2"),
            (ProxyError::Connect(ConnectError::NoEndpointLeft), "14"),
            (ProxyError::UpstreamTimeout, "14"),
            (ProxyError::DeadlineExceeded, "4"),
        ] {
            let answer = grpc_answer(&error, error.problem());
            assert_eq!(answer.status(), StatusCode::OK);
            assert_eq!(answer.headers()[GRPC_STATUS], code, "{error}");
            assert_eq!(answer.headers()[CONTENT_TYPE], "application/grpc");
            assert!(!answer.headers()[GRPC_MESSAGE].is_empty());
            let waits = matches!(error, ProxyError::Connect(ConnectError::NoEndpointLeft));
            assert_eq!(answer.headers().contains_key(RETRY_AFTER), waits);
        }
    }

    #[test]
    fn the_model_servers_protocols_are_known_by_their_paths() {
        for path in [
            "/v2",
            "/v2/",
            "/v2/models/m/infer",
            "/v1/models",
            "/v1/models/m:predict",
        ] {
            assert!(is_model_protocol(path), "{path}");
        }
        for path in ["/", "/v1", "/v1/", "/v1/modelsx", "/v22", "/predict", "/x/v2"] {
            assert!(!is_model_protocol(path), "{path}");
        }
    }
}
