//! The Open Inference Protocol, version 2, over HTTP, with its extensions for binary tensors and for statistics.
//!
//! ```text
//! GET  /v2                                  the server
//! GET  /v2/health/live, /v2/health/ready    whether it lives, and takes requests
//! GET  /v2/models/M[/versions/V]            what the model takes and gives
//! GET  /v2/models/M[/versions/V]/ready      whether it can be asked
//! GET  /v2/models/M[/versions/V]/stats      how often it was asked and how long that took; /v2/models/stats: all of them
//! POST /v2/models/M[/versions/V]/infer      tensors in, tensors out
//! GET  /v2/models/M[/versions/V]/config     the same and which versions are wanted, as Triton's configuration has it
//! POST /v2/repository/index                 every version of every model, and where it stands
//! POST /v2/repository/models/M/load         at the admin listener: now, and answered when it is; also /unload
//! ```
//!
//! V is a number, or a label such as `stable`. A tensor is a list in the JSON, flat or nested as its shape says, or
//! follows the JSON as little-endian bytes. FP16 and BF16 are refused: no model here takes or gives them.

mod answer;
mod binary;
mod control;
mod describe;
mod path;
mod request;

pub use answer::{Answer, Signed, answer};
pub use control::{parse_index, parse_load, parse_unload};
pub use describe::{Counted, config, index, live, metadata, model_ready, ready, server, statistics};
pub(crate) use path::Call;
pub use request::{Question, Requested, parse_infer};

use super::dense::ReadError;
use super::scanner::SyntaxError;
use crate::runtime::Misfit;
use crate::tensor::DataType;

/// Tells how many of a body's first bytes are JSON; the rest are binary tensors.
pub const HEADER_LENGTH: &str = "inference-header-content-length";

/// What is wrong with a request. It is always the client's mistake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("broken JSON: {0}")]
    Json(#[from] SyntaxError),
    #[error("{HEADER_LENGTH}: expected the length of the JSON in a body of {body} bytes, found {found}")]
    HeaderLength { found: String, body: usize },
    /// One member is at fault: `inputs[x].data`.
    #[error("{field}: {problem}")]
    Member { field: String, problem: String },
    #[error("{field}: the elements take more than the limit of {limit} bytes in memory")]
    TooLarge { field: String, limit: usize },
    #[error(transparent)]
    Misfit(#[from] Misfit),
    #[error("the path's escapes are broken, or its version is too large")]
    Path,
}

impl Error {
    fn member(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Member {
            field: field.into(),
            problem: problem.into(),
        }
    }

    fn of_reading(field: String, error: ReadError) -> Self {
        match error {
            ReadError::Syntax(error) => Self::Json(error),
            ReadError::TooLarge { limit } => Self::TooLarge { field, limit },
            other => Self::member(field, other.to_string()),
        }
    }
}

/// The names of all types, for messages.
fn known_types() -> String {
    DataType::ALL.map(DataType::name).join(", ")
}
