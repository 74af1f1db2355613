//! The linear models. Both are cheap, so they run where the request is and use one thread.
//!
//! Their signature is that of the files they stand for, in 32-bit floats; they take 64-bit ones too.

use crate::interface::{Cost, ModelRuntime, RuntimeError};
use crate::signature::{Dim, Signature, TensorSpec};
use crate::tensor::{Data, DataType, Element, Tensor};

/// TensorFlow Serving's example model: y = x / 2 + 2 for every number, whatever the shape.
#[derive(Debug)]
pub struct HalfPlusTwo {
    signature: Signature,
}

impl Default for HalfPlusTwo {
    fn default() -> Self {
        let signature = signature(&[Dim::Free(None), Dim::Fixed(1)], &[Dim::Free(None), Dim::Fixed(1)]);
        Self { signature }
    }
}

impl ModelRuntime for HalfPlusTwo {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn cost(&self) -> Cost {
        Cost::Inline
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
        let x = one(inputs)?;
        let y = match x.data() {
            Data::Fp32(values) => Data::Fp32(values.iter().map(|x| x * 0.5 + 2.0).collect()),
            Data::Fp64(values) => Data::Fp64(values.iter().map(|x| x * 0.5 + 2.0).collect()),
            _ => return Err(not_a_float(x)),
        };
        output(x.shape().to_vec(), y)
    }
}

/// The sum of a row's numbers.
#[derive(Debug)]
pub struct Sum {
    signature: Signature,
}

impl Default for Sum {
    fn default() -> Self {
        let signature = signature(&[Dim::Free(None), Dim::Free(None)], &[Dim::Free(None)]);
        Self { signature }
    }
}

impl ModelRuntime for Sum {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn cost(&self) -> Cost {
        Cost::Inline
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
        let x = one(inputs)?;
        let y = match x.data() {
            Data::Fp32(values) => sums(x, values),
            Data::Fp64(values) => sums(x, values),
            _ => return Err(not_a_float(x)),
        };
        output(x.shape().iter().take(1).copied().collect(), y)
    }
}

fn sums<T: Element + Copy + std::iter::Sum>(x: &Tensor, values: &[T]) -> Data {
    let length = x.row_length();
    let row = |row: usize| values[row * length..(row + 1) * length].iter().copied().sum();
    T::wrap((0..x.rows()).map(row).collect())
}

fn signature(x: &[Dim], y: &[Dim]) -> Signature {
    let spec = |name: &str, shape: &[Dim]| TensorSpec {
        also: vec![DataType::Fp64],
        any_shape: true,
        ..TensorSpec::new(name, DataType::Fp32, shape.to_vec())
    };
    Signature {
        inputs: vec![spec("x", x)],
        outputs: vec![spec("y", y)],
    }
}

fn one(inputs: &[Tensor]) -> Result<&Tensor, RuntimeError> {
    inputs.first().ok_or_else(|| RuntimeError::Refused {
        problem: "there is no input".to_owned(),
    })
}

fn not_a_float(x: &Tensor) -> RuntimeError {
    RuntimeError::Refused {
        problem: format!("x: expected FP32 or FP64, found {}", x.describe()),
    }
}

fn output(shape: Vec<usize>, data: Data) -> Result<Vec<Tensor>, RuntimeError> {
    let problem = |error: crate::tensor::TensorError| RuntimeError::Refused {
        problem: error.to_string(),
    };
    Ok(vec![Tensor::new(shape, data).map_err(problem)?])
}
