//! Errors in the words of the original.

use super::super::json::scanner::SyntaxError;
use super::super::json::tensor_reader::{ReadError, shorten};
use super::super::model_ref::{ModelRef, ModelRefError};
use crate::catalog::{Choice, FindError};

/// Errors of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("Malformed request: {method} {path}")]
    Malformed { method: String, path: String },
    #[error("Failed to convert version: {version} to numeric.")]
    VersionNumber { version: String },
    #[error("Servable not found for request: {request}")]
    NoServable { request: String },
    #[error("Could not find any versions of model {model}")]
    NoVersions { model: String },
    #[error("Could not find version {version} of model {model}")]
    NoVersion { model: String, version: u64 },
    #[error("Unrecognized servable version label: {label}")]
    NoLabel { label: String },
    #[error("JSON Parse error: The document is empty")]
    Empty,
    #[error("JSON Parse error: {0}")]
    Json(#[from] SyntaxError),
    /// The body is JSON, but not what the model can be asked.
    #[error("{problem}")]
    Argument { problem: String },
    /// The elements would take more memory than a request may.
    #[error("the elements take more than the limit of {limit} bytes in memory")]
    TooLarge { limit: usize },
}

impl Error {
    pub(super) fn argument(problem: impl Into<String>) -> Self {
        Self::Argument {
            problem: problem.into(),
        }
    }

    pub(crate) fn malformed(method: &str, path: &str) -> Self {
        Self::Malformed {
            method: method.to_owned(),
            path: shorten(path),
        }
    }

    /// The same, told as the error of a part of the request.
    pub(super) fn within(self, part: &str) -> Self {
        match self {
            Self::Argument { problem } => Self::argument(format!("{part} Error: {problem}")),
            other => other,
        }
    }

    /// Why a model cannot be asked.
    pub(crate) fn not_found(model_ref: &ModelRef, error: &FindError) -> Self {
        let model = &model_ref.model;
        let request = match (error, model_ref.choice()) {
            (FindError::NoVersion { version, .. } | FindError::NotAvailable { version, .. }, _) => {
                format!("Specific({model}, {version})")
            }
            (_, Choice::Label(label)) => {
                let label = label.to_owned();
                return Self::NoLabel { label };
            }
            (_, Choice::Number(number)) => format!("Specific({model}, {number})"),
            (_, Choice::Latest) => format!("Latest({model})"),
        };
        Self::NoServable { request }
    }

    /// Why a path names no model.
    pub(crate) fn of_path(error: ModelRefError, method: &str, path: &str) -> Self {
        match error {
            ModelRefError::Escape => Self::malformed(method, path),
            ModelRefError::Version { text } => Self::VersionNumber { version: text },
        }
    }
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Syntax(error) => Self::Json(error),
            ReadError::TooLarge { limit } => Self::TooLarge { limit },
            other => Self::argument(other.to_string()),
        }
    }
}
