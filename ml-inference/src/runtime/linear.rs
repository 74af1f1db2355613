//! The built-in models. Both are linear and cheap, so they run where the request is and use one thread.

use super::{ModelRuntime, RuntimeError};
use crate::tensor::Batch;

/// TensorFlow Serving's example model: y = x / 2 + 2 for every number, whatever the shape.
#[derive(Debug)]
pub struct HalfPlusTwo;

impl ModelRuntime for HalfPlusTwo {
    fn output_row(&self, input_row: &[usize]) -> Vec<usize> {
        input_row.to_vec()
    }

    fn run(&self, batch: Batch<'_>, output: &mut Vec<f64>) -> Result<(), RuntimeError> {
        // Half of a finite number plus two is finite.
        output.extend(batch.values().iter().map(|x| x * 0.5 + 2.0));
        Ok(())
    }
}

/// The sum of a row's numbers.
#[derive(Debug)]
pub struct Sum;

impl ModelRuntime for Sum {
    fn output_row(&self, _input_row: &[usize]) -> Vec<usize> {
        Vec::new()
    }

    fn run(&self, batch: Batch<'_>, output: &mut Vec<f64>) -> Result<(), RuntimeError> {
        for (row, numbers) in batch.rows().enumerate() {
            let sum: f64 = numbers.iter().sum();
            if !sum.is_finite() {
                return Err(RuntimeError::Overflow { row });
            }
            output.push(sum);
        }
        Ok(())
    }
}
