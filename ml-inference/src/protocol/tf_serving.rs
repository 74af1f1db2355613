//! TensorFlow Serving's REST API, version 1.
//!
//! ```text
//! POST /v1/models/M[/versions/N|/labels/L]:predict            {"instances": [rows]} → {"predictions": [rows]}
//!                                                             {"inputs": columns}   → {"outputs": columns}
//! POST /v1/models/M[/versions/N|/labels/L]:classify|regress   {"examples": [{feature: value}]} → {"results": […]}
//! GET  /v1/models/M[/versions/N|/labels/L]                    where each version stands
//! GET  /v1/models/M[/versions/N|/labels/L]/metadata           what the model takes and gives
//! ```
//!
//! Statuses, bodies and messages are those of the original, which clients match on. Where it takes in silence what cannot be
//! meant, this refuses: a number out of its type's range, a member or an input that is given twice, an input that the model
//! does not have.

mod answer;
mod describe;
mod examples;
mod path;
mod predict;

pub use answer::{Task, predictions};
pub use describe::{metadata, status};
pub use examples::parse_examples;
pub(crate) use path::Call;
pub use path::Verb;
pub use predict::{Form, Question, parse_predict};

use super::dense::{ReadError, Reader, Room, Rules};
use super::scanner::{Kind, Scanner, SyntaxError};
use super::target::{Target, TargetError};
use crate::repository::{Choice, FindError};
use crate::tensor::DataType;

/// The one signature that every model has, and the one that is meant when none is named.
const SIGNATURE: &str = "serving_default";
const SIGNATURE_NAME: &str = "signature_name";

/// What is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("Malformed request: {method} {path}")]
    Malformed { method: String, path: String },
    #[error("Missing model name in request.")]
    NoModelName,
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
    fn argument(problem: impl Into<String>) -> Self {
        Self::Argument {
            problem: problem.into(),
        }
    }

    pub(crate) fn malformed(method: &str, path: &str) -> Self {
        Self::Malformed {
            method: method.to_owned(),
            path: super::dense::shorten(path),
        }
    }

    /// The same, told as the error of a part of the request.
    fn within(self, part: &str) -> Self {
        match self {
            Self::Argument { problem } => Self::argument(format!("{part} Error: {problem}")),
            other => other,
        }
    }

    /// Why a model cannot be asked.
    pub(crate) fn not_found(target: &Target, error: &FindError) -> Self {
        let model = &target.model;
        let request = match (error, target.choice()) {
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
    pub(crate) fn of_target(error: &TargetError, method: &str, path: &str, call: &Call<'_>) -> Self {
        match error {
            TargetError::Escape => Self::malformed(method, path),
            TargetError::Version => Self::VersionNumber {
                version: call.version_text().to_owned(),
            },
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

/// A type as messages name it.
fn type_name(data_type: DataType) -> &'static str {
    match data_type {
        DataType::Bool => "bool",
        DataType::Uint8 => "uint8",
        DataType::Uint16 => "uint16",
        DataType::Uint32 => "uint32",
        DataType::Uint64 => "uint64",
        DataType::Int8 => "int8",
        DataType::Int16 => "int16",
        DataType::Int32 => "int32",
        DataType::Int64 => "int64",
        DataType::Fp32 => "float",
        DataType::Fp64 => "double",
        DataType::Bytes => "string",
    }
}

const RULES: Rules = Rules {
    type_name,
    rounds_whole_numbers: false,
};

/// Begins to read a body, which has to be an object.
fn open(body: &bytes::Bytes, most_bytes: usize) -> Result<Reader<'_>, Error> {
    let mut reader = Reader::new(body, Scanner::of_bytes(body)?, RULES, Room::new(most_bytes));
    if reader.scanner.is_at_end() {
        return Err(Error::Empty);
    }
    if reader.scanner.peek()? != Kind::Object {
        let value = reader.shown()?;
        return Err(Error::argument(format!("JSON Value: {value} Is not object")));
    }
    Ok(reader)
}

/// Reads the name of a signature, which has to be the one there is.
fn check_signature_name(reader: &mut Reader<'_>) -> Result<(), Error> {
    if reader.scanner.peek()? != Kind::Text {
        let value = reader.shown()?;
        return Err(Error::argument(format!(
            "JSON Value: {value} not formatted correctly. '{SIGNATURE_NAME}' key must be a string value."
        )));
    }
    match reader.scanner.text()?.as_ref() {
        "" | SIGNATURE => Ok(()),
        other => {
            let name = super::dense::shorten(other);
            Err(Error::argument(format!(
                "Serving signature name: \"{name}\" not found in signature def"
            )))
        }
    }
}
