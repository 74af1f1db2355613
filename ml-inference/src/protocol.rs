//! The languages clients speak. A protocol turns a body into validated tensors and tensors into a body;
//! it does not know how a model runs.

mod dense;
mod json;
pub mod lab;
pub mod open_inference;
mod scanner;
pub(crate) mod target;
pub mod tf_serving;
mod write;

use crate::runtime::TensorSpec;

/// Whether nothing is known of a tensor's shape, not even how many dimensions it has.
fn has_unknown_rank(spec: &TensorSpec) -> bool {
    spec.any_shape && spec.shape.is_empty()
}

/// What is wrong with a body, in words for whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// Not JSON, or not the kind of JSON that is asked for.
    #[error("{problem}")]
    Document { problem: String },
    /// One member is at fault: `instances[3]`.
    #[error("{field}: {problem}")]
    Member { field: String, problem: String },
    #[error("{field}: more than the limit of {limit} numbers")]
    TooMany { field: String, limit: usize },
}
