//! Typed values with a shape, valid by construction: whoever holds a tensor need not check it again.
//!
//! Nothing here turns one type into another: what does so says how, next to the reason for it.

mod data;
mod data_type;

pub use data::{Data, Element};
pub use data_type::DataType;

/// More dimensions than any model here takes; it also bounds how deep a request may nest.
pub const MAX_RANK: usize = 8;

/// Limit of the 32-bit counts in other runtimes. Memory ends before that.
pub const MAX_ELEMENTS: usize = i32::MAX as usize;

/// Row-major elements. The first dimension counts rows; a tensor without dimensions is one element.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    #[error("{rank} dimensions are more than the limit of {MAX_RANK}")]
    Rank { rank: usize },
    #[error("the shape {shape:?} has more than the limit of {MAX_ELEMENTS} elements")]
    TooLarge { shape: Vec<usize> },
    #[error("the shape {shape:?} has {expected} elements, but there are {found}")]
    Count {
        shape: Vec<usize>,
        expected: usize,
        found: usize,
    },
    #[error("parts of {one} and of {other} cannot be joined into one tensor")]
    Parts { one: String, other: String },
}

/// How many elements a tensor of this shape has.
pub fn element_count(shape: &[usize]) -> Result<usize, TensorError> {
    let rank = shape.len();
    if rank > MAX_RANK {
        return Err(TensorError::Rank { rank });
    }
    // A zero anywhere makes the product zero, but the other dimensions must still be ones that can be counted.
    let bounded = |product: usize, length: &usize| product.checked_mul((*length).max(1));
    match shape.iter().try_fold(1_usize, bounded) {
        Some(count) if count <= MAX_ELEMENTS => Ok(if shape.contains(&0) { 0 } else { count }),
        _ => Err(TensorError::TooLarge { shape: shape.to_vec() }),
    }
}

impl Tensor {
    pub fn new(shape: Vec<usize>, data: Data) -> Result<Self, TensorError> {
        let expected = element_count(&shape)?;
        let found = data.len();
        if expected == found {
            Ok(Self { shape, data })
        } else {
            Err(TensorError::Count { shape, expected, found })
        }
    }

    pub fn of<T: Element>(shape: Vec<usize>, values: Vec<T>) -> Result<Self, TensorError> {
        Self::new(shape, T::wrap(values))
    }

    pub fn zeros(data_type: DataType, shape: Vec<usize>) -> Result<Self, TensorError> {
        let count = element_count(&shape)?;
        Self::new(shape, Data::zeros(data_type, count))
    }

    /// All dimensions, the number of rows first.
    #[inline]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    #[inline]
    pub fn data_type(&self) -> DataType {
        self.data.data_type()
    }

    #[inline]
    pub fn data(&self) -> &Data {
        &self.data
    }

    #[inline]
    pub fn into_data(self) -> Data {
        self.data
    }

    #[inline]
    pub fn into_parts(self) -> (Vec<usize>, Data) {
        (self.shape, self.data)
    }

    /// The elements, or `None` when they are of another type.
    pub fn values<T: Element>(&self) -> Option<&[T]> {
        T::view(&self.data)
    }

    /// The same elements in another shape.
    pub fn reshape(self, shape: Vec<usize>) -> Result<Self, TensorError> {
        Self::new(shape, self.data)
    }

    /// The length of the first dimension; one for a tensor without dimensions.
    #[inline]
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// How many elements one row has; none when there are no rows.
    #[inline]
    pub fn row_length(&self) -> usize {
        self.data.len().checked_div(self.rows()).unwrap_or(0)
    }

    /// A copy of the rows in `first..end`, as far as there are so many. A tensor without dimensions is copied whole.
    pub fn part(&self, first: usize, end: usize) -> Self {
        let Some((rows, row_shape)) = self.shape.split_first() else {
            return self.clone();
        };
        let end = end.min(*rows);
        let first = first.min(end);
        let length = self.row_length();
        let mut shape = vec![end - first];
        shape.extend(row_shape);
        Self {
            shape,
            data: self.data.part(first * length..end * length),
        }
    }

    /// Puts the rows of `more` behind these.
    pub fn append(&mut self, more: Self) -> Result<(), TensorError> {
        let fits = !self.shape.is_empty()
            && self.shape.get(1..) == more.shape.get(1..)
            && self.data_type() == more.data_type();
        if !fits {
            return Err(TensorError::Parts {
                one: self.describe(),
                other: more.describe(),
            });
        }
        let rows = more.rows();
        self.data.append(more.data);
        self.shape[0] += rows;
        element_count(&self.shape).map(|_count| ())
    }

    /// `FP32[3,4]`, for messages.
    pub fn describe(&self) -> String {
        let lengths: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        format!("{}[{}]", self.data_type(), lengths.join(","))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(shape: &[usize], count: usize) -> Result<Tensor, TensorError> {
        Tensor::of(shape.to_vec(), vec![1.0_f32; count])
    }

    #[test]
    fn a_tensor_that_does_not_hold_together_cannot_be_made() {
        assert!(numbers(&[2, 2], 4).is_ok());
        assert!(numbers(&[], 1).is_ok(), "one element needs no dimension");
        assert!(numbers(&[0, 3], 0).is_ok());
        assert!(matches!(
            numbers(&[2, 2], 3),
            Err(TensorError::Count {
                expected: 4,
                found: 3,
                ..
            })
        ));
        assert!(matches!(numbers(&[], 0), Err(TensorError::Count { .. })));
        for huge in [&[usize::MAX, 2][..], &[0, usize::MAX, 2], &[MAX_ELEMENTS + 1]] {
            assert!(
                matches!(numbers(huge, 2), Err(TensorError::TooLarge { .. })),
                "{huge:?}"
            );
        }
        assert_eq!(numbers(&[1; MAX_RANK + 1], 1), Err(TensorError::Rank { rank: 9 }));
    }

    #[test]
    fn every_type_has_a_name_in_both_protocols_and_keeps_its_values() {
        for data_type in DataType::ALL {
            assert_eq!(DataType::parse(data_type.name()), Some(data_type));
            assert!(data_type.tensorflow_name().starts_with("DT_"));
            let zeros = Tensor::zeros(data_type, vec![2, 3]).expect("a tensor");
            assert_eq!((zeros.data_type(), zeros.data().len()), (data_type, 6));
        }
        assert_eq!(DataType::parse("FP16"), None);
        let tensor = Tensor::of(vec![1], vec![u64::MAX]).expect("a tensor");
        assert_eq!(tensor.values::<u64>(), Some(&[u64::MAX][..]));
        assert_eq!(tensor.values::<i64>(), None);
    }

    #[test]
    fn rows_of_another_kind_are_not_put_together() {
        let mut tensor = numbers(&[2, 3], 6).expect("a tensor");
        for other in [
            numbers(&[2, 2], 4),
            numbers(&[], 1),
            Tensor::of(vec![2, 3], vec![1_i64; 6]),
        ] {
            assert!(tensor.append(other.expect("a tensor")).is_err());
        }
        assert_eq!(Ok(tensor), numbers(&[2, 3], 6));
    }

    proptest! {
        #[test]
        fn parts_put_together_are_the_tensor(rows in 1_usize..20, length in 0_usize..4, step in 1_usize..7) {
            let count = u16::try_from(rows * length).expect("small");
            let tensor = Tensor::of(vec![rows, length], (0..count).collect()).expect("a tensor");
            let mut whole = tensor.part(0, step);
            for first in (step..rows).step_by(step) {
                whole.append(tensor.part(first, first + step)).expect("one kind");
            }
            prop_assert_eq!(whole, tensor);
        }
    }
}
