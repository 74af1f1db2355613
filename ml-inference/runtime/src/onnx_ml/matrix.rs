//! Rows of features, and products of matrices.

use std::borrow::Cow;
use std::ops::{Add, AddAssign, Mul};

use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions};
use rten_tensor::NdTensorView;

use super::elementwise::{self, broadcast_shape};
use super::node::{OpError, Operator, OperatorNode, input, one, optional, unsupported};
use crate::error::LoadError;
use crate::tensor::{Data, Element, Tensor};

/// The input of an `ai.onnx.ml` operator: rows of as many features each.
pub(super) struct Rows<'a, T: Clone> {
    pub(super) values: Cow<'a, [T]>,
    pub(super) count: usize,
    pub(super) length: usize,
}

/// How many rows of how many features; one dimension is one row.
pub(super) fn row_shape(x: &Tensor) -> Result<(usize, usize), OpError> {
    match x.shape() {
        [length] => Ok((1, *length)),
        [count, length] => Ok((*count, *length)),
        _ => Err(OpError::Kind(format!(
            "expected rows of features, found {}",
            x.describe()
        ))),
    }
}

/// The numbers of `x` as 32-bit floats, which is what these operators compute with.
pub(super) fn as_rows(x: &Tensor) -> Result<Rows<'_, f32>, OpError> {
    let (count, length) = row_shape(x)?;
    let values = match x.data() {
        Data::Fp32(values) => Cow::Borrowed(values.as_slice()),
        Data::Fp64(values) => values.iter().map(|value| *value as f32).collect(),
        Data::Int64(values) => values.iter().map(|value| *value as f32).collect(),
        Data::Int32(values) => values.iter().map(|value| *value as f32).collect(),
        _ => return Err(unsupported(x)),
    };
    Ok(Rows { values, count, length })
}

struct Matrix<'a, T> {
    values: &'a [T],
    rows: usize,
    columns: usize,
}

impl<T> Matrix<'_, T> {
    fn row(&self, row: usize) -> &[T] {
        &self.values[row * self.columns..(row + 1) * self.columns]
    }
}

/// Number type of matrices.
trait Real: Element + Copy + Add<Output = Self> + Mul<Output = Self> + AddAssign {
    /// Adds the product of the two to `out`, which is zeros, row after row.
    fn product(left: &Matrix<'_, Self>, right: &Matrix<'_, Self>, out: &mut [Self]);
}

impl Real for f32 {
    /// With the instructions that the processor has, on the threads of the run.
    fn product(left: &Matrix<'_, f32>, right: &Matrix<'_, f32>, out: &mut [f32]) {
        let left = NdTensorView::from_data([left.rows, left.columns], left.values);
        let right = NdTensorView::from_data([right.rows, right.columns], right.values);
        let (left, right) = (GemmInputA::Unpacked(left), GemmInputB::Unpacked(right));
        let multiplied = GemmExecutor::default().gemm(out, left, right, GemmOptions::default());
        multiplied.expect("the caller has compared the dimensions");
    }
}

impl Real for f64 {
    /// Line by line, so that the inner loop runs along memory.
    fn product(left: &Matrix<'_, f64>, right: &Matrix<'_, f64>, out: &mut [f64]) {
        for (row, sums) in out.chunks_exact_mut(right.columns.max(1)).enumerate() {
            for (factor, line) in left.row(row).iter().zip(0..) {
                for (sum, value) in sums.iter_mut().zip(right.row(line)) {
                    *sum += *factor * *value;
                }
            }
        }
    }
}

pub(super) fn matmul(_node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    Ok(Box::new(|inputs| {
        let (a, b) = (input(inputs, 0)?, input(inputs, 1)?);
        match (a.data(), b.data()) {
            (Data::Fp32(left), Data::Fp32(right)) => product(a, left, b, right),
            (Data::Fp64(left), Data::Fp64(right)) => product(a, left, b, right),
            _ => Err(pair(a, b)),
        }
    }))
}

fn product<T: Real>(a: &Tensor, left: &[T], b: &Tensor, right: &[T]) -> super::node::Outputs {
    // A vector on the left is one row, on the right one column; the added dimension goes again afterwards.
    let (a_shape, b_shape) = match (a.shape(), b.shape()) {
        ([], _) | (_, []) => return Err(pair(a, b)),
        ([a], [b]) => (vec![1, *a], vec![*b, 1]),
        ([a], b) => (vec![1, *a], b.to_vec()),
        (a, [b]) => (a.to_vec(), vec![*b, 1]),
        (a, b) => (a.to_vec(), b.to_vec()),
    };
    let (a_outer, [rows, inner]) = split_matrix(&a_shape);
    let (b_outer, [b_rows, columns]) = split_matrix(&b_shape);
    if inner != b_rows {
        return Err(pair(a, b));
    }
    let outer = broadcast_shape(a_outer, b_outer)?;
    let (a_places, b_places) = (
        elementwise::places(a_outer, &outer),
        elementwise::places(b_outer, &outer),
    );
    let mut shape = outer;
    if a.shape().len() > 1 {
        shape.push(rows);
    }
    if b.shape().len() > 1 {
        shape.push(columns);
    }
    let mut out = vec![T::default(); elementwise::allowed(&shape)?];
    let products = out.chunks_exact_mut((rows * columns).max(1));
    for ((a_place, b_place), out) in a_places.zip(b_places).zip(products) {
        let left = Matrix {
            values: &left[a_place * rows * inner..(a_place + 1) * rows * inner],
            rows,
            columns: inner,
        };
        let right = Matrix {
            values: &right[b_place * inner * columns..(b_place + 1) * inner * columns],
            rows: inner,
            columns,
        };
        T::product(&left, &right, out);
    }
    one(Tensor::of(shape, out))
}

/// The outer dimensions, and the two of the matrix.
fn split_matrix(shape: &[usize]) -> (&[usize], [usize; 2]) {
    match shape {
        [outer @ .., rows, columns] => (outer, [*rows, *columns]),
        _ => (&[], [1, 1]),
    }
}

fn pair(a: &Tensor, b: &Tensor) -> OpError {
    OpError::Kind(format!("{} and {} have no product", a.describe(), b.describe()))
}

pub(super) fn gemm(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let (alpha, beta) = (node.float("alpha")?.unwrap_or(1.0), node.float("beta")?.unwrap_or(1.0));
    let transposed = |name| Ok::<bool, LoadError>(node.int(name)?.unwrap_or(0) != 0);
    let (a_transposed, b_transposed) = (transposed("transA")?, transposed("transB")?);
    Ok(Box::new(move |inputs| {
        let (a, b) = (input(inputs, 0)?, input(inputs, 1)?);
        let c = optional(inputs, 2);
        let flags = [a_transposed, b_transposed];
        match (a.data(), b.data()) {
            (Data::Fp32(left), Data::Fp32(right)) => general((a, left), (b, right), c, flags, [alpha, beta]),
            (Data::Fp64(left), Data::Fp64(right)) => {
                general((a, left), (b, right), c, flags, [alpha.into(), beta.into()])
            }
            _ => Err(pair(a, b)),
        }
    }))
}

fn general<T: Real>(
    (a, left): (&Tensor, &[T]),
    (b, right): (&Tensor, &[T]),
    c: Option<&Tensor>,
    [a_transposed, b_transposed]: [bool; 2],
    [alpha, beta]: [T; 2],
) -> super::node::Outputs {
    let (left, a_shape) = straight(left, a, a_transposed)?;
    let (right, b_shape) = straight(right, b, b_transposed)?;
    let ([rows, inner], [b_rows, columns]) = (a_shape, b_shape);
    if inner != b_rows {
        return Err(pair(a, b));
    }
    let shape = vec![rows, columns];
    let mut out = vec![T::default(); elementwise::allowed(&shape)?];
    let left = Matrix {
        values: &left,
        rows,
        columns: inner,
    };
    let right = Matrix {
        values: &right,
        rows: inner,
        columns,
    };
    T::product(&left, &right, &mut out);
    out.iter_mut().for_each(|value| *value = *value * alpha);
    if let Some(c) = c {
        let added = c.values::<T>().ok_or_else(|| unsupported(c))?;
        if broadcast_shape(c.shape(), &shape)? != shape {
            return Err(OpError::Kind(format!("{} does not go onto {shape:?}", c.describe())));
        }
        // Nothing of it, not even what is no number, counts zero times.
        if beta != T::default() {
            for (value, place) in out.iter_mut().zip(elementwise::places(c.shape(), &shape)) {
                *value += added[place] * beta;
            }
        }
    }
    one(Tensor::of(shape, out))
}

/// A matrix with its rows one after the other.
fn straight<'a, T: Real>(
    values: &'a [T],
    tensor: &Tensor,
    transposed: bool,
) -> Result<(Cow<'a, [T]>, [usize; 2]), OpError> {
    let &[rows, columns] = tensor.shape() else {
        return Err(OpError::Kind(format!("{} is no matrix", tensor.describe())));
    };
    if !transposed {
        return Ok((Cow::Borrowed(values), [rows, columns]));
    }
    let column = |column: usize| (0..rows).map(move |row| values[row * columns + column]);
    Ok(((0..columns).flat_map(column).collect(), [columns, rows]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::test_node::{TestNode, tensor};
    use super::*;

    #[test]
    fn products_of_matrices_vectors_and_stacks() {
        let matmul = TestNode::own("MatMul").make().expect("is known");
        let run = |a: &Tensor, b: &Tensor| matmul(&[Some(a), Some(b)]).map(|outputs| outputs[0].clone());
        let a = tensor(&[2, 3], &[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let b = tensor(&[3, 2], &[1.0_f32, 0.0, 0.0, 1.0, 1.0, 1.0]);
        assert_eq!(run(&a, &b), Ok(tensor(&[2, 2], &[4.0_f32, 5.0, 10.0, 11.0])));
        let vector = tensor(&[3], &[1.0_f32, 1.0, 1.0]);
        assert_eq!(run(&a, &vector), Ok(tensor(&[2], &[6.0_f32, 15.0])));
        assert_eq!(run(&vector, &b), Ok(tensor(&[2], &[2.0_f32, 2.0])));
        assert_eq!(run(&vector, &vector), Ok(tensor(&[], &[3.0_f32])));
        let stack = tensor(&[2, 1, 3], &[1.0_f32, 0.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!(run(&stack, &b), Ok(tensor(&[2, 1, 2], &[1.0_f32, 0.0, 1.0, 1.0])));
        assert!(matches!(run(&a, &a), Err(OpError::Kind(_))));
    }

    fn multiply<T: Real + From<u8>>([rows, inner, columns]: [usize; 3], left: &[u8], right: &[u8]) -> Vec<T> {
        let real = |values: &[u8]| values.iter().map(|value| T::from(*value)).collect::<Vec<T>>();
        let (left, right) = (real(left), real(right));
        let left = Matrix {
            values: &left,
            rows,
            columns: inner,
        };
        let right = Matrix {
            values: &right,
            rows: inner,
            columns,
        };
        let mut out = vec![T::default(); rows * columns];
        T::product(&left, &right, &mut out);
        out
    }

    proptest! {
        #[test]
        fn a_product_is_sums_of_products(rows in 0_usize..10, inner in 0_usize..6, columns in 0_usize..20) {
            // Small whole numbers, so that no order of adding makes a difference.
            let whole = |count: usize, seed: usize| (0..count).map(|index| (index * 7 + seed) as u8 % 13).collect::<Vec<u8>>();
            let (a, b) = (whole(rows * inner, 1), whole(inner * columns, 5));
            let mut slow = Vec::new();
            for row in 0..rows {
                let term = |column: usize, k: usize| f64::from(a[row * inner + k]) * f64::from(b[k * columns + column]);
                slow.extend((0..columns).map(|column| (0..inner).map(|k| term(column, k)).sum::<f64>()));
            }
            let double = multiply::<f64>([rows, inner, columns], &a, &b);
            let single = multiply::<f32>([rows, inner, columns], &a, &b);
            prop_assert_eq!(&double, &slow);
            prop_assert_eq!(single.into_iter().map(f64::from).collect::<Vec<f64>>(), slow);
        }
    }

    #[test]
    fn gemm_scales_transposes_and_adds() {
        let node = TestNode::own("Gemm")
            .int("transA", 1)
            .int("transB", 1)
            .float("alpha", 2.0)
            .float("beta", 0.5);
        let gemm = node.make().expect("is known");
        let a = tensor(&[3, 1], &[1.0_f64, 2.0, 3.0]);
        let b = tensor(&[2, 3], &[1.0_f64, 0.0, 0.0, 0.0, 1.0, 1.0]);
        let c = tensor(&[2], &[10.0_f64, 20.0]);
        let outputs = gemm(&[Some(&a), Some(&b), Some(&c)]).expect("runs");
        assert_eq!(outputs, [tensor(&[1, 2], &[7.0_f64, 20.0])]);
        let outputs = gemm(&[Some(&a), Some(&b)]).expect("runs");
        assert_eq!(outputs, [tensor(&[1, 2], &[2.0_f64, 10.0])]);
        let none_of_it = TestNode::own("Gemm").float("beta", 0.0);
        let (one, nan) = (tensor(&[1, 1], &[1.0_f64]), tensor(&[1], &[f64::NAN]));
        assert_eq!(none_of_it.run(&[&one, &one, &nan]), one);
    }
}
