//! A probe for row independence: whether a row's result depends on the other rows of its batch.
//!
//! Only a model with independent rows allows a request to be split into batches, or requests to be put together: a model that
//! subtracts the mean of its batch answers a row differently in each batch. A file does not say which kind it is, so it is
//! probed: two rows together, and each alone.

use bytes::Bytes;

use crate::interface::ModelRuntime;
use crate::signature::{Dim, Signature, TensorSpec};
use crate::tensor::{Data, DataType, Element, Tensor, element_count};

/// Samples that are tried, each with three runs.
const MOST_SAMPLES: usize = 4;
/// Lengths that free dimensions behind the rows are given, until the model takes one.
const LENGTHS: [usize; 2] = [2, 32];
/// Inputs that are larger than so many elements are not made up.
const MOST_ELEMENTS: usize = 1 << 24;
/// A part of the largest value: other batches are other kernels, which add in another order.
const TOLERANCE: f64 = 1e-4;

/// True if the model's rows are independent, probed with the owner's `samples` or else with made-up values. False for a model that
/// takes neither.
pub fn probe_row_independence(runtime: &dyn ModelRuntime, samples: &[Vec<Tensor>]) -> bool {
    if !runtime.signature().has_free_rows() {
        return false;
    }
    let pairs = samples.iter().filter_map(|sample| first_two(sample)).take(MOST_SAMPLES);
    let mut seen = pairs.filter_map(|pair| alike(runtime, &pair)).peekable();
    if seen.peek().is_some() {
        return seen.all(|alike| alike);
    }
    let made_up = LENGTHS
        .iter()
        .filter_map(|length| make_up(runtime.signature(), *length));
    made_up.filter_map(|pair| alike(runtime, &pair)).next().unwrap_or(false)
}

fn first_two(inputs: &[Tensor]) -> Option<Vec<Tensor>> {
    let has_two = |input: &Tensor| !input.shape().is_empty() && input.rows() >= 2;
    let two = || inputs.iter().map(|input| input.part(0, 2)).collect();
    inputs.iter().all(has_two).then(two)
}

/// True if two rows have the same results together and alone; `None` when the model does not take them.
fn alike(runtime: &dyn ModelRuntime, pair: &[Tensor]) -> Option<bool> {
    let alone = |row: usize| {
        let row: Vec<Tensor> = pair.iter().map(|input| input.part(row, row + 1)).collect();
        runtime.run(&row).ok()
    };
    let together = runtime.run(pair).ok()?;
    let (first, second) = (alone(0)?, alone(1)?);
    let mut rows = first.into_iter().zip(second);
    let one_by_one: Option<Vec<Tensor>> = rows.try_fold(Vec::new(), |mut whole, (mut first, second)| {
        first.append(second).ok()?;
        whole.push(first);
        Some(whole)
    });
    let Some(one_by_one) = one_by_one else {
        return Some(false);
    };
    let mut outputs = together.iter().zip(&one_by_one);
    Some(together.len() == one_by_one.len() && outputs.all(|(one, other)| is_close(one, other)))
}

fn is_close(one: &Tensor, other: &Tensor) -> bool {
    if one.shape() != other.shape() {
        return false;
    }
    match (one.data(), other.data()) {
        (Data::Fp32(one), Data::Fp32(other)) => are_close(one, other),
        (Data::Fp64(one), Data::Fp64(other)) => are_close(one, other),
        (one, other) => one == other,
    }
}

fn are_close<T: Copy + Into<f64>>(one: &[T], other: &[T]) -> bool {
    let magnitudes = one.iter().map(|value| (*value).into().abs());
    let largest = magnitudes.filter(|value| value.is_finite()).fold(0.0, f64::max);
    let close = |one: f64, other: f64| {
        one == other || (one.is_nan() && other.is_nan()) || (one - other).abs() <= TOLERANCE * largest
    };
    let mut pairs = one.iter().zip(other);
    pairs.all(|(one, other)| close((*one).into(), (*other).into()))
}

/// Two different rows of what the model takes.
fn make_up(signature: &Signature, length: usize) -> Option<Vec<Tensor>> {
    let rows = signature.inputs.iter().find_map(|spec| match spec.shape.first() {
        Some(Dim::Free(Some(name))) => Some(name),
        _ => None,
    });
    let make_up = |spec: &TensorSpec| {
        let length = |(at, dim): (usize, &Dim)| match dim {
            Dim::Fixed(fixed) => *fixed,
            Dim::Free(name) if at == 0 || (name.is_some() && name.as_ref() == rows) => 2,
            Dim::Free(_) => length,
        };
        values(spec.data_type, spec.shape.iter().enumerate().map(length).collect())
    };
    signature.inputs.iter().map(make_up).collect()
}

/// Numbers that differ, between neighbours and between the rows at each place, and are small: they may be indices.
fn values(data_type: DataType, shape: Vec<usize>) -> Option<Tensor> {
    fn all<T: Element>(length: usize, count: usize, value: impl Fn(usize, usize) -> T) -> Data {
        let place = |at: usize| (at / length, at % length);
        let values = (0..count).map(place).map(|(row, column)| value(row, column));
        T::wrap(values.collect())
    }
    let bit = |row: usize, column: usize| (column % 3 == 1) != (row % 2 == 1);
    // The rows are half of a prime apart.
    let number = |row: usize, column: usize| ((column * 7919 + row * 498) % 997) as f32 / 498.0 - 1.0;
    let count = element_count(&shape).ok().filter(|count| *count <= MOST_ELEMENTS)?;
    let length = (count / shape.first().copied().unwrap_or(1).max(1)).max(1);
    let data = match data_type {
        DataType::Bool => all(length, count, bit),
        DataType::Uint8 => all(length, count, |row, column| u8::from(bit(row, column))),
        DataType::Uint16 => all(length, count, |row, column| u16::from(bit(row, column))),
        DataType::Uint32 => all(length, count, |row, column| u32::from(bit(row, column))),
        DataType::Uint64 => all(length, count, |row, column| u64::from(bit(row, column))),
        DataType::Int8 => all(length, count, |row, column| i8::from(bit(row, column))),
        DataType::Int16 => all(length, count, |row, column| i16::from(bit(row, column))),
        DataType::Int32 => all(length, count, |row, column| i32::from(bit(row, column))),
        DataType::Int64 => all(length, count, |row, column| i64::from(bit(row, column))),
        DataType::Fp32 => all(length, count, number),
        DataType::Fp64 => all(length, count, |row, column| f64::from(number(row, column))),
        DataType::Bytes => all(length, count, |row, column| {
            Bytes::from_static(if bit(row, column) { b"b" } else { b"a" })
        }),
    };
    Tensor::new(shape, data).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::{Cost, RuntimeError};

    /// Gives back a function of its input, which has so many columns.
    #[derive(Debug)]
    struct Model {
        signature: Signature,
        function: fn(&[f32], usize) -> Option<Vec<f32>>,
    }

    fn model(columns: Dim, function: fn(&[f32], usize) -> Option<Vec<f32>>) -> Model {
        let rows = || Dim::Free(Some("rows".to_owned()));
        Model {
            signature: Signature {
                inputs: vec![TensorSpec::new("x", DataType::Fp32, vec![rows(), columns.clone()])],
                outputs: vec![TensorSpec::new("y", DataType::Fp32, vec![rows(), columns])],
            },
            function,
        }
    }

    impl ModelRuntime for Model {
        fn signature(&self) -> &Signature {
            &self.signature
        }

        fn cost(&self) -> Cost {
            Cost::Compute
        }

        fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
            let (input, shape) = (&inputs[0], inputs[0].shape().to_vec());
            let values = input.values::<f32>().expect("by the signature");
            let refused = || RuntimeError::Refused {
                problem: "not these".to_owned(),
            };
            let output = (self.function)(values, shape[1]).ok_or_else(refused)?;
            Ok(vec![Tensor::of(shape, output).expect("the same shape")])
        }
    }

    fn twice(values: &[f32], _columns: usize) -> Option<Vec<f32>> {
        Some(values.iter().map(|value| value * 2.0).collect())
    }

    fn less_the_mean(values: &[f32], _columns: usize) -> Option<Vec<f32>> {
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        Some(values.iter().map(|value| value - mean).collect())
    }

    fn less_the_mean_of_columns(values: &[f32], columns: usize) -> Option<Vec<f32>> {
        let rows = values.len() / columns;
        let mean = |column: usize| values.iter().skip(column).step_by(columns).sum::<f32>() / rows as f32;
        let less = |(at, value): (usize, &f32)| value - mean(at % columns);
        Some(values.iter().enumerate().map(less).collect())
    }

    #[test]
    fn rows_that_have_nothing_to_do_with_each_other_are_seen_to() {
        assert!(probe_row_independence(&model(Dim::Fixed(4), twice), &[]));
        assert!(probe_row_independence(&model(Dim::Free(None), twice), &[]));
        assert!(!probe_row_independence(&model(Dim::Fixed(1), less_the_mean), &[]));
    }

    #[test]
    fn made_up_rows_differ_at_every_place() {
        for data_type in DataType::ALL {
            for length in (1..=40).chain([997, 998, 999, 1000, 1001, 1994]) {
                let pair = values(data_type, vec![2, length]).expect("is made");
                let flat = pair.reshape(vec![2 * length]).expect("as many");
                for column in 0..length {
                    let below = column + length;
                    let (one, other) = (flat.part(column, column + 1), flat.part(below, below + 1));
                    assert_ne!(one, other, "{data_type} {length} {column}");
                }
            }
        }
    }

    #[test]
    fn a_long_row_does_not_hide_what_its_company_does() {
        for columns in [3, 999, 1000, 1001] {
            assert!(
                !probe_row_independence(&model(Dim::Fixed(columns), less_the_mean_of_columns), &[]),
                "{columns}"
            );
        }
    }

    #[test]
    fn columns_may_have_to_do_with_each_other() {
        let sums = |values: &[f32], columns: usize| {
            let sum = |row: &[f32]| vec![row.iter().sum(); row.len()];
            Some(values.chunks(columns).flat_map(sum).collect())
        };
        assert!(probe_row_independence(&model(Dim::Fixed(3), sums), &[]));
    }

    #[test]
    fn a_model_that_takes_only_certain_lengths_gets_one_of_them() {
        let whole = |values: &[f32], columns: usize| (columns >= 16).then(|| values.to_vec());
        assert!(probe_row_independence(&model(Dim::Free(None), whole), &[]));
    }

    #[test]
    fn what_no_made_up_value_shows_a_sample_does() {
        let only_whole = |values: &[f32], _columns: usize| {
            let fits = values.iter().all(|value| *value > 10.0);
            fits.then(|| values.to_vec())
        };
        let demanding = model(Dim::Fixed(1), only_whole);
        assert!(!probe_row_independence(&demanding, &[]), "nothing was seen");
        let sample = |values: &[f32]| vec![Tensor::of(vec![values.len(), 1], values.to_vec()).expect("a tensor")];
        assert!(probe_row_independence(&demanding, &[sample(&[11.0, 12.0, 13.0])]));
        assert!(
            !probe_row_independence(&demanding, &[sample(&[11.0])]),
            "one row shows nothing"
        );
        let centred = model(Dim::Fixed(1), less_the_mean);
        assert!(
            !probe_row_independence(&centred, &[sample(&[1.0, 1.0]), sample(&[1.0, 2.0])]),
            "every sample counts"
        );
    }

    #[test]
    fn a_fixed_number_of_rows_is_never_cut() {
        let mut fixed = model(Dim::Fixed(1), twice);
        fixed.signature.inputs[0].shape[0] = Dim::Fixed(2);
        assert!(!probe_row_independence(&fixed, &[]));
    }
}
