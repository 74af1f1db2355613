//! What can go wrong with a request, and the one place that gives it a status.

use http::StatusCode;
use http::header::CONNECTION;
use http::{HeaderValue, Method, Response};
use shared::problem::Problem;
use tracing::error;

use crate::engine::EngineError;
use crate::http::{Answer, BodyError, Route};
use crate::protocol::InputError;

#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("no such path here; there are /, /predict, /health, /livez, /readyz and /metrics")]
    UnknownPath,
    #[error("{method} does not work on {}; use {}", .route.label(), .route.methods())]
    WrongMethod { method: Method, route: Route },
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("not ready: the model is still loading")]
    Loading,
    #[error("not ready: draining before the end")]
    Draining,
    #[error("the metrics could not be written")]
    Metrics(#[source] prometheus::Error),
}

/// A model loads in milliseconds, and a queue moves on: the client that comes back after a second finds it so.
const RETRY_AFTER_SECONDS: u32 = 1;

impl RequestError {
    fn status(&self) -> StatusCode {
        match self {
            Self::UnknownPath => StatusCode::NOT_FOUND,
            Self::WrongMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Body(BodyError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(BodyError::TooSlow { .. }) => StatusCode::REQUEST_TIMEOUT,
            Self::Body(BodyError::Broken) => StatusCode::BAD_REQUEST,
            Self::Body(BodyError::Refused(refusal)) => refusal.status(),
            Self::Input(InputError::TooMany { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Input(_) => StatusCode::BAD_REQUEST,
            Self::Engine(EngineError::Input(_) | EngineError::Runtime(_)) => StatusCode::BAD_REQUEST,
            Self::Engine(EngineError::BadOutput | EngineError::Panicked | EngineError::Abandoned)
            | Self::Metrics(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Engine(EngineError::Busy { .. }) | Self::Loading | Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub fn into_response(self) -> Response<Answer> {
        if self.status() == StatusCode::INTERNAL_SERVER_ERROR {
            error!(error = %self, "a request could not be answered");
        }
        let late = matches!(self, Self::Body(BodyError::TooSlow { .. }));
        let mut response = self.into_problem().into_response();
        if late {
            // The rest of the body may still come: this connection is good for nothing more.
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn into_problem(self) -> Problem {
        let problem = Problem::new(self.status(), self.to_string());
        match self {
            Self::WrongMethod { route, .. } => problem.allow(route.methods()),
            Self::Body(BodyError::TooLarge { limit }) => problem.limit(limit as u64),
            Self::Input(InputError::TooMany { field, limit }) => problem.field(field).limit(limit as u64),
            Self::Input(InputError::Member { field, .. }) => problem.field(field),
            Self::Engine(EngineError::Input(misfit)) => problem.field(misfit.input()),
            Self::Engine(EngineError::Busy { limit }) => {
                problem.limit(limit as u64).retry_after_seconds(RETRY_AFTER_SECONDS)
            }
            Self::Loading => problem.retry_after_seconds(RETRY_AFTER_SECONDS),
            Self::UnknownPath
            | Self::Body(_)
            | Self::Input(InputError::Document { .. })
            | Self::Engine(_)
            | Self::Draining
            | Self::Metrics(_) => problem,
        }
    }
}
