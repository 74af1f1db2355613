//! The body of `:predict`: rows under `instances`, or columns under `inputs`.

use bytes::Bytes;
use model_runtime::tensor::{Data, Tensor};
use model_runtime::{Signature, TensorSpec};

use super::super::json::scanner::JsonKind;
use super::super::json::tensor_reader::{Shape, TensorReader, shorten};
use super::document::{SIGNATURE_NAME, check_signature_name, open};
use super::error::Error;

const INSTANCES: &str = "instances";
const INPUTS: &str = "inputs";

/// How a request has its tensors, and its answer too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `instances`: a list of rows, each with a value for every input.
    Row,
    /// `inputs`: a tensor for every input.
    Column,
}

#[derive(Debug, PartialEq)]
pub struct PredictRequest {
    pub form: Form,
    /// In the order of the signature, which they need not fit otherwise.
    pub inputs: Vec<Tensor>,
}

/// Reads a body whose elements take at most `most_bytes` in memory. What follows the object is ignored.
pub fn parse_predict(body: &Bytes, signature: &Signature, most_bytes: usize) -> Result<PredictRequest, Error> {
    let mut reader = open(body, most_bytes)?;
    let mut request = None;
    let mut member = reader.scanner.open_object()?;
    while let Some(name) = member {
        let form = match name.as_ref() {
            INSTANCES => Some(Form::Row),
            INPUTS => Some(Form::Column),
            _ => None,
        };
        match form {
            Some(_) if request.is_some() => {
                let problem =
                    format!("Not formatted correctly expecting only one of '{INPUTS}' or '{INSTANCES}' keys to exist ");
                return Err(misformed(body, &problem));
            }
            Some(form) => {
                let inputs = match form {
                    Form::Row => rows(&mut reader, body, signature)?,
                    Form::Column => columns(&mut reader, signature)?,
                };
                request = Some(PredictRequest { form, inputs });
            }
            None if name == SIGNATURE_NAME => check_signature_name(&mut reader)?,
            None => {
                reader.scanner.skip()?;
            }
        }
        member = reader.scanner.next_member()?;
    }
    request.ok_or_else(|| Error::argument(format!("Missing '{INPUTS}' or '{INSTANCES}' key")))
}

pub(super) fn misformed(body: &[u8], problem: &str) -> Error {
    Error::argument(format!(
        "JSON Value: {} {problem}",
        shorten(&String::from_utf8_lossy(body))
    ))
}

/// One input while the rows are read.
struct Column<'s> {
    spec: &'s TensorSpec,
    data: Data,
    rows: usize,
    /// Shape of every row.
    shape: Option<Shape>,
}

impl<'s> Column<'s> {
    fn new(spec: &'s TensorSpec) -> Self {
        Self {
            spec,
            data: Data::zeros(spec.data_type, 0),
            rows: 0,
            shape: None,
        }
    }

    fn add(&mut self, reader: &mut TensorReader<'_>) -> Result<(), Error> {
        let shape = reader.value(&mut self.data)?;
        self.rows += 1;
        match self.shape.replace(shape) {
            Some(before) if before != shape => {
                Err(Error::argument(format!("Expecting shape {before} but got: {shape}")))
            }
            _ => Ok(()),
        }
    }

    fn finish(self) -> Result<Tensor, Error> {
        let mut shape = vec![self.rows];
        shape.extend(self.shape.unwrap_or_default().lengths());
        tensor(shape, self.data)
    }
}

pub(super) fn tensor(shape: Vec<usize>, data: Data) -> Result<Tensor, Error> {
    Tensor::new(shape, data).map_err(|error| Error::argument(error.to_string()))
}

fn rows(reader: &mut TensorReader<'_>, body: &[u8], signature: &Signature) -> Result<Vec<Tensor>, Error> {
    if reader.scanner.peek()? != JsonKind::List {
        return Err(misformed(body, &format!("Expecting '{INSTANCES}' to be an list/array")));
    }
    if !reader.scanner.open_list()? {
        return Err(misformed(body, &format!("No values in '{INSTANCES}' array")));
    }
    let mut columns: Vec<Column<'_>> = signature.inputs.iter().map(Column::new).collect();
    let are_named = reader.is_named()?;
    if !are_named && columns.len() > 1 {
        return Err(Error::argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per \
             tensorinfo_map",
        ));
    }
    let mut row = 0;
    let mut more = true;
    while more {
        match columns.as_mut_slice() {
            [column] if !are_named => plain_row(reader, column, row)?,
            columns => named_row(reader, columns, row)?,
        }
        row += 1;
        more = reader.scanner.next_element()?;
    }
    columns.into_iter().map(Column::finish).collect()
}

fn plain_row(reader: &mut TensorReader<'_>, column: &mut Column<'_>, row: usize) -> Result<(), Error> {
    if reader.is_named()? {
        return Err(Error::argument(format!(
            "Expecting value/list but got object at item {row} of input list"
        )));
    }
    let added = column.add(reader);
    added.map_err(|error| error.within(&format!("Failed to process element: {row} of '{INSTANCES}' list.")))
}

fn named_row(reader: &mut TensorReader<'_>, columns: &mut [Column<'_>], row: usize) -> Result<(), Error> {
    if !reader.is_named()? {
        return Err(Error::argument(format!(
            "Expecting object but got list at item {row} of input list"
        )));
    }
    let mut object = reader.scanner;
    let mut given = 0;
    let mut member = reader.scanner.open_object()?;
    while let Some(name) = member {
        let is_it = |column: &Column<'_>| column.spec.name == name;
        // Members mostly come in the signature's order.
        let found = match columns.get(given).is_some_and(is_it) {
            true => Some(given),
            false => columns.iter().position(is_it),
        };
        let added = match found.map(|place| &mut columns[place]) {
            None => Err(unknown_input(&name)),
            Some(column) if column.rows > row => Err(given_twice(&name)),
            Some(column) => column.add(reader),
        };
        added.map_err(|error| {
            let name = shorten(&name);
            error.within(&format!(
                "Failed to process element: {row} key: {name} of '{INSTANCES}' list."
            ))
        })?;
        given += 1;
        member = reader.scanner.next_member()?;
    }
    if given == columns.len() {
        return Ok(());
    }
    let names: Vec<&str> = columns.iter().map(|column| column.spec.name.as_str()).collect();
    Err(Error::argument(format!(
        "Failed to process element: {row} of '{INSTANCES}' list. JSON object: {} keys must be equal to: {}",
        shorten(object.skip()?),
        names.join(",")
    )))
}

pub(super) fn unknown_input(name: &str) -> Error {
    let name = shorten(name);
    Error::argument(format!("JSON object: does not have named input: {name}"))
}

pub(super) fn given_twice(name: &str) -> Error {
    let name = shorten(name);
    Error::argument(format!("JSON object: {name} is given twice"))
}

fn columns(reader: &mut TensorReader<'_>, signature: &Signature) -> Result<Vec<Tensor>, Error> {
    if !reader.is_named()? {
        let [input] = signature.inputs.as_slice() else {
            return Err(Error::argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per \
                 tensorinfo_map",
            ));
        };
        return Ok(vec![whole(reader, input)?]);
    }
    let mut inputs: Vec<Option<Tensor>> = vec![None; signature.inputs.len()];
    let mut member = reader.scanner.open_object()?;
    while let Some(name) = member {
        let place = signature.inputs.iter().position(|spec| spec.name == name);
        let place = place.ok_or_else(|| unknown_input(&name))?;
        if inputs[place].is_some() {
            return Err(given_twice(&name));
        }
        let read = whole(reader, &signature.inputs[place]);
        inputs[place] = Some(read.map_err(|error| error.within(&format!("Failed to process input: {name}.")))?);
        member = reader.scanner.next_member()?;
    }
    let named = inputs.into_iter().zip(&signature.inputs);
    let there = named.map(|(input, spec)| {
        let problem = || Error::argument(format!("Missing named input: {} in '{INPUTS}' object.", spec.name));
        input.ok_or_else(problem)
    });
    there.collect()
}

fn whole(reader: &mut TensorReader<'_>, spec: &TensorSpec) -> Result<Tensor, Error> {
    let mut data = Data::zeros(spec.data_type, 0);
    let shape = reader.value(&mut data)?;
    tensor(shape.lengths().to_vec(), data)
}
