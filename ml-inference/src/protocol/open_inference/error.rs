//! Errors of a request.

use model_runtime::InputMismatch;

use super::super::json::scanner::SyntaxError;
use super::super::json::tensor_reader::ReadError;
use super::binary::HEADER_LENGTH;

/// Error of a request, always the client's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("broken JSON: {0}")]
    Json(#[from] SyntaxError),
    #[error("{HEADER_LENGTH}: expected the length of the JSON in a body of {body} bytes, found {found}")]
    HeaderLength { found: String, body: usize },
    #[error("{HEADER_LENGTH}: expected one length, found several")]
    SeveralHeaderLengths,
    /// One member is at fault: `inputs[x].data`.
    #[error("{field}: {problem}")]
    Member { field: String, problem: String },
    #[error("{field}: the elements take more than the limit of {limit} bytes in memory")]
    TooLarge { field: String, limit: usize },
    #[error(transparent)]
    InputMismatch(#[from] InputMismatch),
    #[error("the path's escapes are broken, or its version is too large")]
    Path,
}

impl Error {
    pub(super) fn member(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Member {
            field: field.into(),
            problem: problem.into(),
        }
    }

    pub(super) fn of_reading(field: String, error: ReadError) -> Self {
        match error {
            ReadError::Syntax(error) => Self::Json(error),
            ReadError::TooLarge { limit } => Self::TooLarge { field, limit },
            other => Self::member(field, other.to_string()),
        }
    }
}
