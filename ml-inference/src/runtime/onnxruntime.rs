//! ONNX models in general, run by onnxruntime: a shared library that is loaded once, when the service starts.
//!
//! Only a program built with the cargo feature `onnxruntime` can load it (`library.rs`, `model.rs`, `values.rs`); any other has a
//! type in its place that there is no value of (`absent.rs`), so that nobody else needs to know the feature.

#[cfg(not(feature = "onnxruntime"))]
mod absent;
#[cfg(feature = "onnxruntime")]
mod library;
#[cfg(feature = "onnxruntime")]
mod model;
#[cfg(feature = "onnxruntime")]
mod values;

use std::path::PathBuf;

#[cfg(not(feature = "onnxruntime"))]
pub use absent::{OnnxRuntime, begin_without_telemetry};
#[cfg(feature = "onnxruntime")]
pub use library::{OnnxRuntime, begin_without_telemetry};

/// Whether the program was built so that it can load the library.
pub const IS_BUILT_IN: bool = cfg!(feature = "onnxruntime");

/// The cargo feature, for messages.
pub const FEATURE: &str = "onnxruntime";

/// What is looked for where no path is given: beside the program, then where the system looks for libraries.
pub(super) const DEFAULT_LIBRARY: &str = "libonnxruntime.so";

/// How many runs of one model there may be at the same time, and how many threads each of them has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parallelism {
    pub runs: usize,
    pub threads_per_run: usize,
}

/// Why there is no onnxruntime.
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
    fn library(path: &std::path::Path, problem: impl ToString) -> Self {
        Self::Library {
            path: path.to_owned(),
            problem: problem.to_string(),
        }
    }
}
