//! What can go wrong with a request, and the one place that gives it a status.

use http::StatusCode;
use http::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Method, Response};
use serde_json::json;
use shared::problem::Problem;
use tracing::error;

use super::answer::Answer;
use super::body::{ACCEPTED_CODINGS, BodyError};
use crate::catalog::FindError;
use crate::engine::EngineError;
use crate::protocol::{InputError, open_inference, tf_serving};
use crate::repository::ControlError;
use crate::route::Route;

#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("no such path here; there are /, /predict, /v1/models, /v2, /health, /livez, /readyz and /metrics")]
    UnknownPath,
    #[error("the admin listener has /livez, /readyz, /metrics, /status.json, and of /v2 all but infer")]
    UnknownAdminPath,
    #[error("models are loaded and unloaded at the admin listener (ADMIN_ADDRESS), not here")]
    AtAdminListener,
    #[error("{method} does not work on {}; use {}", .route.label(), .route.methods())]
    WrongMethod { method: Method, route: Route },
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    TfServing(#[from] tf_serving::Error),
    #[error(transparent)]
    OpenInference(#[from] open_inference::Error),
    #[error(transparent)]
    Find(FindError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("not ready: the model is still loading")]
    Loading,
    #[error("not ready: the model `{model}` was unloaded at the admin listener, and waits to be loaded there")]
    Unloaded { model: String },
    #[error("not ready: draining before the end")]
    Draining,
    #[error("the metrics could not be written")]
    Metrics(#[source] prometheus::Error),
}

/// How an error is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// As problem details for HTTP APIs, RFC 9457.
    Problem,
    /// As the model servers' protocols have it: `{"error": "…"}`.
    Protocol,
}

/// A model loads in milliseconds, and a queue moves on: the client that comes back after a second finds it so.
const RETRY_AFTER_SECONDS: u32 = 1;

impl RequestError {
    fn status(&self) -> StatusCode {
        match self {
            Self::UnknownPath | Self::UnknownAdminPath => StatusCode::NOT_FOUND,
            Self::AtAdminListener => StatusCode::FORBIDDEN,
            Self::Control(error) => match error {
                ControlError::NoModel { .. } | ControlError::NoDirectory { .. } => StatusCode::NOT_FOUND,
                ControlError::BuiltIn { .. } | ControlError::Refused { .. } => StatusCode::BAD_REQUEST,
                ControlError::Unreadable { .. }
                | ControlError::Busy { .. }
                | ControlError::TooManyUnloaded { .. }
                | ControlError::Late { .. }
                | ControlError::Gone => StatusCode::SERVICE_UNAVAILABLE,
            },
            Self::WrongMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Body(BodyError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(BodyError::TooSlow { .. }) => StatusCode::REQUEST_TIMEOUT,
            Self::Body(BodyError::Broken | BodyError::Coding { .. }) => StatusCode::BAD_REQUEST,
            Self::Body(BodyError::Refused(refusal)) => refusal.status(),
            Self::Input(InputError::TooMany { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Input(_) => StatusCode::BAD_REQUEST,
            Self::Engine(EngineError::Input(_) | EngineError::Runtime(_)) => StatusCode::BAD_REQUEST,
            Self::Engine(EngineError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TfServing(error) => match error {
                tf_serving::Error::NoServable { .. }
                | tf_serving::Error::NoVersions { .. }
                | tf_serving::Error::NoVersion { .. } => StatusCode::NOT_FOUND,
                tf_serving::Error::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                _ => StatusCode::BAD_REQUEST,
            },
            Self::OpenInference(open_inference::Error::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::OpenInference(_) => StatusCode::BAD_REQUEST,
            Self::Body(BodyError::UnknownCoding) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Find(_) => StatusCode::NOT_FOUND,
            Self::Engine(EngineError::BadOutput | EngineError::Panicked | EngineError::Abandoned)
            | Self::Metrics(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Engine(EngineError::Busy { .. }) | Self::Loading | Self::Unloaded { .. } | Self::Draining => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    pub(super) fn into_response(self, dialect: Dialect) -> Response<Answer> {
        if self.status() == StatusCode::INTERNAL_SERVER_ERROR {
            error!(error = %self, "a request could not be answered");
        }
        let is_coding = matches!(self, Self::Body(BodyError::UnknownCoding));
        let late = matches!(self, Self::Body(BodyError::TooSlow { .. }));
        let problem = self.into_problem();
        let short = (dialect == Dialect::Protocol).then(|| format!("{}\n", json!({ "error": problem.detail() })));
        let mut response = problem.into_response();
        if let Some(short) = short {
            *response.body_mut() = Answer::from(short);
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
        }
        if is_coding {
            // RFC 9110, section 15.5.16.
            let accepted = HeaderValue::from_static(ACCEPTED_CODINGS);
            response.headers_mut().insert(ACCEPT_ENCODING, accepted);
        }
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
            Self::Engine(EngineError::TooLarge { limit }) => problem.limit(limit as u64),
            Self::Engine(EngineError::Busy { limit }) => {
                problem.limit(limit as u64).retry_after_seconds(RETRY_AFTER_SECONDS)
            }
            Self::Loading => problem.retry_after_seconds(RETRY_AFTER_SECONDS),
            Self::TfServing(tf_serving::Error::TooLarge { limit })
            | Self::OpenInference(open_inference::Error::TooLarge { limit, .. }) => problem.limit(limit as u64),
            Self::Control(ControlError::Busy { limit }) => {
                problem.limit(limit as u64).retry_after_seconds(RETRY_AFTER_SECONDS)
            }
            Self::UnknownPath
            | Self::UnknownAdminPath
            | Self::AtAdminListener
            | Self::Control(_)
            | Self::Unloaded { .. }
            | Self::TfServing(_)
            | Self::OpenInference(_)
            | Self::Find(_)
            | Self::Body(_)
            | Self::Input(InputError::Document { .. })
            | Self::Engine(_)
            | Self::Draining
            | Self::Metrics(_) => problem,
        }
    }
}

/// Whether a path is one that is answered, with this method.
pub(super) fn check(route: Route, method: &Method) -> Result<(), RequestError> {
    if route == Route::Unknown {
        return Err(RequestError::UnknownPath);
    }
    if !route.allows(method) {
        let method = method.clone();
        return Err(RequestError::WrongMethod { method, route });
    }
    Ok(())
}
