//! Failures of one request, and the one place that picks their status.

#[cfg(test)]
mod statuses;

use http::StatusCode;
use shared::cors;
use shared::problem::Problem;
use shared::serve::Refusal;

use crate::upstream::{BodyFault, ConnectError, UpstreamError};

/// The methods that the gateway forwards, as `Allow` lists them.
pub(crate) const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Reason why a request was not answered by an upstream.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("no route matches the path")]
    NoRoute,
    #[error("the path has a dot segment or an encoding that could hide one")]
    UnsafePath,
    #[error("the request has no host, more than one or an invalid one")]
    Host,
    #[error("CONNECT is not supported: this is a reverse proxy")]
    Tunnel,
    #[error("method not allowed; allowed are {0}")]
    MethodNotAllowed(&'static str),
    #[error("an API key is required")]
    ApiKeyMissing,
    #[error("the API key is wrong")]
    ApiKeyWrong,
    #[error("a preflight of an origin that the route does not permit")]
    OriginNotPermitted,
    #[error("the request body is over the limit of {0} bytes")]
    BodyTooLarge(u64),
    #[error("the request's trailers are over the limit of {0} bytes")]
    TrailersTooLarge(usize),
    #[error("the request body stalled")]
    RequestBodyTimeout,
    #[error("the request body broke off: {0}")]
    RequestBody(hyper::Error),
    #[error("{0} is no timeout")]
    TimeoutHeader(&'static str),
    #[error("the client's deadline passed")]
    DeadlineExceeded,
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("no answer from the upstream: {0}")]
    Upstream(UpstreamError),
    #[error("the upstream switched protocols unasked")]
    UnexpectedUpgrade,
    #[error("the upstream did not start to answer in time")]
    UpstreamTimeout,
}

impl From<BodyFault> for ProxyError {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::Broke(error) => Self::RequestBody(error),
            BodyFault::TooLarge(limit) => Self::BodyTooLarge(limit),
            BodyFault::TrailersTooLarge(limit) => Self::TrailersTooLarge(limit),
        }
    }
}

impl ProxyError {
    /// The problem as the client sees it, without addresses or other internals.
    pub fn problem(&self) -> Problem {
        match self {
            Self::NoRoute => Problem::new(StatusCode::NOT_FOUND, "no route matches this path"),
            Self::UnsafePath => Problem::new(
                StatusCode::BAD_REQUEST,
                "the path has a '.' or '..' segment, plain or encoded, an empty segment, a backslash, a NUL or a broken escape",
            )
            .field("path"),
            Self::Host => Problem::new(StatusCode::BAD_REQUEST, "a request has exactly one host, in `:authority`, in Host or alike in both: a name or an address, perhaps with a port").field("host"),
            Self::Tunnel => Problem::new(StatusCode::METHOD_NOT_ALLOWED, "CONNECT is not supported")
                .allow(METHODS),
            Self::MethodNotAllowed(allow) => Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("this path answers {allow} only"),
            )
            .allow(allow),
            Self::ApiKeyMissing => Problem::new(
                StatusCode::UNAUTHORIZED,
                "an API key is required: send it as X-API-Key or as Authorization: Bearer",
            )
            .challenge("Bearer"),
            Self::ApiKeyWrong => Problem::new(StatusCode::UNAUTHORIZED, "the API key is not valid").challenge("Bearer"),
            Self::OriginNotPermitted => cors::not_permitted(),
            Self::BodyTooLarge(limit) => Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the request body is over the limit of {limit} bytes"),
            )
            .field("body")
            .limit(*limit),
            Self::TrailersTooLarge(limit) => Problem::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                format!("the trailers are over the limit of {limit} bytes"),
            )
            .field("trailer")
            .limit(*limit as u64),
            Self::RequestBodyTimeout => {
                Problem::new(StatusCode::REQUEST_TIMEOUT, "the request body did not arrive in time").field("body")
            }
            Self::RequestBody(error) => match Refusal::of(error) {
                Some(refusal) => refusal.problem(),
                None => Problem::new(StatusCode::BAD_REQUEST, "the request body broke off").field("body"),
            },
            Self::TimeoutHeader(name) => Problem::new(
                StatusCode::BAD_REQUEST,
                format!("{name} is not a timeout in its form: x-request-timeout-ms is milliseconds from 1 to 99999999, grpc-timeout up to 8 digits and one of H M S m u n"),
            )
            .field(*name),
            Self::DeadlineExceeded => Problem::new(
                StatusCode::GATEWAY_TIMEOUT,
                "the deadline that came with the request passed before there was an answer",
            ),
            Self::Connect(ConnectError::QueueFull(limit)) => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("the upstream service is busy and {limit} requests wait already"),
            )
            .limit(*limit as u64)
            .retry_after_seconds(1),
            Self::Connect(ConnectError::Overloaded(wait)) => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the upstream service is busy: the request would not be answered before its deadline",
            )
            .retry_after_seconds(wait.as_secs_f64().ceil().clamp(1.0, 3600.0) as u32),
            Self::Connect(ConnectError::NoEndpointYet) => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "no endpoint of the upstream service is known yet",
            )
            .retry_after_seconds(1),
            Self::Connect(ConnectError::NoEndpointLeft) => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the upstream service has no endpoint at the moment",
            )
            .retry_after_seconds(1),
            Self::Connect(ConnectError::Unreachable) => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "no endpoint of the upstream service takes a connection at the moment",
            )
            .retry_after_seconds(1),
            Self::Connect(ConnectError::Io(_)) => Problem::new(StatusCode::BAD_GATEWAY, "cannot connect to the upstream service"),
            Self::Connect(ConnectError::Timeout) => Problem::new(
                StatusCode::GATEWAY_TIMEOUT,
                "connecting to the upstream service took too long",
            ),
            Self::Upstream(error) if error.is_no_http() => Problem::new(
                StatusCode::BAD_GATEWAY,
                "the upstream service's answer is not valid HTTP or its head is too large",
            ),
            Self::Upstream(error) if error.is_refusal() => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the upstream service takes no more requests at the moment",
            )
            .retry_after_seconds(1),
            Self::Upstream(_) => Problem::new(
                StatusCode::BAD_GATEWAY,
                "the upstream service closed the connection before it answered",
            ),
            Self::UnexpectedUpgrade => Problem::new(
                StatusCode::BAD_GATEWAY,
                "the upstream service switched protocols unasked",
            ),
            Self::UpstreamTimeout => Problem::new(
                StatusCode::GATEWAY_TIMEOUT,
                "the upstream service did not answer in time",
            ),
        }
    }
}
