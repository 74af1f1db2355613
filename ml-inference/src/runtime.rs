//! What does the arithmetic of a model.
//!
//! A runtime sees typed tensors in the order of its signature and gives tensors in the order of its signature.
//! Versions, batches, queues and protocols are the business of others.

mod linear;
mod mlp;
mod onnx_ml;
pub mod onnxruntime;
mod open;
mod rows;
mod rten;
mod signature;
mod threads;

use std::fmt::Debug;

pub use linear::{HalfPlusTwo, Sum};
pub use mlp::{INPUTS as MLP_INPUTS, Mlp};
pub use onnx_ml::{LoadError, OnnxMl};
pub use onnxruntime::{OnnxRuntime, OnnxRuntimeError, Parallelism};
pub use open::{RuntimeChoice, Runtimes};
pub use rows::stand_alone;
pub use signature::{Dim, Misfit, Signature, TensorSpec};
pub use threads::RunThreads;
pub(crate) use threads::start_shared as start_shared_threads;

use crate::tensor::Tensor;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// The inputs fit the signature, but the model cannot take these values or this combination of shapes.
    #[error("the model cannot take this input: {problem}")]
    Refused { problem: String },
}

/// Where a model may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// In some nanoseconds a number: the way to another thread would take longer than the model.
    Inline,
    /// On a compute thread, so that other requests of the worker do not wait for it.
    Compute,
}

pub trait ModelRuntime: Debug + Send + Sync {
    /// What clients are told runs the model; unless it says otherwise, it is part of the program.
    fn name(&self) -> &'static str {
        "ml-inference"
    }

    fn signature(&self) -> &Signature;

    fn cost(&self) -> Cost;

    /// Runs the model on inputs that fit the signature and are in its order.
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError>;
}
