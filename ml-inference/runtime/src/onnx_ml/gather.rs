//! Operators that move elements: each element of the output is one of the input's.

use super::elementwise::allowed;
use super::node::{OpError, Operator, OperatorNode, Outputs, input, one, optional, unsupported};
use super::shape::{axis, indices};
use crate::error::LoadError;
use crate::tensor::{Data, Element, Tensor};

/// From this version on, what was an attribute is an input.
const SLICE_HAS_INPUTS: i64 = 10;

/// The elements at `places`, whatever their type.
pub(super) fn at(x: &Tensor, shape: Vec<usize>, places: impl Iterator<Item = usize>) -> Outputs {
    allowed(&shape)?;
    fn collect<T: Element>(values: &[T], places: impl Iterator<Item = usize>) -> Data {
        T::wrap(places.map(|place| values[place].clone()).collect())
    }
    let data = match x.data() {
        Data::Bool(values) => collect(values, places),
        Data::Uint8(values) => collect(values, places),
        Data::Uint16(values) => collect(values, places),
        Data::Uint32(values) => collect(values, places),
        Data::Uint64(values) => collect(values, places),
        Data::Int8(values) => collect(values, places),
        Data::Int16(values) => collect(values, places),
        Data::Int32(values) => collect(values, places),
        Data::Int64(values) => collect(values, places),
        Data::Fp32(values) => collect(values, places),
        Data::Fp64(values) => collect(values, places),
        Data::Bytes(values) => collect(values, places),
    };
    one(Tensor::new(shape, data))
}

pub(super) fn concat(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let number = node.int("axis")?.unwrap_or(1);
    Ok(Box::new(move |inputs| {
        let first = input(inputs, 0)?;
        let at = axis(number, first.shape().len())?;
        let mut shape = first.shape().to_vec();
        let mut parts = vec![first];
        for index in 1..inputs.len() {
            let next = input(inputs, index)?;
            let alike = next.shape().len() == shape.len()
                && next.data_type() == first.data_type()
                && (0..shape.len()).all(|dim| dim == at || next.shape()[dim] == shape[dim]);
            if !alike {
                let (one, other) = (first.describe(), next.describe());
                return Err(OpError::Kind(format!(
                    "{one} and {other} are not put together along {at}"
                )));
            }
            shape[at] += next.shape()[at];
            parts.push(next);
        }
        let count = allowed(&shape)?;
        let outer: usize = shape[..at].iter().product();
        macro_rules! join {
            ($variant:ident) => {{
                let mut values = Vec::with_capacity(count);
                for block in 0..outer {
                    for part in &parts {
                        if let Data::$variant(part) = part.data() {
                            let step = part.len() / outer;
                            values.extend_from_slice(&part[block * step..(block + 1) * step]);
                        }
                    }
                }
                Data::$variant(values)
            }};
        }
        let data = match first.data() {
            Data::Bool(_) => join!(Bool),
            Data::Int32(_) => join!(Int32),
            Data::Int64(_) => join!(Int64),
            Data::Fp32(_) => join!(Fp32),
            Data::Fp64(_) => join!(Fp64),
            Data::Bytes(_) => join!(Bytes),
            _ => return Err(unsupported(first)),
        };
        one(Tensor::new(shape, data))
    }))
}

pub(super) fn gather(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let number = node.int("axis")?.unwrap_or(0);
    Ok(Box::new(move |inputs| {
        let (x, wanted) = (input(inputs, 0)?, input(inputs, 1)?);
        let at_axis = axis(number, x.shape().len())?;
        let (outer, rest) = x.shape().split_at(at_axis);
        let (length, inner) = (rest[0], &rest[1..]);
        let picked = pick(&indices(wanted)?, length)?;
        let shape = [outer, wanted.shape(), inner].concat();
        allowed(&shape)?;
        let (outer, inner): (usize, usize) = (outer.iter().product(), inner.iter().product());
        let places = (0..outer).flat_map(|block| {
            let picked = &picked;
            picked.iter().flat_map(move |index| {
                let first = (block * length + index) * inner;
                first..first + inner
            })
        });
        at(x, shape, places)
    }))
}

/// Indices into a dimension; negative ones count from its end.
fn pick(wanted: &[i64], length: usize) -> Result<Vec<usize>, OpError> {
    let end = i64::try_from(length).unwrap_or(i64::MAX);
    let picked = wanted.iter().map(|index| {
        let counted = if *index < 0 { index.saturating_add(end) } else { *index };
        let found = usize::try_from(counted).ok().filter(|index| *index < length);
        found.ok_or_else(|| OpError::Value(format!("there is no index {index} of {length}")))
    });
    picked.collect()
}

pub(super) fn transpose(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let order = node.ints("perm")?;
    Ok(Box::new(move |inputs| {
        let x = input(inputs, 0)?;
        let rank = x.shape().len();
        let order: Vec<usize> = if order.is_empty() {
            (0..rank).rev().collect()
        } else {
            order
                .iter()
                .map(|number| axis(*number, rank))
                .collect::<Result<_, _>>()?
        };
        let mut seen = order.clone();
        seen.sort_unstable();
        if !seen.into_iter().eq(0..rank) {
            return Err(OpError::Kind(format!("{order:?} is no order of {rank} dimensions")));
        }
        let steps = steps(x.shape());
        let shape: Vec<usize> = order.iter().map(|dim| x.shape()[*dim]).collect();
        let ranges: Vec<Range> = order
            .iter()
            .map(|dim| Range::whole(x.shape()[*dim], steps[*dim]))
            .collect();
        at(x, shape, walk(ranges))
    }))
}

/// How far apart neighbours along each dimension are.
fn steps(shape: &[usize]) -> Vec<usize> {
    let mut steps = vec![1; shape.len()];
    for dim in (1..shape.len()).rev() {
        steps[dim - 1] = steps[dim] * shape[dim];
    }
    steps
}

/// Places along one dimension.
struct Range {
    first: usize,
    step: isize,
    count: usize,
}

impl Range {
    fn whole(count: usize, step: usize) -> Self {
        Self {
            first: 0,
            step: step.cast_signed(),
            count,
        }
    }
}

/// The places that ranges along all dimensions name together, the last dimension fastest.
fn walk(ranges: Vec<Range>) -> impl Iterator<Item = usize> {
    let count: usize = ranges.iter().map(|range| range.count).product();
    (0..count).map(move |index| {
        let mut rest = index;
        let mut place = 0_usize;
        for range in ranges.iter().rev() {
            let along = (rest % range.count).cast_signed();
            rest /= range.count;
            place += range.first.wrapping_add_signed(along * range.step);
        }
        place
    })
}

pub(super) fn slice(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let fixed = if node.opset < SLICE_HAS_INPUTS {
        Some((node.ints("starts")?, node.ints("ends")?, node.ints("axes")?))
    } else {
        None
    };
    Ok(Box::new(move |inputs| {
        let x = input(inputs, 0)?;
        let list = |index: usize| optional(inputs, index).map(indices).transpose();
        let (starts, ends, axes, strides) = match &fixed {
            Some((starts, ends, axes)) => (starts.clone(), ends.clone(), Some(axes.clone()), None),
            None => (
                indices(input(inputs, 1)?)?,
                indices(input(inputs, 2)?)?,
                list(3)?,
                list(4)?,
            ),
        };
        let axes = match axes.filter(|axes| !axes.is_empty()) {
            Some(axes) => axes,
            None => (0..).take(starts.len()).collect(),
        };
        let strides = strides.unwrap_or_else(|| vec![1; starts.len()]);
        if [ends.len(), axes.len(), strides.len()] != [starts.len(); 3] {
            return Err(OpError::Kind(
                "starts, ends, axes and steps are not of one length".to_owned(),
            ));
        }
        let steps = steps(x.shape());
        let mut shape = x.shape().to_vec();
        let mut ranges: Vec<Range> = x
            .shape()
            .iter()
            .zip(&steps)
            .map(|(count, step)| Range::whole(*count, *step))
            .collect();
        for (index, number) in axes.iter().enumerate() {
            let dim = axis(*number, shape.len())?;
            let (first, count) = cut(x.shape()[dim], starts[index], ends[index], strides[index])?;
            let stride = isize::try_from(strides[index]).unwrap_or(isize::MAX);
            shape[dim] = count;
            ranges[dim] = Range {
                first: first * steps[dim],
                // A stride that leaves the dimension at once is never taken.
                step: stride.saturating_mul(steps[dim].cast_signed()),
                count,
            };
        }
        at(x, shape, walk(ranges))
    }))
}

/// First place and count of a dimension that is sliced like a Python list.
fn cut(length: usize, start: i64, end: i64, step: i64) -> Result<(usize, usize), OpError> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let counted = |at: i64| if at < 0 { at.saturating_add(length) } else { at };
    let (first, count) = match step {
        0 => return Err(OpError::Kind("a slice has a step of zero".to_owned())),
        1.. => {
            let (first, end) = (counted(start).clamp(0, length), counted(end).clamp(0, length));
            (first, (end - first).max(0).unsigned_abs().div_ceil(step.unsigned_abs()))
        }
        _ => {
            // Of nothing, nothing; else the first is one of its places, and the end may stand before all of them.
            let first = counted(start).clamp(0, (length - 1).max(0));
            let end = counted(end).clamp(-1, length - 1);
            let count = if length == 0 { 0 } else { (first - end).max(0) };
            (first, count.unsigned_abs().div_ceil(step.unsigned_abs()))
        }
    };
    Ok((usize::try_from(first).unwrap_or(0), usize::try_from(count).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::super::test_node::{TestNode, tensor};
    use super::*;

    fn six() -> Tensor {
        tensor(&[2, 3], &[0_i64, 1, 2, 3, 4, 5])
    }

    #[test]
    fn slices_are_cut_like_lists() {
        let slice = |start: &[i64], end: &[i64], axes: &[i64], steps: &[i64]| {
            let list = |values: &[i64]| tensor(&[values.len()], values);
            TestNode::own("Slice").run(&[&six(), &list(start), &list(end), &list(axes), &list(steps)])
        };
        assert_eq!(slice(&[1], &[i64::MAX], &[1], &[1]), tensor(&[2, 2], &[1_i64, 2, 4, 5]));
        assert_eq!(
            slice(&[-1], &[i64::MIN], &[1], &[-1]),
            tensor(&[2, 3], &[2_i64, 1, 0, 5, 4, 3])
        );
        assert_eq!(slice(&[0, 0], &[1, 3], &[0, 1], &[1, 2]), tensor(&[1, 2], &[0_i64, 2]));
        assert_eq!(slice(&[5], &[9], &[0], &[1]), tensor::<i64>(&[0, 3], &[]));
        assert_eq!(slice(&[-100], &[i64::MIN], &[1], &[-1]), tensor(&[2, 1], &[0_i64, 3]));
        assert_eq!(slice(&[0], &[2], &[1], &[i64::MAX]), tensor(&[2, 1], &[0_i64, 3]));
        let old = TestNode::own("Slice")
            .opset(9)
            .ints("starts", &[0])
            .ints("ends", &[1])
            .ints("axes", &[0]);
        assert_eq!(old.run(&[&six()]), tensor(&[1, 3], &[0_i64, 1, 2]));
    }

    #[test]
    fn elements_are_picked_turned_and_joined() {
        let list = |values: &[i64]| tensor(&[values.len()], values);
        assert_eq!(
            TestNode::own("Transpose").run(&[&six()]),
            tensor(&[3, 2], &[0_i64, 3, 1, 4, 2, 5])
        );
        let gather = TestNode::own("Gather").int("axis", 1);
        assert_eq!(
            gather.run(&[&six(), &list(&[-1, 0])]),
            tensor(&[2, 2], &[2_i64, 0, 5, 3])
        );
        assert_eq!(gather.run(&[&six(), &tensor(&[], &[1_i64])]), list(&[1, 4]));
        let out = gather.make().expect("is known")(&[Some(&six()), Some(&list(&[3]))]);
        assert!(matches!(out, Err(OpError::Value(_))));
        let concat = TestNode::own("Concat").int("axis", -1);
        assert_eq!(
            concat.run(&[&six(), &list(&[8, 9]).reshape(vec![2, 1]).expect("a column")]),
            tensor(&[2, 4], &[0_i64, 1, 2, 8, 3, 4, 5, 9])
        );
    }
}
