//! Errors of requests, and the one place that maps them to a status.

#[cfg(test)]
mod statuses;

use bytes::Bytes;
use http::StatusCode;
use http::header::{ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Response};
use serde_json::{Value, json};
use shared::problem::Problem;
use tracing::error;

use super::body::{ACCEPTED_CODINGS, BodyError};
use super::response::ResponseBody;
use crate::catalog::FindError;
use crate::engine::EngineError;
use crate::protocol::{InputError, mlflow, open_inference, tf_serving};
use crate::repository::CommandError;
use crate::route::Route;

#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error(
        "no such path here; there are /, /predict, /v1/models, /v2, /invocations, /ping, /version, /health, /livez, /readyz and /metrics"
    )]
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
    Mlflow(#[from] mlflow::Error),
    #[error(transparent)]
    Find(FindError),
    #[error(transparent)]
    Control(#[from] CommandError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("not ready: the model is still loading")]
    Loading,
    #[error("not ready: the model `{model}` was unloaded at the admin listener; load it there")]
    Unloaded { model: String },
    /// The model that MODEL_NAME names is not there, and nothing says that it soon will be.
    #[error("not ready: {0}")]
    NotServed(FindError),
    #[error("not ready: draining")]
    Draining,
}

/// Format of an error's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// As problem details for HTTP APIs, RFC 9457.
    Problem,
    /// As the model servers' protocols have it: `{"error": "…"}`.
    Protocol,
    /// As MLflow's servers have it: `{"error_code": "…", "message": "…"}`.
    Mlflow,
}

/// A model loads in milliseconds, and a queue moves on: the client that comes back after a second finds it so.
const RETRY_AFTER_SECONDS: u32 = 1;

impl RequestError {
    fn status(&self) -> StatusCode {
        match self {
            Self::UnknownPath | Self::UnknownAdminPath => StatusCode::NOT_FOUND,
            Self::AtAdminListener => StatusCode::FORBIDDEN,
            Self::Control(error) => match error {
                CommandError::NoModel { .. } | CommandError::NoDirectory { .. } => StatusCode::NOT_FOUND,
                CommandError::BuiltIn { .. } | CommandError::Refused { .. } => StatusCode::BAD_REQUEST,
                CommandError::Unreadable { .. }
                | CommandError::Busy { .. }
                | CommandError::TooManyUnloaded { .. }
                | CommandError::Late { .. }
                | CommandError::Gone => StatusCode::SERVICE_UNAVAILABLE,
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
            Self::Mlflow(mlflow::Error::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Mlflow(mlflow::Error::MediaType { .. }) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Mlflow(_) => StatusCode::BAD_REQUEST,
            Self::Body(BodyError::UnknownCoding) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Find(_) => StatusCode::NOT_FOUND,
            Self::Engine(EngineError::BadOutput | EngineError::Panicked | EngineError::Abandoned) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Self::Engine(EngineError::Busy { .. })
            | Self::Loading
            | Self::Unloaded { .. }
            | Self::NotServed(_)
            | Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub(super) fn into_response(self, dialect: Dialect) -> Response<ResponseBody> {
        if self.status() == StatusCode::INTERNAL_SERVER_ERROR {
            error!(error = %self, "request failed with an internal error");
        }
        let mut response = match dialect {
            Dialect::Problem => self.problem().into_response(),
            Dialect::Protocol => self.protocol_response(&json!({ "error": self.to_string() })),
            Dialect::Mlflow => {
                let (code, message) = (self.mlflow_code(), self.to_string());
                self.protocol_response(&json!({ "error_code": code, "message": message }))
            }
        };
        let headers = response.headers_mut();
        match self {
            Self::Body(BodyError::UnknownCoding) => {
                // RFC 9110, section 15.5.16.
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED_CODINGS));
            }
            Self::Body(BodyError::TooSlow { .. }) => {
                // The rest of the body may still come: this connection is good for nothing more.
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }

    /// One of MLflow's codes.
    fn mlflow_code(&self) -> &'static str {
        match self.status() {
            StatusCode::SERVICE_UNAVAILABLE => "TEMPORARILY_UNAVAILABLE",
            status if status.is_server_error() => "INTERNAL_ERROR",
            _ => "BAD_REQUEST",
        }
    }

    fn protocol_response(&self, error: &Value) -> Response<ResponseBody> {
        let body = format!("{error}\n");
        let mut response = Response::new(ResponseBody::from(Bytes::from(body)));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Self::WrongMethod { route, .. } = self {
            headers.insert(ALLOW, HeaderValue::from_static(route.methods()));
        }
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    pub(super) fn problem(&self) -> Problem {
        let mut problem = Problem::new(self.status(), self.to_string());
        if let Self::WrongMethod { route, .. } = self {
            problem = problem.allow(route.methods());
        }
        if let Some(field) = self.field() {
            problem = problem.field(field);
        }
        if let Some(limit) = self.limit() {
            problem = problem.limit(limit as u64);
        }
        if let Some(seconds) = self.retry_after_seconds() {
            problem = problem.retry_after_seconds(seconds);
        }
        problem
    }

    /// The member of the body that is at fault.
    fn field(&self) -> Option<&str> {
        match self {
            Self::Input(InputError::TooMany { field, .. } | InputError::Member { field, .. }) => Some(field),
            Self::Engine(EngineError::Input(mismatch)) => Some(mismatch.input()),
            _ => None,
        }
    }

    /// The number that was exceeded.
    fn limit(&self) -> Option<usize> {
        match self {
            Self::Body(BodyError::TooLarge { limit })
            | Self::Input(InputError::TooMany { limit, .. })
            | Self::Engine(EngineError::TooLarge { limit } | EngineError::Busy { limit })
            | Self::TfServing(tf_serving::Error::TooLarge { limit })
            | Self::OpenInference(open_inference::Error::TooLarge { limit, .. })
            | Self::Mlflow(mlflow::Error::TooLarge { limit })
            | Self::Control(CommandError::Busy { limit }) => Some(*limit),
            _ => None,
        }
    }

    fn retry_after_seconds(&self) -> Option<u32> {
        let passes = matches!(
            self,
            Self::Engine(EngineError::Busy { .. }) | Self::Control(CommandError::Busy { .. }) | Self::Loading
        );
        passes.then_some(RETRY_AFTER_SECONDS)
    }
}

/// Checks that the path exists and has the method.
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
