//! A model's signature: names, types and shapes of its inputs and outputs, and the check of tensors against it.

use std::fmt;

use crate::tensor::{DataType, Tensor, TensorError};

/// A model whose one row is larger is not one that this server is for.
const MOST_ROW_ELEMENTS: usize = 1 << 24;

/// One dimension of a model's input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    Fixed(usize),
    /// Any length. Two dimensions with the same name have the same length.
    Free(Option<String>),
}

impl Dim {
    /// The length, with -1 for any, as the protocols write it.
    pub fn length(&self) -> i64 {
        match self {
            Self::Fixed(length) => i64::try_from(*length).unwrap_or(i64::MAX),
            Self::Free(_) => -1,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    pub name: String,
    pub data_type: DataType,
    /// Types that an input may have besides; outputs then have the input's.
    pub also: Vec<DataType>,
    pub shape: Vec<Dim>,
    /// True if other shapes than the declared one work too.
    pub any_shape: bool,
    /// Labels of an output's columns, where the model has them: a classifier's classes.
    pub labels: Vec<String>,
}

impl TensorSpec {
    pub fn new(name: impl Into<String>, data_type: DataType, shape: Vec<Dim>) -> Self {
        Self {
            name: name.into(),
            data_type,
            also: Vec::new(),
            shape,
            any_shape: false,
            labels: Vec::new(),
        }
    }

    pub fn takes(&self, data_type: DataType) -> bool {
        self.data_type == data_type || self.also.contains(&data_type)
    }

    /// True if nothing is known of the shape, not even the number of dimensions.
    pub fn has_unknown_rank(&self) -> bool {
        self.any_shape && self.shape.is_empty()
    }

    fn rows_are_free(&self) -> bool {
        self.any_shape || matches!(self.shape.first(), Some(Dim::Free(_)))
    }
}

/// `FP32[-1,4]`.
impl fmt::Display for TensorSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lengths: Vec<String> = self.shape.iter().map(|dim| dim.length().to_string()).collect();
        write!(formatter, "{}[{}]", self.data_type, lengths.join(","))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    pub inputs: Vec<TensorSpec>,
    pub outputs: Vec<TensorSpec>,
}

/// Mismatch of tensors and a signature. `input` is the one at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputMismatch {
    #[error("{input}: no such input; the model has {known}")]
    Unknown { input: String, known: String },
    #[error("{input}: missing; the model needs {expected}")]
    Missing { input: String, expected: String },
    #[error("{input}: given twice")]
    Twice { input: String },
    #[error("{input}: expected {expected}, found {found}")]
    Kind {
        input: String,
        expected: String,
        found: String,
    },
    #[error("{input}: the dimension `{dim}` has {found} entries, but {before} in an input before")]
    Dim {
        input: String,
        dim: String,
        found: usize,
        before: usize,
    },
}

impl InputMismatch {
    pub fn input(&self) -> &str {
        match self {
            Self::Unknown { input, .. }
            | Self::Missing { input, .. }
            | Self::Twice { input }
            | Self::Kind { input, .. }
            | Self::Dim { input, .. } => input,
        }
    }
}

impl Signature {
    /// Puts named tensors into the order of the inputs. Their types and shapes are [`Signature::check`]'s business.
    pub fn arrange(&self, named: Vec<(String, Tensor)>) -> Result<Vec<Tensor>, InputMismatch> {
        let mut places: Vec<Option<Tensor>> = vec![None; self.inputs.len()];
        for (input, tensor) in named {
            let Some(place) = self.inputs.iter().position(|spec| spec.name == input) else {
                let known = self.input_names();
                return Err(InputMismatch::Unknown { input, known });
            };
            if places[place].replace(tensor).is_some() {
                return Err(InputMismatch::Twice { input });
            }
        }
        let placed = places.into_iter().zip(&self.inputs);
        placed
            .map(|(tensor, spec)| tensor.ok_or_else(|| missing(spec)))
            .collect()
    }

    /// Checks `inputs`, in the signature's order, against the signature.
    pub fn check(&self, inputs: &[Tensor]) -> Result<(), InputMismatch> {
        if let Some(spec) = self.inputs.get(inputs.len()) {
            return Err(missing(spec));
        }
        if inputs.len() > self.inputs.len() {
            return Err(InputMismatch::Unknown {
                input: format!("input {}", self.inputs.len()),
                known: self.input_names(),
            });
        }
        let mut named: Vec<(&str, usize)> = Vec::new();
        for (spec, tensor) in self.inputs.iter().zip(inputs) {
            check_one(spec, tensor, &mut named)?;
        }
        Ok(())
    }

    /// True if every input and every output has a free number of rows, so that a request could be split into batches.
    pub fn has_free_rows(&self) -> bool {
        let all = self.inputs.iter().chain(&self.outputs);
        !self.inputs.is_empty() && all.into_iter().all(TensorSpec::rows_are_free)
    }

    /// Checks that one row is small enough to be made up, as the first run at load does.
    pub fn check_one_row(&self) -> Result<(), String> {
        let elements = |spec: &TensorSpec| {
            let lengths = spec.shape.iter().map(|dim| match dim {
                Dim::Fixed(length) => *length,
                Dim::Free(_) => 1,
            });
            lengths.fold(1_usize, usize::saturating_mul)
        };
        match self.inputs.iter().find(|spec| elements(spec) > MOST_ROW_ELEMENTS) {
            None => Ok(()),
            Some(spec) => Err(format!(
                "the input `{}` has more than {MOST_ROW_ELEMENTS} elements a row",
                spec.name
            )),
        }
    }

    /// Inputs of zeros with `length` in every free dimension, to warm a model up or to show it.
    pub fn zeros(&self, length: usize) -> Result<Vec<Tensor>, TensorError> {
        let zeros = |spec: &TensorSpec| {
            let lengths = spec.shape.iter().map(|dim| match dim {
                Dim::Fixed(fixed) => *fixed,
                Dim::Free(_) => length,
            });
            Tensor::zeros(spec.data_type, lengths.collect())
        };
        self.inputs.iter().map(zeros).collect()
    }

    fn input_names(&self) -> String {
        let names: Vec<&str> = self.inputs.iter().map(|spec| spec.name.as_str()).collect();
        names.join(", ")
    }
}

fn missing(spec: &TensorSpec) -> InputMismatch {
    InputMismatch::Missing {
        input: spec.name.clone(),
        expected: spec.to_string(),
    }
}

fn check_one<'a>(
    spec: &'a TensorSpec,
    tensor: &Tensor,
    named: &mut Vec<(&'a str, usize)>,
) -> Result<(), InputMismatch> {
    let mismatch = || InputMismatch::Kind {
        input: spec.name.clone(),
        expected: spec.to_string(),
        found: tensor.describe(),
    };
    if !spec.takes(tensor.data_type()) {
        return Err(mismatch());
    }
    if spec.any_shape {
        return Ok(());
    }
    if spec.shape.len() != tensor.shape().len() {
        return Err(mismatch());
    }
    for (dim, length) in spec.shape.iter().zip(tensor.shape()) {
        match dim {
            Dim::Fixed(fixed) if fixed != length => return Err(mismatch()),
            Dim::Fixed(_) | Dim::Free(None) => {}
            Dim::Free(Some(name)) => match named.iter().find(|(known, _)| known == name) {
                Some((_, before)) if before != length => {
                    return Err(InputMismatch::Dim {
                        input: spec.name.clone(),
                        dim: name.clone(),
                        found: *length,
                        before: *before,
                    });
                }
                Some(_) => {}
                None => named.push((name, *length)),
            },
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature() -> Signature {
        let rows = || Dim::Free(Some("rows".to_owned()));
        Signature {
            inputs: vec![
                TensorSpec::new("age", DataType::Int64, vec![rows(), Dim::Fixed(1)]),
                TensorSpec::new("income", DataType::Fp32, vec![rows(), Dim::Fixed(1)]),
            ],
            outputs: vec![TensorSpec::new("label", DataType::Bytes, vec![rows()])],
        }
    }

    fn ages(rows: usize) -> Tensor {
        Tensor::zeros(DataType::Int64, vec![rows, 1]).expect("a tensor")
    }

    fn incomes(shape: &[usize]) -> Tensor {
        Tensor::zeros(DataType::Fp32, shape.to_vec()).expect("a tensor")
    }

    #[test]
    fn what_fits_is_taken_and_put_in_order() {
        let signature = signature();
        let named = vec![("income".to_owned(), incomes(&[3, 1])), ("age".to_owned(), ages(3))];
        let inputs = signature.arrange(named).expect("both are there");
        assert_eq!(inputs, [ages(3), incomes(&[3, 1])]);
        assert_eq!(signature.check(&inputs), Ok(()));
        assert!(signature.has_free_rows());
        let zeros = signature.zeros(2).expect("small");
        assert_eq!(signature.check(&zeros), Ok(()));
    }

    #[test]
    fn what_does_not_fit_is_named_with_what_was_expected() {
        let signature = signature();
        let refusal = |inputs: &[Tensor]| signature.check(inputs).expect_err("does not fit").to_string();
        assert_eq!(refusal(&[ages(3)]), "income: missing; the model needs FP32[-1,1]");
        assert_eq!(
            refusal(&[ages(3), ages(3)]),
            "income: expected FP32[-1,1], found INT64[3,1]"
        );
        assert_eq!(
            refusal(&[ages(3), incomes(&[3, 2])]),
            "income: expected FP32[-1,1], found FP32[3,2]"
        );
        assert_eq!(
            refusal(&[ages(3), incomes(&[3])]),
            "income: expected FP32[-1,1], found FP32[3]"
        );
        assert_eq!(
            refusal(&[ages(3), incomes(&[2, 1])]),
            "income: the dimension `rows` has 2 entries, but 3 in an input before"
        );
        assert_eq!(
            refusal(&[ages(3), incomes(&[3, 1]), ages(3)]),
            "input 2: no such input; the model has age, income"
        );
        let arrange = |names: &[&str]| {
            let named = names.iter().map(|name| ((*name).to_owned(), ages(1))).collect();
            signature.arrange(named).expect_err("does not fit").to_string()
        };
        assert_eq!(arrange(&["agee"]), "agee: no such input; the model has age, income");
        assert_eq!(arrange(&["age", "age"]), "age: given twice");
        assert_eq!(arrange(&["income"]), "age: missing; the model needs INT64[-1,1]");
    }
}
