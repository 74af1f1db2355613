//! Errors of a request.

use super::super::json::scanner::{JsonKind, SyntaxError};
use super::super::json::tensor_reader::{ReadError, shorten};

/// What a body may be.
const MEDIA_TYPES: &str = "application/json and text/csv, in UTF-8, CSV with a header";

/// Error of a request, always the client's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("Content-Type: expected one of {}, found {found}", MEDIA_TYPES)]
    MediaType { found: String },
    #[error("broken JSON: {0}")]
    Json(#[from] SyntaxError),
    /// The body as a whole is at fault.
    #[error("{problem}")]
    Document { problem: String },
    /// One member is at fault: `dataframe_split.data[3][0]`.
    #[error("{field}: {problem}")]
    Member { field: String, problem: String },
    /// A line of CSV is at fault, counted from 1 with the header.
    #[error("line {line}: {problem}")]
    Line { line: usize, problem: String },
    #[error("the elements take more than the limit of {limit} bytes in memory")]
    TooLarge { limit: usize },
}

impl Error {
    pub(super) fn document(problem: impl Into<String>) -> Self {
        Self::Document {
            problem: problem.into(),
        }
    }

    pub(super) fn member(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Member {
            field: field.into(),
            problem: problem.into(),
        }
    }

    /// The error of reading the value of `field`.
    pub(super) fn of_reading(field: impl Into<String>, error: ReadError) -> Self {
        let problem = match error {
            ReadError::Syntax(error) => return Self::Json(error),
            ReadError::TooLarge { limit } => return Self::TooLarge { limit },
            ReadError::Type { value, kind, expected } => match (kind, expected.contains("INT")) {
                (JsonKind::Number, true) => unfit_whole_number(expected, &value),
                _ => format!("expected {expected}, found {value}"),
            },
            ReadError::Lossy { value, expected } => format!("{value} is too large for {expected}"),
            ReadError::EmptyList => "is empty; give at least one value".to_owned(),
            ReadError::Level { value, .. } => format!("expected a list as before, found {value}"),
            ReadError::ListLevel { .. } => "expected a value as before, found a list".to_owned(),
            ReadError::Length { found, expected, .. } => {
                format!("expected a list of {expected} as before, found one of {found}")
            }
            other => other.to_string(),
        };
        Self::member(field, problem)
    }
}

/// Why a number is none for a whole number of this type.
pub(super) fn unfit_whole_number(expected: &str, found: &str) -> String {
    format!("expected a whole number that is {expected}, found {}", shorten(found))
}
