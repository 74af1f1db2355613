//! Numbers with a shape, valid by construction: whoever holds a tensor need not check it again.

/// More dimensions than any model here takes; it also bounds how deep a request may nest.
pub const MAX_RANK: usize = 8;

/// A batch of rows: the first dimension counts them, the others are the shape of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    /// Row-major, finite.
    values: Vec<f64>,
}

impl Tensor {
    /// `None` when the shape does not count the values, a dimension is zero or a value is not finite.
    pub fn new(shape: Vec<usize>, values: Vec<f64>) -> Option<Self> {
        let count = shape
            .iter()
            .try_fold(1_usize, |product, length| product.checked_mul(*length));
        let fits = (1..=MAX_RANK).contains(&shape.len()) && count == Some(values.len()) && !values.is_empty();
        let finite = values.iter().all(|value| value.is_finite());
        (fits && finite).then_some(Self { shape, values })
    }

    /// All dimensions, the number of rows first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn values(&self) -> &[f64] {
        &self.values
    }

    pub fn into_values(self) -> Vec<f64> {
        self.values
    }

    pub fn rows(&self) -> usize {
        self.shape[0]
    }

    pub fn row_shape(&self) -> &[usize] {
        &self.shape[1..]
    }

    /// The rows in order, at most `most_rows` at a time.
    pub fn batches(&self, most_rows: usize) -> impl Iterator<Item = Batch<'_>> {
        let row_length = self.values.len() / self.rows();
        let batches = self.values.chunks(row_length * most_rows.max(1));
        batches.map(move |values| Batch { row_length, values })
    }
}

/// Some rows of a tensor: what one run of a model sees.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    row_length: usize,
    values: &'a [f64],
}

impl<'a> Batch<'a> {
    pub fn values(&self) -> &'a [f64] {
        self.values
    }

    pub fn rows(&self) -> impl Iterator<Item = &'a [f64]> {
        self.values.chunks(self.row_length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_that_does_not_hold_together_cannot_be_made() {
        assert!(Tensor::new(vec![2, 2], vec![1.0; 4]).is_some());
        assert!(Tensor::new(vec![2, 2], vec![1.0; 3]).is_none());
        assert!(Tensor::new(vec![], vec![1.0]).is_none());
        assert!(Tensor::new(vec![0], vec![]).is_none());
        assert!(Tensor::new(vec![usize::MAX, 2], vec![1.0; 2]).is_none());
        assert!(Tensor::new(vec![1; MAX_RANK + 1], vec![1.0]).is_none());
        assert!(Tensor::new(vec![1], vec![f64::NAN]).is_none());
    }

    #[test]
    fn batches_are_whole_rows_and_together_they_are_the_tensor() {
        let tensor = Tensor::new(vec![5, 2], (0..10).map(f64::from).collect()).expect("a tensor");
        let batches: Vec<Batch<'_>> = tensor.batches(2).collect();
        let rows: Vec<usize> = batches.iter().map(|batch| batch.rows().count()).collect();
        assert_eq!(rows, [2, 2, 1]);
        let values: Vec<f64> = batches.iter().flat_map(|batch| batch.values().to_vec()).collect();
        assert_eq!(values, tensor.values());
    }
}
