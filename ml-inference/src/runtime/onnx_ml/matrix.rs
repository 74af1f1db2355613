//! Rows of features, and products of matrices.

use std::borrow::Cow;

use super::elementwise::{self, broadcast_shape};
use super::node::{Fault, LoadError, Node, Operator, input, one, optional, unsupported};
use crate::tensor::{Data, Element, Tensor};

/// The input of an `ai.onnx.ml` operator: rows of as many features each.
pub(super) struct Rows<'a, T: Clone> {
    pub(super) values: Cow<'a, [T]>,
    pub(super) count: usize,
    pub(super) length: usize,
}

/// How many rows of how many features; one dimension is one row.
pub(super) fn row_shape(x: &Tensor) -> Result<(usize, usize), Fault> {
    match x.shape() {
        [length] => Ok((1, *length)),
        [count, length] => Ok((*count, *length)),
        _ => Err(Fault::Kind(format!(
            "expected rows of features, found {}",
            x.describe()
        ))),
    }
}

/// The numbers of `x` as 32-bit floats, which is what these operators compute with.
pub(super) fn as_rows(x: &Tensor) -> Result<Rows<'_, f32>, Fault> {
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

/// What matrices are made of here.
pub(super) trait Real:
    Element + Copy + std::ops::Add<Output = Self> + std::ops::Mul<Output = Self> + std::ops::AddAssign
{
}
impl Real for f32 {}
impl Real for f64 {}

struct Matrix<'a, T> {
    values: &'a [T],
    rows: usize,
    columns: usize,
}

/// Columns whose sums are kept in registers together, and rows likewise: eight registers of four floats.
const COLUMNS: usize = 8;
const ROWS: usize = 4;

impl<T: Real> Matrix<'_, T> {
    fn row(&self, row: usize) -> &[T] {
        &self.values[row * self.columns..(row + 1) * self.columns]
    }

    /// Appends the rows of the product.
    fn product(&self, other: &Matrix<'_, T>, out: &mut Vec<T>) {
        if self.rows < ROWS {
            return (0..self.rows).for_each(|row| self.product_of_row(row, other, out));
        }
        let begin = out.len();
        out.resize(begin + self.rows * other.columns, T::default());
        let results = &mut out[begin..];
        let mut panel = Vec::with_capacity(self.columns);
        for first_column in (0..other.columns).step_by(COLUMNS) {
            other.pack(first_column, &mut panel);
            let width = COLUMNS.min(other.columns - first_column);
            let mut put = |row: usize, sums: &[T; COLUMNS]| {
                let place = row * other.columns + first_column;
                results[place..place + width].copy_from_slice(&sums[..width]);
            };
            let whole = self.rows / ROWS * ROWS;
            for first_row in (0..whole).step_by(ROWS) {
                let rows: [&[T]; ROWS] = std::array::from_fn(|index| self.row(first_row + index));
                for (index, sums) in sums(rows, &panel).iter().enumerate() {
                    put(first_row + index, sums);
                }
            }
            for row in whole..self.rows {
                let [sums] = sums([self.row(row)], &panel);
                put(row, &sums);
            }
        }
    }

    /// Line by line, so that the inner loop runs along memory: for a few rows, packing would take longer than the product.
    fn product_of_row(&self, row: usize, other: &Matrix<'_, T>, out: &mut Vec<T>) {
        let begin = out.len();
        out.resize(begin + other.columns, T::default());
        let sums = &mut out[begin..];
        for (index, factor) in self.row(row).iter().enumerate() {
            for (sum, value) in sums.iter_mut().zip(other.row(index)) {
                *sum += *factor * *value;
            }
        }
    }

    /// Some neighbouring columns, line after line; those that are not there are zeros.
    fn pack(&self, first_column: usize, panel: &mut Vec<[T; COLUMNS]>) {
        panel.clear();
        let width = COLUMNS.min(self.columns - first_column);
        panel.extend((0..self.rows).map(|row| {
            let mut line = [T::default(); COLUMNS];
            line[..width].copy_from_slice(&self.row(row)[first_column..first_column + width]);
            line
        }));
    }
}

/// The products of some rows with a panel of columns.
fn sums<T: Real, const N: usize>(rows: [&[T]; N], panel: &[[T; COLUMNS]]) -> [[T; COLUMNS]; N] {
    let rows = rows.map(|row| &row[..panel.len()]);
    let mut sums = [[T::default(); COLUMNS]; N];
    for (index, line) in panel.iter().enumerate() {
        for (row, sums) in rows.iter().zip(&mut sums) {
            let factor = row[index];
            for (sum, value) in sums.iter_mut().zip(line) {
                *sum += factor * *value;
            }
        }
    }
    sums
}

pub(super) fn matmul(_node: &Node<'_>) -> Result<Operator, LoadError> {
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
    let mut out = Vec::with_capacity(elementwise::allowed(&shape)?);
    for (a_place, b_place) in a_places.zip(b_places) {
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
        left.product(&right, &mut out);
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

fn pair(a: &Tensor, b: &Tensor) -> Fault {
    Fault::Kind(format!("{} and {} have no product", a.describe(), b.describe()))
}

pub(super) fn gemm(node: &Node<'_>) -> Result<Operator, LoadError> {
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
    let mut out = Vec::with_capacity(elementwise::allowed(&shape)?);
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
    left.product(&right, &mut out);
    out.iter_mut().for_each(|value| *value = *value * alpha);
    if let Some(c) = c {
        let added = c.values::<T>().ok_or_else(|| unsupported(c))?;
        if broadcast_shape(c.shape(), &shape)? != shape {
            return Err(Fault::Kind(format!("{} does not go onto {shape:?}", c.describe())));
        }
        for (value, place) in out.iter_mut().zip(elementwise::places(c.shape(), &shape)) {
            *value += added[place] * beta;
        }
    }
    one(Tensor::of(shape, out))
}

/// A matrix with its rows one after the other.
fn straight<'a, T: Real>(
    values: &'a [T],
    tensor: &Tensor,
    transposed: bool,
) -> Result<(Cow<'a, [T]>, [usize; 2]), Fault> {
    let &[rows, columns] = tensor.shape() else {
        return Err(Fault::Kind(format!("{} is no matrix", tensor.describe())));
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
        assert!(matches!(run(&a, &a), Err(Fault::Kind(_))));
    }

    proptest! {
        #[test]
        fn every_way_of_multiplying_is_the_same(rows in 0_usize..10, inner in 0_usize..6, columns in 0_usize..20) {
            let whole = |count: usize, seed: usize| (0..count).map(|index| f64::from((index * 7 + seed) as u8 % 13)).collect();
            let (a, b): (Vec<f64>, Vec<f64>) = (whole(rows * inner, 1), whole(inner * columns, 5));
            let left = Matrix { values: &a, rows, columns: inner };
            let right = Matrix { values: &b, rows: inner, columns };
            let (mut fast, mut slow) = (Vec::new(), Vec::new());
            left.product(&right, &mut fast);
            for row in 0..rows {
                let column = |column: usize| (0..inner).map(|k| a[row * inner + k] * b[k * columns + column]).sum::<f64>();
                slow.extend((0..columns).map(column));
            }
            prop_assert_eq!(fast, slow);
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
    }
}
