//! ONNX models in general, run by rten.
//!
//! rten computes with 32-bit and smaller numbers. 64-bit integers and booleans become 32-bit integers on the way in, each of
//! them checked, and their own type again on the way out; a model that takes or gives 64-bit floats is refused, because they
//! would lose half of their digits without a word.

use ::rten::{Model, ModelOptions, NodeId, RunOptions, Value, ValueOrView, ValueView};
use rten_tensor::prelude::*;

use crate::error::LoadError;
use crate::interface::{Cost, ModelRuntime, RuntimeError};
use crate::signature::{Signature, TensorSpec};
use crate::tensor::{Data, DataType, Element, Tensor};
use crate::threads;

/// A loaded model.
pub(super) struct Rten {
    model: Model,
    signature: Signature,
    inputs: Vec<NodeId>,
    outputs: Vec<NodeId>,
}

impl std::fmt::Debug for Rten {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Rten")
            .field("signature", &self.signature)
            .finish_non_exhaustive()
    }
}

impl Rten {
    /// Opens a file whose inputs and outputs are those of `signature`. rten wants it for its own, and makes tensors of it by copying.
    pub(super) fn load(file: Vec<u8>, signature: Signature) -> Result<Self, LoadError> {
        for spec in signature.inputs.iter().chain(&signature.outputs) {
            if !is_supported(spec.data_type) {
                let problem = format!(
                    "`{}` is {}, which rten does not compute with",
                    spec.name, spec.data_type
                );
                return Err(LoadError::Graph(problem));
            }
        }
        let model = ModelOptions::with_all_ops().load(file);
        let model = model.map_err(|error| LoadError::Graph(error.to_string()))?;
        let nodes = |specs: &[TensorSpec]| {
            let nodes = specs.iter().map(|spec| model.node_id(&spec.name));
            let nodes: Result<Vec<NodeId>, _> = nodes.collect();
            nodes.map_err(|error| LoadError::Graph(error.to_string()))
        };
        let (inputs, outputs) = (nodes(&signature.inputs)?, nodes(&signature.outputs)?);
        Ok(Self {
            model,
            signature,
            inputs,
            outputs,
        })
    }
}

fn is_supported(data_type: DataType) -> bool {
    use DataType::{Bool, Fp32, Int8, Int32, Int64, Uint8};
    matches!(data_type, Bool | Uint8 | Int8 | Int32 | Int64 | Fp32)
}

impl ModelRuntime for Rten {
    fn name(&self) -> &'static str {
        "rten"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn cost(&self) -> Cost {
        Cost::Compute
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
        let named = self.inputs.iter().zip(&self.signature.inputs).zip(inputs);
        let mut values = Vec::with_capacity(inputs.len());
        for ((node, spec), input) in named {
            values.push((*node, value(&spec.name, input)?));
        }
        let options = RunOptions::default().with_thread_pool(threads::current());
        let outputs = self.model.run(values, &self.outputs, Some(options)).map_err(refused)?;
        let outputs = outputs.into_iter().zip(&self.signature.outputs);
        outputs.map(|(output, spec)| tensor(output, spec)).collect()
    }
}

fn refused(problem: impl ToString) -> RuntimeError {
    RuntimeError::Refused {
        problem: problem.to_string(),
    }
}

/// A tensor as rten takes it, without a copy where the type is one of its own.
fn value<'a>(name: &str, input: &'a Tensor) -> Result<ValueOrView<'a>, RuntimeError> {
    let shape = input.shape();
    match input.data() {
        Data::Fp32(values) => view(shape, values),
        Data::Int32(values) => view(shape, values),
        Data::Int8(values) => view(shape, values),
        Data::Uint8(values) => view(shape, values),
        Data::Bool(values) => owned(shape, values.iter().map(|value| i32::from(*value)).collect()),
        Data::Int64(values) => {
            let narrow = |(at, value): (usize, &i64)| {
                i32::try_from(*value).map_err(|_wide| {
                    refused(format!(
                        "{name}: element {at} is {value}, and the model is run with 32-bit integers"
                    ))
                })
            };
            let values: Result<Vec<i32>, RuntimeError> = values.iter().enumerate().map(narrow).collect();
            owned(shape, values?)
        }
        _ => Err(refused(format!("{name}: {} is not supported", input.data_type()))),
    }
}

fn view<'a, T>(shape: &[usize], values: &'a [T]) -> Result<ValueOrView<'a>, RuntimeError>
where
    ValueView<'a>: From<rten_tensor::TensorView<'a, T>>,
{
    let view = ValueView::from_shape(shape, values).map_err(refused)?;
    Ok(ValueOrView::View(view))
}

fn owned<'a>(shape: &[usize], values: Vec<i32>) -> Result<ValueOrView<'a>, RuntimeError> {
    let value = Value::from_shape(shape, values).map_err(refused)?;
    Ok(ValueOrView::Value(value))
}

/// Output of rten, in the type that the model declares.
fn tensor(output: Value, spec: &TensorSpec) -> Result<Tensor, RuntimeError> {
    match (output, spec.data_type) {
        (Value::FloatTensor(values), DataType::Fp32) => of(values),
        (Value::Int32Tensor(values), DataType::Int32) => of(values),
        (Value::Int8Tensor(values), DataType::Int8) => of(values),
        (Value::UInt8Tensor(values), DataType::Uint8) => of(values),
        (Value::Int32Tensor(values), DataType::Int64) => of(values.map(|value| i64::from(*value))),
        (Value::Int32Tensor(values), DataType::Bool) => of(values.map(|value| *value != 0)),
        (other, declared) => {
            let (name, found) = (&spec.name, other.dtype());
            Err(refused(format!("the output `{name}` is {found:?} and not {declared}")))
        }
    }
}

fn of<T: Element + Clone>(values: rten_tensor::Tensor<T>) -> Result<Tensor, RuntimeError> {
    let shape = values.shape().to_vec();
    Tensor::of(shape, values.into_data()).map_err(refused)
}
