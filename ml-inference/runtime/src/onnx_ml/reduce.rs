//! Operators that make one number of many along dimensions: sums, extremes, the index of the largest, and softmax.

use super::elementwise::allowed;
use super::node::{OpError, Operator, OperatorNode, Outputs, input, one, optional, unsupported};
use super::shape::{axis, indices};
use crate::error::LoadError;
use crate::tensor::{Data, Element, Tensor};

/// From these versions on, the axes are an input.
const REDUCE_SUM_HAS_INPUT: i64 = 13;
const REDUCE_HAS_INPUT: i64 = 18;
/// From here on, softmax goes over one dimension instead of all from one on.
const SOFTMAX_OF_ONE_AXIS: i64 = 13;

/// A tensor seen as `outer × length × inner` around one dimension.
#[derive(Debug, Clone, Copy)]
struct Around {
    outer: usize,
    length: usize,
    inner: usize,
}

impl Around {
    fn new(shape: &[usize], axis: usize) -> Self {
        Self {
            outer: shape[..axis].iter().product(),
            length: shape[axis],
            inner: shape[axis + 1..].iter().product(),
        }
    }

    /// The first place of each line along the dimension; its others follow at distances of `inner`.
    fn lines(self) -> impl Iterator<Item = usize> {
        (0..self.outer)
            .flat_map(move |outer| (0..self.inner).map(move |inner| outer * self.length * self.inner + inner))
    }
}

pub(super) fn arg(operator: &str, node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let largest = operator == "ArgMax";
    let number = node.int("axis")?.unwrap_or(0);
    let keep = node.int("keepdims")?.unwrap_or(1) != 0;
    let last = node.int("select_last_index")?.unwrap_or(0) != 0;
    fn search<T: Copy + PartialOrd>(values: &[T], around: Around, largest: bool, last: bool) -> Vec<i64> {
        let line = |first: usize| {
            let value = |index: usize| values[first + index * around.inner];
            let mut best = 0;
            for index in 1..around.length {
                let (this, before) = (value(index), value(best));
                let better = if largest { this > before } else { this < before };
                if better || (last && this == before) {
                    best = index;
                }
            }
            i64::try_from(best).unwrap_or(i64::MAX)
        };
        around.lines().map(line).collect()
    }
    Ok(Box::new(move |inputs| {
        let x = input(inputs, 0)?;
        let at = axis(number, x.shape().len())?;
        let around = Around::new(x.shape(), at);
        if around.length == 0 {
            return Err(OpError::Kind(format!("{} has nothing to choose from", x.describe())));
        }
        let found = match x.data() {
            Data::Fp32(values) => search(values, around, largest, last),
            Data::Fp64(values) => search(values, around, largest, last),
            Data::Int64(values) => search(values, around, largest, last),
            Data::Int32(values) => search(values, around, largest, last),
            _ => return Err(unsupported(x)),
        };
        let mut shape = x.shape().to_vec();
        if keep {
            shape[at] = 1;
        } else {
            shape.remove(at);
        }
        one(Tensor::of(shape, found))
    }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reduction {
    L1,
    L2,
    LogSum,
    LogSumExp,
    Max,
    Mean,
    Min,
    Prod,
    Sum,
    SumSquare,
}

pub(super) fn reduce(operator: &str, node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let reduction = match operator {
        "ReduceL1" => Reduction::L1,
        "ReduceL2" => Reduction::L2,
        "ReduceLogSum" => Reduction::LogSum,
        "ReduceLogSumExp" => Reduction::LogSumExp,
        "ReduceMax" => Reduction::Max,
        "ReduceMean" => Reduction::Mean,
        "ReduceMin" => Reduction::Min,
        "ReduceProd" => Reduction::Prod,
        "ReduceSum" => Reduction::Sum,
        "ReduceSumSquare" => Reduction::SumSquare,
        _ => return Err(node.fault("is no reduction")),
    };
    let keep = node.int("keepdims")?.unwrap_or(1) != 0;
    let has_input = node.opset
        >= if reduction == Reduction::Sum {
            REDUCE_SUM_HAS_INPUT
        } else {
            REDUCE_HAS_INPUT
        };
    let (fixed, none_if_empty) = if has_input {
        (None, node.int("noop_with_empty_axes")?.unwrap_or(0) != 0)
    } else {
        (Some(node.ints("axes")?), false)
    };
    Ok(Box::new(move |inputs| {
        let x = input(inputs, 0)?;
        let given = match (&fixed, optional(inputs, 1)) {
            (Some(axes), _) => axes.clone(),
            (None, Some(axes)) => indices(axes)?,
            (None, None) => Vec::new(),
        };
        if given.is_empty() && none_if_empty {
            return Ok(vec![x.clone()]);
        }
        let rank = x.shape().len();
        let mut reduced = vec![given.is_empty(); rank];
        for number in given {
            reduced[axis(number, rank)?] = true;
        }
        match x.data() {
            Data::Fp32(values) => reduce_floats(x, values, &reduced, keep, reduction),
            Data::Fp64(values) => reduce_floats(x, values, &reduced, keep, reduction),
            Data::Int64(values) => reduce_ints(x, values, &reduced, keep, reduction),
            _ => Err(unsupported(x)),
        }
    }))
}

/// The shape without the reduced dimensions, and for every element of `x` its place in the result.
fn result_places(x: &Tensor, reduced: &[bool], keep: bool) -> (Vec<usize>, usize, impl Iterator<Item = usize> + use<>) {
    let kept: Vec<usize> = x
        .shape()
        .iter()
        .zip(reduced)
        .map(|(length, reduced)| if *reduced { 1 } else { *length })
        .collect();
    let count = kept.iter().product();
    let places = super::elementwise::places(&kept, x.shape());
    let shape = match keep {
        true => kept,
        false => {
            let dims = x.shape().iter().zip(reduced).filter(|(_, reduced)| !**reduced);
            dims.map(|(length, _)| *length).collect()
        }
    };
    (shape, count, places)
}

/// Operations of a float that reductions need.
trait Float: Element + Copy + PartialOrd + std::ops::Add<Output = Self> + std::ops::Mul<Output = Self> {
    const LEAST: Self;
    const MOST: Self;
    const ONE: Self;
    fn absolute(self) -> Self;
    fn root(self) -> Self;
    fn shared_by(self, count: usize) -> Self;
    fn ln(self) -> Self;
    /// e to how much this is more than `other`.
    fn exp_above(self, other: Self) -> Self;
    /// True for a number, false for NaN.
    fn is_ordered(&self) -> bool;

    /// Itself, or zero when it has no end.
    fn or_zero(self) -> Self;
}

macro_rules! float {
    ($type:ty) => {
        impl Float for $type {
            const LEAST: Self = Self::NEG_INFINITY;
            const MOST: Self = Self::INFINITY;
            const ONE: Self = 1.0;

            fn absolute(self) -> Self {
                self.abs()
            }

            fn root(self) -> Self {
                self.sqrt()
            }

            fn shared_by(self, count: usize) -> Self {
                self / count as $type
            }

            fn ln(self) -> Self {
                <$type>::ln(self)
            }

            fn exp_above(self, other: Self) -> Self {
                (self - other).exp()
            }

            fn is_ordered(&self) -> bool {
                !self.is_nan()
            }

            fn or_zero(self) -> Self {
                if self.is_infinite() { 0.0 } else { self }
            }
        }
    };
}
float!(f32);
float!(f64);

fn reduce_floats<T: Float>(x: &Tensor, values: &[T], reduced: &[bool], keep: bool, reduction: Reduction) -> Outputs {
    let (shape, count, places) = result_places(x, reduced, keep);
    allowed(&shape)?;
    if reduction == Reduction::LogSumExp {
        let places: Vec<usize> = places.collect();
        return one(Tensor::of(shape, log_sum_exp(values, &places, count)));
    }
    let start = match reduction {
        Reduction::Max => T::LEAST,
        Reduction::Min => T::MOST,
        Reduction::Prod => T::ONE,
        _ => T::default(),
    };
    let mut results = vec![start; count];
    for (value, place) in values.iter().zip(places) {
        let so_far = results[place];
        results[place] = match reduction {
            Reduction::L1 => so_far + value.absolute(),
            Reduction::L2 | Reduction::SumSquare => so_far + *value * *value,
            // What is no number stays.
            Reduction::Max if *value > so_far || !value.is_ordered() => *value,
            Reduction::Min if *value < so_far || !value.is_ordered() => *value,
            Reduction::Max | Reduction::Min => so_far,
            Reduction::Prod => so_far * *value,
            Reduction::LogSum | Reduction::LogSumExp | Reduction::Mean | Reduction::Sum => so_far + *value,
        };
    }
    match reduction {
        Reduction::L2 => results.iter_mut().for_each(|result| *result = result.root()),
        Reduction::LogSum => results.iter_mut().for_each(|result| *result = result.ln()),
        Reduction::Mean => {
            let shared = values.len() / count.max(1);
            results.iter_mut().for_each(|result| *result = result.shared_by(shared));
        }
        _ => {}
    }
    one(Tensor::of(shape, results))
}

/// The largest of each sum is taken out of it first, so that none overflows.
fn log_sum_exp<T: Float>(values: &[T], places: &[usize], count: usize) -> Vec<T> {
    let mut largest = vec![T::LEAST; count];
    for (value, place) in values.iter().zip(places) {
        if *value > largest[*place] {
            largest[*place] = *value;
        }
    }
    let taken_out: Vec<T> = largest.into_iter().map(T::or_zero).collect();
    let mut sums = vec![T::default(); count];
    for (value, place) in values.iter().zip(places) {
        sums[*place] = sums[*place] + value.exp_above(taken_out[*place]);
    }
    sums.into_iter()
        .zip(taken_out)
        .map(|(sum, taken_out)| sum.ln() + taken_out)
        .collect()
}

fn reduce_ints(x: &Tensor, values: &[i64], reduced: &[bool], keep: bool, reduction: Reduction) -> Outputs {
    let (start, join): (i64, fn(i64, i64) -> i64) = match reduction {
        Reduction::Sum => (0, i64::wrapping_add),
        Reduction::Prod => (1, i64::wrapping_mul),
        Reduction::Max => (i64::MIN, i64::max),
        Reduction::Min => (i64::MAX, i64::min),
        _ => return Err(unsupported(x)),
    };
    let (shape, count, places) = result_places(x, reduced, keep);
    allowed(&shape)?;
    let mut results = vec![start; count];
    for (value, place) in values.iter().zip(places) {
        results[place] = join(results[place], *value);
    }
    one(Tensor::of(shape, results))
}

pub(super) fn softmax(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let one_axis = node.opset >= SOFTMAX_OF_ONE_AXIS;
    let number = node.int("axis")?.unwrap_or(if one_axis { -1 } else { 1 });
    Ok(Box::new(move |inputs| {
        let x = input(inputs, 0)?;
        let at = axis(number, x.shape().len())?;
        let mut around = Around::new(x.shape(), at);
        if !one_axis {
            around.length *= around.inner;
            around.inner = 1;
        }
        macro_rules! run {
            ($values:expr, $type:ty) => {{
                let mut values = $values.clone();
                for first in around.lines() {
                    let places = (0..around.length).map(|index| first + index * around.inner);
                    let most = places
                        .clone()
                        .map(|place| values[place])
                        .fold(<$type>::NEG_INFINITY, <$type>::max);
                    let mut sum = 0.0;
                    for place in places.clone() {
                        values[place] = (values[place] - most).exp();
                        sum += values[place];
                    }
                    for place in places {
                        values[place] /= sum;
                    }
                }
                one(Tensor::of(x.shape().to_vec(), values))
            }};
        }
        match x.data() {
            Data::Fp32(values) => run!(values, f32),
            Data::Fp64(values) => run!(values, f64),
            _ => Err(unsupported(x)),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::super::test_node::{TestNode, tensor};
    use super::*;

    fn six() -> Tensor {
        tensor(&[2, 3], &[3.0_f32, 1.0, 3.0, -4.0, 5.0, 6.0])
    }

    #[test]
    fn the_first_or_last_of_the_largest_is_found() {
        let arg = TestNode::own("ArgMax").int("axis", 1);
        assert_eq!(arg.run(&[&six()]), tensor(&[2, 1], &[0_i64, 2]));
        let arg = TestNode::own("ArgMax")
            .int("axis", -1)
            .int("keepdims", 0)
            .int("select_last_index", 1);
        assert_eq!(arg.run(&[&six()]), tensor(&[2], &[2_i64, 2]));
        assert_eq!(TestNode::own("ArgMin").run(&[&six()]), tensor(&[1, 3], &[1_i64, 0, 0]));
    }

    #[test]
    fn dimensions_are_reduced() {
        let axes = tensor(&[1], &[1_i64]);
        let reduce = |operator| TestNode::own(operator).run(&[&six(), &axes]);
        assert_eq!(reduce("ReduceSum"), tensor(&[2, 1], &[7.0_f32, 7.0]));
        assert_eq!(reduce("ReduceMax"), tensor(&[2, 1], &[3.0_f32, 6.0]));
        assert_eq!(reduce("ReduceMin"), tensor(&[2, 1], &[1.0_f32, -4.0]));
        assert_eq!(reduce("ReduceSumSquare"), tensor(&[2, 1], &[19.0_f32, 77.0]));
        assert_eq!(reduce("ReduceL1"), tensor(&[2, 1], &[7.0_f32, 15.0]));
        assert_eq!(reduce("ReduceProd"), tensor(&[2, 1], &[9.0_f32, -120.0]));
        assert_eq!(reduce("ReduceLogSum"), tensor(&[2, 1], &[7.0_f32.ln(); 2]));
        assert_eq!(
            TestNode::own("ReduceMean").int("keepdims", 0).run(&[&six()]),
            tensor(&[], &[14.0_f32 / 6.0])
        );
        let old = TestNode::own("ReduceSum")
            .opset(11)
            .ints("axes", &[0])
            .int("keepdims", 0);
        assert_eq!(old.run(&[&six()]), tensor(&[3], &[-1.0_f32, 6.0, 9.0]));
    }

    #[test]
    fn large_exponents_do_not_overflow() {
        let far = tensor(&[2, 2], &[1000.0_f64, 1000.0, f64::NEG_INFINITY, f64::NEG_INFINITY]);
        let axes = tensor(&[1], &[1_i64]);
        let sums = TestNode::own("ReduceLogSumExp").run(&[&far, &axes]);
        let expected = [1000.0 + 2.0_f64.ln(), f64::NEG_INFINITY];
        assert_eq!(sums.values::<f64>(), Some(&expected[..]));
    }

    #[test]
    fn what_is_no_number_is_neither_largest_nor_lost() {
        let x = tensor(&[2, 3], &[f32::NAN, 1.0, 2.0, 2.0, 1.0, f32::NAN]);
        let axes = tensor(&[1], &[1_i64]);
        for operator in ["ReduceMax", "ReduceMin"] {
            let reduced = TestNode::own(operator).run(&[&x, &axes]);
            let values = reduced.values::<f32>().expect("floats");
            assert!(values.iter().all(|value| value.is_nan()), "{operator}: {values:?}");
        }
    }

    #[test]
    fn whole_numbers_are_reduced() {
        let x = tensor(&[2, 2], &[3_i64, -4, 5, 6]);
        let axes = tensor(&[1], &[0_i64]);
        for (operator, expected) in [
            ("ReduceSum", [8_i64, 2]),
            ("ReduceProd", [15, -24]),
            ("ReduceMax", [5, 6]),
            ("ReduceMin", [3, -4]),
        ] {
            let reduced = TestNode::own(operator).run(&[&x, &axes]);
            assert_eq!(reduced, tensor(&[1, 2], &expected), "{operator}");
        }
    }

    #[test]
    fn softmax_goes_over_one_dimension_now_and_over_the_rest_before() {
        let x = tensor(&[1, 2, 2], &[0.0_f32; 4]);
        assert_eq!(
            TestNode::own("Softmax").run(&[&x]).values::<f32>(),
            Some(&[0.5_f32; 4][..])
        );
        let old = TestNode::own("Softmax").opset(12);
        assert_eq!(old.run(&[&x]).values::<f32>(), Some(&[0.25_f32; 4][..]));
    }
}
