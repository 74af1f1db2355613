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

#[cfg(not(feature = "onnxruntime"))]
pub use absent::{OnnxRuntime, begin_without_telemetry};
#[cfg(feature = "onnxruntime")]
pub use library::{OnnxRuntime, begin_without_telemetry};

/// True if the program was built so that it can load the library.
pub const IS_BUILT_IN: bool = cfg!(feature = "onnxruntime");

/// Library to load where no path is given: beside the program, then where the system looks for libraries.
pub(crate) const DEFAULT_LIBRARY: &str = "libonnxruntime.so";
