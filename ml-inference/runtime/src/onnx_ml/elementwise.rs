//! Operators that work on one element at a time, and the broadcasting of shapes that those with several inputs do.

use super::node::{OpError, Operator, OperatorNode, Outputs, input, one, unsupported};
use crate::error::LoadError;
use crate::tensor::{Data, Element, Tensor, element_count};

/// The most elements that a value inside of a model may have: a small file must not ask for all of the memory.
const MOST_ELEMENTS: usize = 1 << 26;

/// How many elements a result of this shape has, if it may be made.
pub(super) fn allowed(shape: &[usize]) -> Result<usize, OpError> {
    let count = element_count(shape)?;
    if count > MOST_ELEMENTS {
        return Err(OpError::Kind(format!("a result of the shape {shape:?} is too large")));
    }
    Ok(count)
}

/// The shape that both go onto: lengths are aligned at the end, and a length of one goes onto any.
pub(super) fn broadcast_shape(a: &[usize], b: &[usize]) -> Result<Vec<usize>, OpError> {
    let rank = a.len().max(b.len());
    let length = |shape: &[usize], index: usize| match (index + shape.len()).checked_sub(rank) {
        Some(index) => shape[index],
        None => 1,
    };
    let lengths = (0..rank).map(|index| match (length(a, index), length(b, index)) {
        (one, other) if one == other || other == 1 => Ok(one),
        (1, other) => Ok(other),
        _ => Err(OpError::Kind(format!("the shapes {a:?} and {b:?} do not go together"))),
    });
    lengths.collect()
}

/// For every element of `onto`, in order, the place of the element of `shape` that stands there.
pub(super) fn places(shape: &[usize], onto: &[usize]) -> impl Iterator<Item = usize> + use<> {
    // The step in memory along each dimension of `onto`, zero where there is only one element.
    let mut steps = vec![0; onto.len()];
    let mut step = 1;
    for (index, length) in shape.iter().enumerate().rev() {
        if *length > 1 {
            steps[onto.len() - shape.len() + index] = step;
        }
        step *= length;
    }
    let lengths = onto.to_vec();
    let count: usize = lengths.iter().product();
    let mut at = vec![0; lengths.len()];
    let mut place = 0;
    (0..count).map(move |_index| {
        let here = place;
        for dim in (0..lengths.len()).rev() {
            at[dim] += 1;
            place += steps[dim];
            if at[dim] < lengths[dim] {
                break;
            }
            place -= steps[dim] * lengths[dim];
            at[dim] = 0;
        }
        here
    })
}

/// `f` of each pair of elements, broadcast.
pub(super) fn zip<A: Copy, B: Copy, C: Element>(
    (a_shape, a): (&[usize], &[A]),
    (b_shape, b): (&[usize], &[B]),
    f: impl Fn(A, B) -> C,
) -> Result<Tensor, OpError> {
    let shape = broadcast_shape(a_shape, b_shape)?;
    let count = allowed(&shape)?;
    let values = if a_shape == b_shape {
        a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect()
    } else if let ([b], true) = (b, count == a.len()) {
        a.iter().map(|a| f(*a, *b)).collect()
    } else if let ([a], true) = (a, count == b.len()) {
        b.iter().map(|b| f(*a, *b)).collect()
    } else if count == a.len() && !b.is_empty() && a_shape.ends_with(without_leading_ones(b_shape)) {
        // A row onto rows: what a layer's bias is.
        let mut values = Vec::with_capacity(count);
        for row in a.chunks_exact(b.len()) {
            values.extend(row.iter().zip(b).map(|(a, b)| f(*a, *b)));
        }
        values
    } else if count == b.len() && !a.is_empty() && b_shape.ends_with(without_leading_ones(a_shape)) {
        let mut values = Vec::with_capacity(count);
        for row in b.chunks_exact(a.len()) {
            values.extend(a.iter().zip(row).map(|(a, b)| f(*a, *b)));
        }
        values
    } else {
        let places = places(a_shape, &shape).zip(places(b_shape, &shape));
        places.map(|(at, bt)| f(a[at], b[bt])).collect()
    };
    Ok(Tensor::of(shape, values)?)
}

/// Dimensions that broadcasting adds by itself: scikit-learn's biases have the shape `[1, n]`.
fn without_leading_ones(shape: &[usize]) -> &[usize] {
    let first = shape.iter().position(|length| *length != 1);
    &shape[first.unwrap_or(shape.len())..]
}

fn pair(a: &Tensor, b: &Tensor) -> OpError {
    OpError::Kind(format!(
        "{} and {} are not supported together",
        a.describe(),
        b.describe()
    ))
}

pub(super) fn unary(operator: &str, _node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    macro_rules! float {
        ($f:expr) => {
            Box::new(|inputs: &[Option<&Tensor>]| {
                let x = input(inputs, 0)?;
                let data = match x.data() {
                    Data::Fp32(values) => Data::Fp32(values.iter().copied().map($f).collect()),
                    Data::Fp64(values) => Data::Fp64(values.iter().copied().map($f).collect()),
                    _ => return Err(unsupported(x)),
                };
                one(Tensor::new(x.shape().to_vec(), data))
            })
        };
    }
    macro_rules! number {
        ($float:expr, $int:expr) => {
            Box::new(|inputs: &[Option<&Tensor>]| {
                let x = input(inputs, 0)?;
                let data = match x.data() {
                    Data::Fp32(values) => Data::Fp32(values.iter().copied().map($float).collect()),
                    Data::Fp64(values) => Data::Fp64(values.iter().copied().map($float).collect()),
                    Data::Int64(values) => Data::Int64(values.iter().copied().map($int).collect()),
                    Data::Int32(values) => Data::Int32(values.iter().copied().map($int).collect()),
                    _ => return Err(unsupported(x)),
                };
                one(Tensor::new(x.shape().to_vec(), data))
            })
        };
    }
    Ok(match operator {
        "Abs" => number!(|x| x.abs(), |x| x.wrapping_abs()),
        "Ceil" => float!(|x| x.ceil()),
        "Exp" => float!(|x| x.exp()),
        "Floor" => float!(|x| x.floor()),
        "Log" => float!(|x| x.ln()),
        "Neg" => number!(|x| -x, |x| x.wrapping_neg()),
        "Reciprocal" => float!(|x| x.recip()),
        // A NaN stays one.
        "Relu" => number!(|x| if x < 0.0 { 0.0 } else { x }, |x| x.max(0)),
        "Sigmoid" => float!(|x| 1.0 / (1.0 + (-x).exp())),
        "Sign" => number!(|x| if x == 0.0 || x.is_nan() { x } else { x.signum() }, |x| x.signum()),
        "Sqrt" => float!(|x| x.sqrt()),
        _ => float!(|x| x.tanh()),
    })
}

pub(super) fn arithmetic(operator: &str, node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    macro_rules! numbers {
        ($float:expr, $int:expr) => {
            Box::new(|inputs: &[Option<&Tensor>]| {
                let (a, b) = (input(inputs, 0)?, input(inputs, 1)?);
                let (sa, sb) = (a.shape(), b.shape());
                let result = match (a.data(), b.data()) {
                    (Data::Fp32(a), Data::Fp32(b)) => zip((sa, a), (sb, b), $float),
                    (Data::Fp64(a), Data::Fp64(b)) => zip((sa, a), (sb, b), $float),
                    (Data::Int64(a), Data::Int64(b)) => zip((sa, a), (sb, b), $int),
                    (Data::Int32(a), Data::Int32(b)) => zip((sa, a), (sb, b), $int),
                    _ => Err(pair(a, b)),
                };
                Ok(vec![result?])
            })
        };
    }
    Ok(match operator {
        "Add" => numbers!(|a, b| a + b, |a, b| a.wrapping_add(b)),
        "Sub" => numbers!(|a, b| a - b, |a, b| a.wrapping_sub(b)),
        "Mul" => numbers!(|a, b| a * b, |a, b| a.wrapping_mul(b)),
        "Div" => Box::new(divide),
        "Pow" => Box::new(power),
        _ => return Err(node.fault("is no arithmetic")),
    })
}

fn divide(inputs: &[Option<&Tensor>]) -> Outputs {
    let (a, b) = (input(inputs, 0)?, input(inputs, 1)?);
    let (sa, sb) = (a.shape(), b.shape());
    let by_zero = || OpError::Value("a whole number is divided by zero".to_owned());
    let result = match (a.data(), b.data()) {
        (Data::Fp32(a), Data::Fp32(b)) => zip((sa, a), (sb, b), |a, b| a / b),
        (Data::Fp64(a), Data::Fp64(b)) => zip((sa, a), (sb, b), |a, b| a / b),
        (Data::Int64(_), Data::Int64(b)) if b.contains(&0) => Err(by_zero()),
        (Data::Int32(_), Data::Int32(b)) if b.contains(&0) => Err(by_zero()),
        (Data::Int64(a), Data::Int64(b)) => zip((sa, a), (sb, b), i64::wrapping_div),
        (Data::Int32(a), Data::Int32(b)) => zip((sa, a), (sb, b), i32::wrapping_div),
        _ => Err(pair(a, b)),
    };
    Ok(vec![result?])
}

/// The result has the type of the base.
fn power(inputs: &[Option<&Tensor>]) -> Outputs {
    let (a, b) = (input(inputs, 0)?, input(inputs, 1)?);
    let (sa, sb) = (a.shape(), b.shape());
    let result = match (a.data(), b.data()) {
        (Data::Fp32(a), Data::Fp32(b)) => zip((sa, a), (sb, b), f32::powf),
        (Data::Fp64(a), Data::Fp64(b)) => zip((sa, a), (sb, b), f64::powf),
        (Data::Fp32(a), Data::Int64(b)) => zip((sa, a), (sb, b), |a, b| a.powf(b as f32)),
        (Data::Fp64(a), Data::Int64(b)) => zip((sa, a), (sb, b), |a, b| a.powf(b as f64)),
        _ => Err(pair(a, b)),
    };
    Ok(vec![result?])
}

/// Operators of any number of inputs.
pub(super) fn many(operator: &str, node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    if node.input_count() == 0 {
        return Err(node.fault("has no input"));
    }
    type Fold32 = fn(f32, f32) -> f32;
    type Fold64 = fn(f64, f64) -> f64;
    let (fold32, fold64): (Fold32, Fold64) = match operator {
        // A NaN stays one, unlike in Rust's max and min.
        "Max" => (
            |a, b| if a > b || a.is_nan() { a } else { b },
            |a, b| if a > b || a.is_nan() { a } else { b },
        ),
        "Min" => (
            |a, b| if a < b || a.is_nan() { a } else { b },
            |a, b| if a < b || a.is_nan() { a } else { b },
        ),
        _ => (|a, b| a + b, |a, b| a + b),
    };
    Ok(Box::new(move |inputs| {
        let mut whole = input(inputs, 0)?.clone();
        for index in 1..inputs.len() {
            let next = input(inputs, index)?;
            let (sa, sb) = (whole.shape(), next.shape());
            whole = match (whole.data(), next.data()) {
                (Data::Fp32(a), Data::Fp32(b)) => zip((sa, a), (sb, b), fold32)?,
                (Data::Fp64(a), Data::Fp64(b)) => zip((sa, a), (sb, b), fold64)?,
                _ => return Err(pair(&whole, next)),
            };
        }
        match whole.data() {
            Data::Fp32(_) | Data::Fp64(_) => Ok(vec![whole]),
            _ => Err(unsupported(&whole)),
        }
    }))
}

pub(super) fn comparison(operator: &str, node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    macro_rules! compare {
        ($f:expr) => {
            Box::new(|inputs: &[Option<&Tensor>]| {
                let (a, b) = (input(inputs, 0)?, input(inputs, 1)?);
                let (sa, sb) = (a.shape(), b.shape());
                let result = match (a.data(), b.data()) {
                    (Data::Fp32(a), Data::Fp32(b)) => zip((sa, a), (sb, b), $f),
                    (Data::Fp64(a), Data::Fp64(b)) => zip((sa, a), (sb, b), $f),
                    (Data::Int64(a), Data::Int64(b)) => zip((sa, a), (sb, b), $f),
                    (Data::Int32(a), Data::Int32(b)) => zip((sa, a), (sb, b), $f),
                    _ => Err(pair(a, b)),
                };
                Ok(vec![result?])
            })
        };
    }
    Ok(match operator {
        "Equal" => Box::new(equal),
        "Greater" => compare!(|a, b| a > b),
        "GreaterOrEqual" => compare!(|a, b| a >= b),
        "Less" => compare!(|a, b| a < b),
        "LessOrEqual" => compare!(|a, b| a <= b),
        _ => return Err(node.fault("is no comparison")),
    })
}

/// Unlike the other comparisons, this one knows texts and truth values.
fn equal(inputs: &[Option<&Tensor>]) -> Outputs {
    let (a, b) = (input(inputs, 0)?, input(inputs, 1)?);
    let (sa, sb) = (a.shape(), b.shape());
    let result = match (a.data(), b.data()) {
        (Data::Fp32(a), Data::Fp32(b)) => zip((sa, a), (sb, b), |a, b| a == b),
        (Data::Fp64(a), Data::Fp64(b)) => zip((sa, a), (sb, b), |a, b| a == b),
        (Data::Int64(a), Data::Int64(b)) => zip((sa, a), (sb, b), |a, b| a == b),
        (Data::Int32(a), Data::Int32(b)) => zip((sa, a), (sb, b), |a, b| a == b),
        (Data::Bool(a), Data::Bool(b)) => zip((sa, a), (sb, b), |a, b| a == b),
        (Data::Bytes(a), Data::Bytes(b)) => {
            let (a, b): (Vec<_>, Vec<_>) = (a.iter().collect(), b.iter().collect());
            zip((sa, &a), (sb, &b), |a, b| a == b)
        }
        _ => Err(pair(a, b)),
    };
    Ok(vec![result?])
}

pub(super) fn logic(operator: &str, _node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let f: fn(bool, bool) -> bool = match operator {
        "And" => |a, b| a && b,
        "Or" => |a, b| a || b,
        _ => |a, b| a != b,
    };
    Ok(Box::new(move |inputs| {
        let (a, b) = (input(inputs, 0)?, input(inputs, 1)?);
        match (a.data(), b.data()) {
            (Data::Bool(left), Data::Bool(right)) => Ok(vec![zip((a.shape(), left), (b.shape(), right), f)?]),
            _ => Err(pair(a, b)),
        }
    }))
}

pub(super) fn not(_node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    Ok(Box::new(|inputs| {
        let x = input(inputs, 0)?;
        let values = x.values::<bool>().ok_or_else(|| unsupported(x))?;
        one(Tensor::of(
            x.shape().to_vec(),
            values.iter().map(|value| !value).collect(),
        ))
    }))
}

pub(super) fn is_nan(_node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    Ok(Box::new(|inputs| {
        let x = input(inputs, 0)?;
        let values = match x.data() {
            Data::Fp32(values) => values.iter().map(|value| value.is_nan()).collect(),
            Data::Fp64(values) => values.iter().map(|value| value.is_nan()).collect(),
            _ => return Err(unsupported(x)),
        };
        one(Tensor::of(x.shape().to_vec(), values))
    }))
}

/// Where: of two tensors, element by element, the one that a third says.
pub(super) fn choose(_node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    fn pick<T: Element>(condition: &Tensor, a: (&Tensor, &[T]), b: (&Tensor, &[T])) -> Outputs {
        let flags = condition.values::<bool>().ok_or_else(|| unsupported(condition))?;
        let shape = broadcast_shape(condition.shape(), &broadcast_shape(a.0.shape(), b.0.shape())?)?;
        let mut values = Vec::with_capacity(allowed(&shape)?);
        let places = places(a.0.shape(), &shape).zip(places(b.0.shape(), &shape));
        for (flag, (at, bt)) in self::places(condition.shape(), &shape).zip(places) {
            values.push(if flags[flag] { a.1[at].clone() } else { b.1[bt].clone() });
        }
        one(Tensor::of(shape, values))
    }
    Ok(Box::new(|inputs| {
        let (condition, a, b) = (input(inputs, 0)?, input(inputs, 1)?, input(inputs, 2)?);
        match (a.data(), b.data()) {
            (Data::Fp32(x), Data::Fp32(y)) => pick(condition, (a, x), (b, y)),
            (Data::Fp64(x), Data::Fp64(y)) => pick(condition, (a, x), (b, y)),
            (Data::Int64(x), Data::Int64(y)) => pick(condition, (a, x), (b, y)),
            (Data::Int32(x), Data::Int32(y)) => pick(condition, (a, x), (b, y)),
            (Data::Bool(x), Data::Bool(y)) => pick(condition, (a, x), (b, y)),
            (Data::Bytes(x), Data::Bytes(y)) => pick(condition, (a, x), (b, y)),
            _ => Err(pair(a, b)),
        }
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::test_node::{TestNode, tensor};
    use super::*;

    #[test]
    fn shapes_go_together_from_the_end() {
        let a = tensor(&[2, 3], &[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let add = |b: &Tensor| TestNode::own("Add").run(&[&a, b]);
        assert_eq!(
            add(&tensor(&[3], &[10.0_f32, 20.0, 30.0])).values::<f32>(),
            Some(&[11.0, 22.0, 33.0, 14.0, 25.0, 36.0][..])
        );
        assert_eq!(
            add(&tensor(&[2, 1], &[10.0_f32, 20.0])).values::<f32>(),
            Some(&[11.0, 12.0, 13.0, 24.0, 25.0, 26.0][..])
        );
        assert_eq!(add(&tensor(&[1, 1, 1], &[1.0_f32])).shape(), [1, 2, 3]);
        assert!(broadcast_shape(&[2, 3], &[2]).is_err());
        assert_eq!(broadcast_shape(&[0, 3], &[1]), Ok(vec![0, 3]));
        assert!(
            allowed(&[1 << 14, 1 << 14]).is_err(),
            "a small file asks for a gigabyte"
        );
    }

    #[test]
    fn nans_and_zeros_are_kept_apart() {
        let x = tensor(&[4], &[f32::NAN, -1.0, 0.0, 2.0]);
        let relu = TestNode::own("Relu").run(&[&x]);
        let relu = relu.values::<f32>().expect("floats");
        assert!(relu[0].is_nan());
        assert_eq!(relu[1..], [0.0, 0.0, 2.0]);
        assert_eq!(
            TestNode::own("IsNaN").run(&[&x]),
            tensor(&[4], &[true, false, false, false])
        );
        let divide = TestNode::own("Div").make().expect("is known");
        let (a, b) = (tensor(&[1], &[1_i64]), tensor(&[1], &[0_i64]));
        assert!(matches!(divide(&[Some(&a), Some(&b)]), Err(OpError::Value(_))));
    }

    #[test]
    fn where_and_logic_choose() {
        let condition = tensor(&[2, 1], &[true, false]);
        let (a, b) = (tensor(&[2], &[1_i64, 2]), tensor(&[], &[9_i64]));
        assert_eq!(
            TestNode::own("Where").run(&[&condition, &a, &b]),
            tensor(&[2, 2], &[1_i64, 2, 9, 9])
        );
        assert_eq!(
            TestNode::own("Xor").run(&[&condition, &condition]),
            tensor(&[2, 1], &[false, false])
        );
        assert_eq!(TestNode::own("Less").run(&[&a, &b]), tensor(&[2], &[true, true]));
    }

    proptest! {
        #[test]
        fn every_way_of_pairing_elements_is_the_same(
            shape in prop::collection::vec(1_usize..4, 0..4), ones in prop::collection::vec(any::<bool>(), 4), drop in 0_usize..4
        ) {
            let other: Vec<usize> = shape.iter().zip(&ones).map(|(length, one)| if *one { 1 } else { *length }).collect();
            let other = &other[drop.min(other.len())..];
            let count = |shape: &[usize]| shape.iter().product::<usize>();
            let a: Vec<i64> = (0..).take(count(&shape)).collect();
            let b: Vec<i64> = (0..).take(count(other)).map(|x: i64| x * 1000).collect();
            let pairs = || places(&shape, &shape).zip(places(other, &shape)).map(|(at, bt)| (a[at], b[bt]));
            let fast = zip((&shape, &a), (other, &b), |a, b| a - b).expect("go together");
            let slow: Vec<i64> = pairs().map(|(a, b)| a - b).collect();
            prop_assert_eq!(fast.values::<i64>().expect("integers"), slow);
            let fast = zip((other, &b), (&shape, &a), |b, a| b - 2 * a).expect("go together");
            let slow: Vec<i64> = pairs().map(|(a, b)| b - 2 * a).collect();
            prop_assert_eq!(fast.values::<i64>().expect("integers"), slow);
            prop_assert_eq!(fast.shape(), &shape);
        }
    }
}
