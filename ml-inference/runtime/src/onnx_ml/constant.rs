//! Operators whose output is in the file, or is the input as it is.

use super::elementwise::allowed;
use super::gather::at;
use super::node::{OpError, Operator, OperatorNode, input};
use super::shape::indices;
use crate::error::LoadError;
use crate::tensor::{Tensor, TensorError};

pub(super) fn identity(_node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    Ok(Box::new(|inputs| Ok(vec![input(inputs, 0)?.clone()])))
}

pub(super) fn constant(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let scalar = |value: Result<Tensor, _>| value.map_err(|error: TensorError| node.fault(error.to_string()));
    let value = if let Some(value) = node.tensor("value")? {
        value
    } else if let Some(value) = node.int("value_int")? {
        scalar(Tensor::of(vec![], vec![value]))?
    } else if let Some(value) = node.float("value_float")? {
        scalar(Tensor::of(vec![], vec![value]))?
    } else if node.has("value_ints") {
        let values = node.ints("value_ints")?;
        scalar(Tensor::of(vec![values.len()], values))?
    } else if node.has("value_floats") {
        let values = node.floats("value_floats")?;
        scalar(Tensor::of(vec![values.len()], values))?
    } else {
        return Err(node.fault("a constant without a value"));
    };
    Ok(Box::new(move |_inputs| Ok(vec![value.clone()])))
}

pub(super) fn constant_of_shape(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let value = match node.tensor("value")? {
        Some(value) => value,
        None => Tensor::of(vec![1], vec![0.0_f32]).map_err(|error| node.fault(error.to_string()))?,
    };
    if value.data().len() != 1 {
        return Err(node.fault(format!("the value is {}, not one element", value.describe())));
    }
    Ok(Box::new(move |inputs| {
        let wanted = indices(input(inputs, 0)?)?;
        let lengths = wanted.iter().map(|length| usize::try_from(*length));
        let shape: Vec<usize> = lengths
            .collect::<Result<_, _>>()
            .map_err(|_negative| OpError::Value(format!("there is no shape {wanted:?}")))?;
        let count = allowed(&shape)?;
        at(&value, shape, std::iter::repeat_n(0, count))
    }))
}
