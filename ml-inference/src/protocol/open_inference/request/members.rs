//! The members of the JSON: all that it says, but for the elements.

use model_runtime::tensor::{DataType, MAX_RANK};
use model_runtime::{InputMismatch, Signature, TensorSpec};

use super::super::super::json::scanner::{JsonKind, Scanner};
use super::super::super::json::tensor_reader::shorten;
use super::super::error::Error;

/// Longer ids would only fill logs.
const LONGEST_ID: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requested {
    /// Index of the output in the model's signature.
    pub index: usize,
    /// True for bytes behind the JSON.
    pub is_binary: bool,
}

/// An input as the JSON describes it.
pub(super) struct Described<'b> {
    pub(super) name: String,
    pub(super) data_type: DataType,
    pub(super) shape: Vec<usize>,
    pub(super) elements: Elements<'b>,
}

/// Where the elements of an input are.
pub(super) enum Elements<'b> {
    /// In this text.
    Json(&'b str),
    /// In so many of the bytes behind the JSON, after those of the inputs before.
    Binary(usize),
}

/// The parameters that mean something here. All others are hints, which may be ignored.
#[derive(Default)]
struct Parameters {
    binary_data: Option<bool>,
    binary_data_output: Option<bool>,
    binary_data_size: Option<usize>,
}

/// All that the JSON says, but for the elements.
pub(super) struct Description<'b> {
    pub(super) id: Option<String>,
    pub(super) inputs: Vec<Described<'b>>,
    pub(super) outputs: Vec<Requested>,
}

pub(super) fn describe<'b>(text: &'b [u8], signature: &Signature) -> Result<Description<'b>, Error> {
    let mut scanner = Scanner::of_bytes(text)?;
    if scanner.is_at_end() {
        return Err(Error::member("inputs", "missing; the body is empty"));
    }
    let (mut id, mut parameters, mut inputs, mut outputs) = (None, None, None, None);
    let mut member = scanner.open_object()?;
    while let Some(name) = member {
        match name.as_ref() {
            "id" => once(&mut id, "id", |_| read_id(&mut scanner))?,
            "parameters" => once(&mut parameters, "parameters", |field| {
                read_parameters(&mut scanner, field)
            })?,
            "inputs" => once(&mut inputs, "inputs", |_| read_inputs(&mut scanner, signature))?,
            "outputs" => once(&mut outputs, "outputs", |_| read_outputs(&mut scanner, signature))?,
            _ => {
                scanner.skip()?;
            }
        }
        member = scanner.next_member()?;
    }
    if !scanner.is_at_end() {
        return Err(Error::member("inputs", "something follows the JSON object"));
    }
    let is_binary = parameters.unwrap_or_default().binary_data_output.unwrap_or(false);
    let outputs = match outputs {
        Some(asked) if !asked.is_empty() => {
            let requested = asked.into_iter().map(|(index, binary_data)| Requested {
                index,
                is_binary: binary_data.unwrap_or(is_binary),
            });
            requested.collect()
        }
        _ => all(signature, is_binary),
    };
    Ok(Description {
        id: id.flatten(),
        inputs: inputs.ok_or_else(|| Error::member("inputs", "missing"))?,
        outputs,
    })
}

/// Readers of JSON differ in which of two members counts, so there may only be one.
fn once<T>(slot: &mut Option<T>, field: &str, read: impl FnOnce(&str) -> Result<T, Error>) -> Result<(), Error> {
    if slot.is_some() {
        return Err(Error::member(field, "is given twice"));
    }
    *slot = Some(read(field)?);
    Ok(())
}

fn read_id(scanner: &mut Scanner<'_>) -> Result<Option<String>, Error> {
    match scanner.peek()? {
        JsonKind::Null => {
            scanner.skip()?;
            Ok(None)
        }
        JsonKind::Text => {
            let id = scanner.text()?;
            match id.len() <= LONGEST_ID {
                true => Ok(Some(id.into_owned())),
                false => Err(Error::member(
                    "id",
                    format!("longer than the limit of {LONGEST_ID} bytes"),
                )),
            }
        }
        _ => Err(expected(scanner, "id", "a string")),
    }
}

pub(in crate::protocol::open_inference) fn expected(scanner: &mut Scanner<'_>, field: &str, what: &str) -> Error {
    match scanner.skip() {
        Ok(found) => Error::member(field, format!("expected {what}, found {}", shorten(found))),
        Err(error) => Error::Json(error),
    }
}

/// Enters the list that is the member `field`.
fn open_list(scanner: &mut Scanner<'_>, field: &str) -> Result<bool, Error> {
    match scanner.peek()? {
        JsonKind::List => Ok(scanner.open_list()?),
        _ => Err(expected(scanner, field, "a list")),
    }
}

fn read_inputs<'b>(scanner: &mut Scanner<'b>, signature: &Signature) -> Result<Vec<Described<'b>>, Error> {
    let mut inputs: Vec<Described<'b>> = Vec::new();
    let mut more = open_list(scanner, "inputs")?;
    while more {
        let input = read_input(scanner, inputs.len())?;
        // Here already, so that there are never more of them than the model has.
        if !signature.inputs.iter().any(|spec| spec.name == input.name) {
            let known: Vec<&str> = names(&signature.inputs);
            return Err(InputMismatch::Unknown {
                input: shorten(&input.name),
                known: known.join(", "),
            }
            .into());
        }
        if inputs.iter().any(|before| before.name == input.name) {
            return Err(InputMismatch::Twice { input: input.name }.into());
        }
        inputs.push(input);
        more = scanner.next_element()?;
    }
    Ok(inputs)
}

fn names(specs: &[TensorSpec]) -> Vec<&str> {
    specs.iter().map(|spec| spec.name.as_str()).collect()
}

fn read_input<'b>(scanner: &mut Scanner<'b>, index: usize) -> Result<Described<'b>, Error> {
    let field = |member: &str| format!("inputs[{index}]{member}");
    if scanner.peek()? != JsonKind::Object {
        return Err(expected(scanner, &field(""), "an object"));
    }
    let (mut name, mut data_type, mut shape, mut data, mut parameters) = (None, None, None, None, None);
    let mut member = scanner.open_object()?;
    while let Some(key) = member {
        match key.as_ref() {
            "name" => once(&mut name, &field(".name"), |field| read_text(scanner, field))?,
            "datatype" => once(&mut data_type, &field(".datatype"), |field| {
                read_data_type(scanner, field)
            })?,
            "shape" => once(&mut shape, &field(".shape"), |field| read_shape(scanner, field))?,
            "parameters" => once(&mut parameters, &field(".parameters"), |field| {
                read_parameters(scanner, field)
            })?,
            // KServe's client writes null beside binary_data_size.
            "data" if scanner.peek()? == JsonKind::Null => {
                scanner.skip()?;
            }
            "data" => once(&mut data, &field(".data"), |field| skip_list(scanner, field))?,
            _ => {
                scanner.skip()?;
            }
        }
        member = scanner.next_member()?;
    }
    let missing = |member: &str| Error::member(field(member), "missing");
    let elements = match (data, parameters.unwrap_or_default().binary_data_size) {
        (Some(text), None) => Elements::Json(text),
        (None, Some(size)) => Elements::Binary(size),
        (None, None) => return Err(missing(".data")),
        (Some(_), Some(_)) => {
            return Err(Error::member(field(".data"), "cannot stand beside binary_data_size"));
        }
    };
    Ok(Described {
        name: name.ok_or_else(|| missing(".name"))?,
        data_type: data_type.ok_or_else(|| missing(".datatype"))?,
        shape: shape.ok_or_else(|| missing(".shape"))?,
        elements,
    })
}

/// The text of a list, which is read later.
fn skip_list<'b>(scanner: &mut Scanner<'b>, field: &str) -> Result<&'b str, Error> {
    match scanner.peek()? {
        JsonKind::List => Ok(scanner.skip()?),
        _ => Err(expected(scanner, field, "a list")),
    }
}

fn read_text(scanner: &mut Scanner<'_>, field: &str) -> Result<String, Error> {
    match scanner.peek()? {
        JsonKind::Text => Ok(scanner.text()?.into_owned()),
        _ => Err(expected(scanner, field, "a string")),
    }
}

fn read_data_type(scanner: &mut Scanner<'_>, field: &str) -> Result<DataType, Error> {
    let name = read_text(scanner, field)?;
    DataType::parse(&name).ok_or_else(|| {
        let name = shorten(&name);
        Error::member(field, format!("`{name}` is not supported; known are {}", known_types()))
    })
}

fn read_shape(scanner: &mut Scanner<'_>, field: &str) -> Result<Vec<usize>, Error> {
    let mut shape = Vec::new();
    let mut more = open_list(scanner, field)?;
    while more {
        if shape.len() == MAX_RANK {
            return Err(Error::member(
                field,
                format!("more than the limit of {MAX_RANK} dimensions"),
            ));
        }
        shape.push(read_count(scanner, field)?);
        more = scanner.next_element()?;
    }
    Ok(shape)
}

fn read_count(scanner: &mut Scanner<'_>, field: &str) -> Result<usize, Error> {
    let before = *scanner;
    if scanner.peek()? == JsonKind::Number
        && let Ok(count) = scanner.number()?.text.parse()
    {
        return Ok(count);
    }
    *scanner = before;
    Err(expected(scanner, field, "a whole number from 0"))
}

pub(in crate::protocol::open_inference) fn read_truth(scanner: &mut Scanner<'_>, field: &str) -> Result<bool, Error> {
    match scanner.peek()? {
        JsonKind::True | JsonKind::False => Ok(scanner.truth()?),
        _ => Err(expected(scanner, field, "true or false")),
    }
}

fn read_parameters(scanner: &mut Scanner<'_>, field: &str) -> Result<Parameters, Error> {
    let mut parameters = Parameters::default();
    match scanner.peek()? {
        JsonKind::Object => {}
        JsonKind::Null => {
            scanner.skip()?;
            return Ok(parameters);
        }
        _ => return Err(expected(scanner, field, "an object")),
    }
    let mut member = scanner.open_object()?;
    while let Some(name) = member {
        let place = format!("{field}.{}", shorten(&name));
        match name.as_ref() {
            "binary_data" => once(&mut parameters.binary_data, &place, |place| read_truth(scanner, place))?,
            "binary_data_output" => once(&mut parameters.binary_data_output, &place, |place| {
                read_truth(scanner, place)
            })?,
            "binary_data_size" => once(&mut parameters.binary_data_size, &place, |place| {
                read_count(scanner, place)
            })?,
            // To ignore one of these would be to give another answer than the one asked for.
            "classification" | "shared_memory_region" => return Err(Error::member(place, "is not supported")),
            // 0 says that the request belongs to no sequence.
            "sequence_id" => {
                if scanner.skip()? != "0" {
                    return Err(Error::member(place, "is not supported"));
                }
            }
            _ => {
                scanner.skip()?;
            }
        }
        member = scanner.next_member()?;
    }
    Ok(parameters)
}

/// The requested outputs, each with its own choice of bytes.
fn read_outputs(scanner: &mut Scanner<'_>, signature: &Signature) -> Result<Vec<(usize, Option<bool>)>, Error> {
    let mut outputs: Vec<(usize, Option<bool>)> = Vec::new();
    let mut more = open_list(scanner, "outputs")?;
    while more {
        let field = |member: &str| format!("outputs[{}]{member}", outputs.len());
        if scanner.peek()? != JsonKind::Object {
            return Err(expected(scanner, &field(""), "an object"));
        }
        let (mut name, mut parameters) = (None, None);
        let mut member = scanner.open_object()?;
        while let Some(key) = member {
            match key.as_ref() {
                "name" => once(&mut name, &field(".name"), |field| read_text(scanner, field))?,
                "parameters" => once(&mut parameters, &field(".parameters"), |field| {
                    read_parameters(scanner, field)
                })?,
                _ => {
                    scanner.skip()?;
                }
            }
            member = scanner.next_member()?;
        }
        let name = name.ok_or_else(|| Error::member(field(".name"), "missing"))?;
        let index = signature.outputs.iter().position(|spec| spec.name == name);
        let index = index.ok_or_else(|| {
            let (name, known) = (shorten(&name), names(&signature.outputs).join(", "));
            Error::member(field(".name"), format!("no output `{name}`; the model has {known}"))
        })?;
        if outputs.iter().any(|(before, _)| *before == index) {
            return Err(Error::member(field(".name"), "is given twice"));
        }
        outputs.push((index, parameters.unwrap_or_default().binary_data));
        more = scanner.next_element()?;
    }
    Ok(outputs)
}

/// The names of all types, for messages.
fn known_types() -> String {
    DataType::ALL.map(DataType::name).join(", ")
}

pub(super) fn all(signature: &Signature, is_binary: bool) -> Vec<Requested> {
    let indices = 0..signature.outputs.len();
    indices.map(|index| Requested { index, is_binary }).collect()
}
