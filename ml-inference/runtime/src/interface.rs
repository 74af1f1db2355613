//! The interface between a model and what runs it.
//!
//! A runtime sees typed tensors in the order of its signature and gives tensors in the order of its signature.
//! Versions, batches, queues and protocols are the business of others.

use std::fmt::Debug;

use crate::signature::Signature;
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
    /// Name of the runtime for clients. The default stands for the program itself.
    fn name(&self) -> &'static str {
        "ml-inference"
    }

    fn signature(&self) -> &Signature;

    fn cost(&self) -> Cost;

    /// Runs the model on inputs that fit the signature and are in its order.
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError>;
}
