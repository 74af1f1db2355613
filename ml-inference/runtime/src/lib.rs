//! Models without a service around them: typed tensors, ONNX files, and the runtimes that do a model's arithmetic.
//!
//! A crate of its own inside ml-inference, so that the compiler keeps it free of HTTP, of tasks and of settings, and does not build
//! it again when those change.
//!
//! # Floors
//!
//! | Room | Owns | May import |
//! | --- | --- | --- |
//! | `open` | which runtime an ONNX file is for | everything below |
//! | `onnx_ml` | classical models: the operators of `ai.onnx.ml` and those around them | `graph_signature`, `interface`, `error`, `onnx`, `signature`, `tensor` |
//! | `onnxruntime` | models run by onnxruntime's shared library | `graph_signature`, `interface`, `error`, `threads`, `onnx`, `signature`, `tensor` |
//! | `rten` | models run by rten | `interface`, `error`, `threads`, `signature`, `tensor` |
//! | `linear`, `mlp` | the models that are part of the program | `interface`, `signature`, `tensor` |
//! | `rows` | whether a model's rows are independent | `interface`, `signature`, `tensor` |
//! | `graph_signature` | the signature that a graph declares | `error`, `onnx`, `signature` |
//! | `interface` | the trait that every runtime implements | `signature`, `tensor` |
//! | `error` | why a file is not loaded | `onnx` |
//! | `onnx` | ONNX files, read as views | `signature`, `tensor` |
//! | `signature` | what a model takes and gives | `tensor` |
//! | `tensor` | typed values with a shape | nothing |
//! | `threads` | the threads of one run | nothing |

mod error;
mod graph_signature;
mod interface;
mod linear;
mod mlp;
pub mod onnx;
mod onnx_ml;
pub mod onnxruntime;
mod open;
mod rows;
mod rten;
mod signature;
pub mod tensor;
mod threads;

pub use error::{LoadError, OnnxRuntimeError};
pub use interface::{Cost, ModelRuntime, RuntimeError};
pub use linear::{HalfPlusTwo, Sum};
pub use mlp::{INPUTS as MLP_INPUTS, Mlp};
pub use onnx_ml::OnnxMl;
pub use onnxruntime::OnnxRuntime;
pub use open::{RuntimeChoice, Runtimes};
pub use rows::probe_row_independence;
pub use signature::{Dim, InputMismatch, Signature, TensorSpec};
pub use threads::{Parallelism, RunThreads, start_shared as start_shared_threads};
