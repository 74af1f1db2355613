//! What does the arithmetic of a model.
//!
//! A runtime sees rows of numbers and gives rows of numbers. Names, versions, batches and protocols are
//! the business of others.

mod linear;

use std::fmt::Debug;

pub use linear::{HalfPlusTwo, Sum};

use crate::tensor::Batch;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// JSON has no infinity, and an overflowed number helps nobody.
    #[error("the result for row {row} is too large for a 64-bit number")]
    Overflow { row: usize },
}

pub trait ModelRuntime: Debug + Send + Sync {
    /// The shape of one output row for an input row of this shape.
    fn output_row(&self, input_row: &[usize]) -> Vec<usize>;

    /// Appends the output rows of `batch` to `output`. A row in an error is counted inside the batch.
    fn run(&self, batch: Batch<'_>, output: &mut Vec<f64>) -> Result<(), RuntimeError>;
}
