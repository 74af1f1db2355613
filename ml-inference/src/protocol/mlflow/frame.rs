//! A table's columns on their way into a model's inputs.

use std::collections::BTreeSet;

use model_runtime::tensor::{Data, Tensor};
use model_runtime::{Dim, Signature, TensorSpec};

use super::super::json::tensor_reader::{MemoryBudget, ReadError, Shape, shorten};
use super::error::Error;

/// What a name costs beside its own bytes: it is kept, and looked for among the others.
const NAME_COST: usize = 64;

/// The names of a table's columns, as a body gives them.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: Vec<String>,
    known: BTreeSet<String>,
}

impl Names {
    /// Adds the next one. `field` is where it is.
    pub(super) fn add(
        &mut self,
        name: &str,
        budget: &mut MemoryBudget,
        field: impl Fn() -> String,
    ) -> Result<(), Error> {
        let cost = budget.take(1, NAME_COST.saturating_add(name.len().saturating_mul(2)));
        cost.map_err(|error| Error::of_reading(field(), error))?;
        if !self.known.insert(name.to_owned()) {
            let problem = format!("the column `{}` is given twice", shorten(name));
            return Err(Error::member(field(), problem));
        }
        self.names.push(name.to_owned());
        Ok(())
    }

    pub(super) fn count(&self) -> usize {
        self.names.len()
    }

    pub(super) fn get(&self, column: usize) -> &str {
        self.names.get(column).map_or("", String::as_str)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }
}

/// Why a value is not taken.
pub(super) enum CellError {
    Read(ReadError),
    Problem(String),
}

impl From<ReadError> for CellError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl CellError {
    pub(super) fn at(self, field: impl Into<String>) -> Error {
        match self {
            Self::Read(error) => Error::of_reading(field, error),
            Self::Problem(problem) => Error::member(field, problem),
        }
    }
}

/// One input of the model while rows are read.
struct Input<'s> {
    spec: &'s TensorSpec,
    data: Data,
    /// Shape of each value.
    value: Option<Shape>,
}

/// A table that is read a value at a time, a row after the other.
pub(super) struct Frame<'s> {
    inputs: Vec<Input<'s>>,
    /// The input of each column.
    places: Vec<usize>,
    rows: usize,
}

impl<'s> Frame<'s> {
    /// For a table of these columns, which stand in the body at `field`.
    pub(super) fn new(names: &Names, signature: &'s Signature, field: &str) -> Result<Self, Error> {
        let places = match signature.inputs.len() {
            1 if names.count() > 0 => vec![0; names.count()],
            _ => places(names, signature, field)?,
        };
        let input = |spec| Input {
            spec,
            data: Data::zeros(spec.data_type, 0),
            value: None,
        };
        Ok(Self {
            inputs: signature.inputs.iter().map(input).collect(),
            places,
            rows: 0,
        })
    }

    pub(super) fn columns(&self) -> usize {
        self.places.len()
    }

    /// Adds the next value of a column, which `read` puts behind those before.
    pub(super) fn add(
        &mut self,
        column: usize,
        read: impl FnOnce(&mut Data) -> Result<Shape, CellError>,
    ) -> Result<(), CellError> {
        let makes_rows = self.makes_rows();
        let input = &mut self.inputs[self.places[column]];
        let shape = read(&mut input.data)?;
        if makes_rows && !shape.lengths().is_empty() {
            return Err(CellError::Problem("expected a value, found a list".to_owned()));
        }
        match input.value.replace(shape) {
            Some(before) if before != shape => Err(CellError::Problem(format!(
                "expected a value of shape {before} as before, found one of {shape}"
            ))),
            _ => Ok(()),
        }
    }

    pub(super) fn end_row(&mut self) {
        self.rows += 1;
    }

    /// The inputs, in the signature's order.
    pub(super) fn finish(self) -> Result<Vec<Tensor>, Error> {
        let is_row = self.makes_rows();
        let (rows, columns) = (self.rows, self.places.len());
        let tensors = self.inputs.into_iter().map(|input| {
            let mut shape = vec![rows];
            match is_row {
                true => shape.push(columns),
                false => shape.extend(input.value.unwrap_or_default().lengths()),
            }
            fit(input.spec, shape, input.data)
        });
        tensors.collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// True if the columns are the values of a row of the one input.
    fn makes_rows(&self) -> bool {
        self.inputs.len() == 1 && self.places.len() > 1
    }
}

fn places(names: &Names, signature: &Signature, field: &str) -> Result<Vec<usize>, Error> {
    let known = || {
        let names: Vec<&str> = signature.inputs.iter().map(|spec| spec.name.as_str()).collect();
        names.join(", ")
    };
    let mut places = Vec::with_capacity(names.count());
    for name in names.iter() {
        let place = signature.inputs.iter().position(|spec| spec.name == name);
        places.push(place.ok_or_else(|| {
            let problem = format!("the model has no input `{}`; it has {}", shorten(name), known());
            Error::member(field, problem)
        })?);
    }
    match signature
        .inputs
        .iter()
        .enumerate()
        .find(|(place, _)| !places.contains(place))
    {
        None => Ok(places),
        Some((_, missing)) => {
            let problem = format!("the column `{}` is missing; the model has {}", missing.name, known());
            Err(Error::member(field, problem))
        }
    }
}

/// A tensor of a table's values. A table has no dimension of one, which models mostly have: `[N]` is `[N,1]` too, and the other
/// way round.
pub(super) fn fit(spec: &TensorSpec, mut shape: Vec<usize>, data: Data) -> Result<Tensor, Error> {
    let may_be_one = |dim: &Dim| matches!(dim, Dim::Fixed(1) | Dim::Free(_));
    if !spec.any_shape {
        match (shape.as_slice(), spec.shape.as_slice()) {
            ([_rows], [_, rest @ ..]) if rest.len() == 1 || rest.iter().all(may_be_one) => {
                shape.resize(spec.shape.len(), 1)
            }
            ([_rows, 1], [_]) => shape.truncate(1),
            _ => {}
        }
    }
    Tensor::new(shape, data).map_err(|error| Error::member(spec.name.clone(), error.to_string()))
}
