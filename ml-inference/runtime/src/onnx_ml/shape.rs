//! Operators that only name the places of elements anew.

use super::node::{OpError, Operator, OperatorNode, input, one, optional, unsupported};
use crate::error::LoadError;
use crate::tensor::{Data, MAX_RANK, Tensor};

/// From this version on, what was an attribute is an input.
const AXES_ARE_AN_INPUT: i64 = 13;

/// A dimension by its number, which counts from the end when it is negative.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, OpError> {
    let rank_number = i64::try_from(rank).unwrap_or(i64::MAX);
    let counted = if axis < 0 { axis + rank_number } else { axis };
    match usize::try_from(counted) {
        Ok(index) if index < rank => Ok(index),
        _ => Err(OpError::Kind(format!("there is no dimension {axis} of {rank}"))),
    }
}

/// Whole numbers that say where: axes, indices, lengths.
pub(super) fn indices(x: &Tensor) -> Result<Vec<i64>, OpError> {
    match x.data() {
        Data::Int64(values) => Ok(values.clone()),
        Data::Int32(values) => Ok(values.iter().copied().map(i64::from).collect()),
        _ => Err(unsupported(x)),
    }
}

pub(super) fn shape(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let (start, end) = (node.int("start")?.unwrap_or(0), node.int("end")?);
    Ok(Box::new(move |inputs| {
        let shape = input(inputs, 0)?.shape();
        let rank = i64::try_from(shape.len()).unwrap_or(i64::MAX);
        let bound = |at: i64| usize::try_from(if at < 0 { at + rank } else { at }.clamp(0, rank)).unwrap_or(0);
        let (start, end) = (bound(start), bound(end.unwrap_or(rank)));
        let part = shape.get(start..end.max(start)).unwrap_or_default();
        let lengths = part
            .iter()
            .map(|length| i64::try_from(*length).unwrap_or(i64::MAX))
            .collect();
        one(Tensor::of(vec![part.len()], lengths))
    }))
}

pub(super) fn reshape(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let zero_is_zero = node.int("allowzero")?.unwrap_or(0) != 0;
    Ok(Box::new(move |inputs| {
        let x = input(inputs, 0)?;
        let wanted = indices(input(inputs, 1)?)?;
        let shape = resolve_shape(x, &wanted, zero_is_zero)?;
        one(x.clone().reshape(shape))
    }))
}

/// A zero keeps the length that is there, and -1 stands for what is left.
fn resolve_shape(x: &Tensor, wanted: &[i64], zero_is_zero: bool) -> Result<Vec<usize>, OpError> {
    let fault = || OpError::Kind(format!("{} does not go into the shape {wanted:?}", x.describe()));
    let mut shape = Vec::with_capacity(wanted.len());
    let mut left_out = None;
    for (index, length) in wanted.iter().enumerate() {
        shape.push(match length {
            -1 if left_out.replace(index).is_none() => 1,
            0 if !zero_is_zero => *x.shape().get(index).ok_or_else(fault)?,
            length => usize::try_from(*length).map_err(|_negative| fault())?,
        });
    }
    if let Some(index) = left_out {
        let known = shape
            .iter()
            .try_fold(1_usize, |product, length| product.checked_mul(*length));
        let known = known.filter(|known| *known > 0).ok_or_else(fault)?;
        shape[index] = x.data().len() / known;
    }
    Ok(shape)
}

pub(super) fn flatten(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let at = node.int("axis")?.unwrap_or(1);
    Ok(Box::new(move |inputs| {
        let x = input(inputs, 0)?;
        let rank = x.shape().len();
        // The axis may stand behind the last dimension.
        let at = if usize::try_from(at) == Ok(rank) {
            rank
        } else {
            axis(at, rank)?
        };
        let (outer, inner) = x.shape().split_at(at);
        one(x.clone().reshape(vec![outer.iter().product(), inner.iter().product()]))
    }))
}

/// The axes of Squeeze and Unsqueeze: an attribute in old files, an input in new ones.
fn axes(node: &OperatorNode<'_>) -> Result<Option<Vec<i64>>, LoadError> {
    if node.opset >= AXES_ARE_AN_INPUT || !node.has("axes") {
        return Ok(None);
    }
    node.ints("axes").map(Some)
}

pub(super) fn squeeze(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let fixed = axes(node)?;
    Ok(Box::new(move |inputs| {
        let x = input(inputs, 0)?;
        let given = match (&fixed, optional(inputs, 1)) {
            (Some(axes), _) => Some(axes.clone()),
            (None, Some(axes)) => Some(indices(axes)?),
            (None, None) => None,
        };
        let mut gone: Vec<bool> = x.shape().iter().map(|length| given.is_none() && *length == 1).collect();
        for number in given.unwrap_or_default() {
            let index = axis(number, x.shape().len())?;
            if x.shape()[index] != 1 {
                return Err(OpError::Kind(format!("dimension {index} of {} is not 1", x.describe())));
            }
            gone[index] = true;
        }
        let shape = x
            .shape()
            .iter()
            .zip(gone)
            .filter(|(_, gone)| !gone)
            .map(|(length, _)| *length);
        let shape = shape.collect();
        one(x.clone().reshape(shape))
    }))
}

pub(super) fn unsqueeze(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let fixed = axes(node)?;
    Ok(Box::new(move |inputs| {
        let x = input(inputs, 0)?;
        let axes = match &fixed {
            Some(axes) => axes.clone(),
            None => indices(input(inputs, 1)?)?,
        };
        let rank = x.shape().len() + axes.len();
        if rank > MAX_RANK {
            return Err(OpError::Kind(format!("{} gets too many dimensions", x.describe())));
        }
        let mut shape = vec![None; rank];
        for number in axes {
            if shape[axis(number, rank)?].replace(1).is_some() {
                return Err(OpError::Kind(format!("the dimension {number} is added twice")));
            }
        }
        let mut kept = x.shape().iter().copied();
        let shape = shape.into_iter().filter_map(|added| added.or_else(|| kept.next()));
        let shape = shape.collect();
        one(x.clone().reshape(shape))
    }))
}

#[cfg(test)]
mod tests {
    use super::super::test_node::{TestNode, tensor};
    use super::*;

    fn six() -> Tensor {
        tensor(&[2, 3], &[0_i64, 1, 2, 3, 4, 5])
    }

    #[test]
    fn dimensions_come_and_go() {
        let list = |values: &[i64]| tensor(&[values.len()], values);
        let column = TestNode::own("Unsqueeze").run(&[&six(), &list(&[0, -1])]);
        assert_eq!(column.shape(), [1, 2, 3, 1]);
        assert_eq!(TestNode::own("Squeeze").run(&[&column]), six());
        assert_eq!(
            TestNode::own("Squeeze").run(&[&column, &list(&[-1])]).shape(),
            [1, 2, 3]
        );
        assert_eq!(
            TestNode::own("Squeeze")
                .opset(11)
                .ints("axes", &[0])
                .run(&[&column])
                .shape(),
            [2, 3, 1]
        );
        assert_eq!(TestNode::own("Reshape").run(&[&six(), &list(&[-1, 2])]).shape(), [3, 2]);
        assert_eq!(
            TestNode::own("Reshape").run(&[&six(), &list(&[0, 1, -1])]).shape(),
            [2, 1, 3]
        );
        assert_eq!(TestNode::own("Flatten").run(&[&column]).shape(), [1, 6]);
        assert_eq!(TestNode::own("Shape").run(&[&six()]), list(&[2, 3]));
        let reshape = TestNode::own("Reshape").make().expect("is known");
        assert!(reshape(&[Some(&six()), Some(&list(&[-1, 4]))]).is_err());
        assert!(reshape(&[Some(&six()), Some(&list(&[-1, -1]))]).is_err());
    }
}
