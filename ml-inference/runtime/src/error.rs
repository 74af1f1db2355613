//! Errors of loading a model, or the library that should run it.

use std::path::PathBuf;

use crate::onnx::OnnxError;

/// The cargo feature, for messages.
const FEATURE: &str = "onnxruntime";

/// Error of loading a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    File(#[from] OnnxError),
    #[error("the operator {operator} of node {node} is not supported")]
    Operator { node: String, operator: String },
    #[error("node {node}: {problem}")]
    Node { node: String, problem: String },
    #[error("{0}")]
    Graph(String),
    /// The requested runtime is not available.
    #[error(transparent)]
    Runtime(#[from] OnnxRuntimeError),
}

/// Error of loading onnxruntime.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OnnxRuntimeError {
    #[error("this program is built without onnxruntime; build it with the cargo feature `{FEATURE}`")]
    NotBuilt,
    #[error("no library is loaded")]
    NotLoaded,
    #[error("{} cannot be loaded as onnxruntime: {problem}", .path.display())]
    Library { path: PathBuf, problem: String },
    #[error("{} cannot be loaded: {} is, and a process loads onnxruntime once", .path.display(), .before.display())]
    Another { path: PathBuf, before: PathBuf },
}

impl OnnxRuntimeError {
    #[cfg(feature = "onnxruntime")]
    pub(crate) fn library(path: &std::path::Path, problem: impl ToString) -> Self {
        Self::Library {
            path: path.to_owned(),
            problem: problem.to_string(),
        }
    }
}
