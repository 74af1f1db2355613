//! What can go wrong with a request, and the one place that picks its status.

use std::time::Duration;

use http::{Response, StatusCode};
use shared::problem::Problem;

use super::body::{BodyError, ResponseBody};
use crate::embedding::EmbeddingError;
use crate::query::QueryError;

/// When a client may try again. A rollout or a burst is over by then.
const RETRY_AFTER_SECONDS: u32 = 1;

/// A request that has no answer but its reason.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("no such path; there are /query, /health, /livez, /readyz and /metrics")]
    UnknownPath,
    #[error("this path answers {0} only")]
    Method(&'static str),
    #[error("an API key is required: send it as X-API-Key or as Authorization: Bearer")]
    Key,
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("{}", _0.problem)]
    Query(#[from] QueryError),
    #[error("the texts have no vectors yet")]
    Starting,
    #[error("the service is shutting down")]
    Draining,
    #[error("too many queries at a time")]
    TooMany,
    #[error("the embedding model does not answer")]
    Unavailable,
    #[error("the embedding model did not answer within {} s", _0.as_secs_f64())]
    TooSlow(Duration),
    #[error("the embedding model gave no vector that fits the texts'")]
    Model,
}

impl RequestError {
    /// What a client hears of it; the log has the rest.
    pub(super) fn of(error: &EmbeddingError) -> Self {
        match error {
            EmbeddingError::TimedOut(limit) => Self::TooSlow(*limit),
            EmbeddingError::Unreachable { .. } => Self::Unavailable,
            EmbeddingError::Refused { status, .. } if status.is_server_error() || status.as_u16() == 429 => {
                Self::Unavailable
            }
            // Whoever asks a version that has gone is told 404: the service has to start again.
            EmbeddingError::Refused { .. } | EmbeddingError::Unsuitable { .. } | EmbeddingError::Malformed(_) => {
                Self::Model
            }
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::UnknownPath => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Key => StatusCode::UNAUTHORIZED,
            Self::Body(BodyError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(BodyError::TooSlow(_)) => StatusCode::REQUEST_TIMEOUT,
            Self::Body(BodyError::Broken) | Self::Query(_) => StatusCode::BAD_REQUEST,
            Self::Starting | Self::Draining | Self::TooMany | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooSlow(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Model => StatusCode::BAD_GATEWAY,
        }
    }

    pub(super) fn into_problem(self) -> Problem {
        let problem = Problem::new(self.status(), self.to_string());
        match self {
            Self::Method(methods) => problem.allow(methods),
            Self::Key => problem.challenge("Bearer"),
            Self::Body(BodyError::TooLarge { limit }) => problem.field("body").limit(limit as u64),
            Self::Query(QueryError { field, limit, .. }) => match limit {
                Some(limit) => problem.field(field).limit(limit),
                None => problem.field(field),
            },
            Self::Starting | Self::Draining | Self::TooMany | Self::Unavailable => {
                problem.retry_after_seconds(RETRY_AFTER_SECONDS)
            }
            _ => problem,
        }
    }

    pub(super) fn into_response(self) -> Response<ResponseBody> {
        self.into_problem().into_response()
    }
}
