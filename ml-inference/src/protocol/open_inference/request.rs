//! The body of `infer`.
//!
//! The JSON is read twice: once for what there is, passing over the data, and then the data, whose types and shapes are known
//! by then whatever the order of the members. Neither reading keeps more than the tensors.

use bytes::Bytes;

use super::super::dense::{Reader, Room, Rules, shorten, solve};
use super::super::scanner::{Kind, Scanner};
use super::binary::{decode, fixed_size};
use super::{Error, HEADER_LENGTH, known_types};
use crate::runtime::{Misfit, Signature, TensorSpec};
use crate::tensor::{Data, DataType, MAX_RANK, Tensor, element_count};

/// Longer ids would only fill logs.
const LONGEST_ID: usize = 1024;

/// JavaScript writes 123456789.0 as 123456789: a client cannot always say that it means a decimal number.
const RULES: Rules = Rules {
    type_name: DataType::name,
    rounds_whole_numbers: true,
};

#[derive(Debug, PartialEq)]
pub struct Question {
    pub id: Option<String>,
    /// In the order of the signature, which they need not fit otherwise.
    pub inputs: Vec<Tensor>,
    /// The outputs to give, in this order.
    pub outputs: Vec<Requested>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requested {
    /// Which of the model's outputs it is.
    pub index: usize,
    /// Whether it is given as bytes behind the JSON.
    pub is_binary: bool,
}

/// An input as the JSON describes it.
struct Described<'b> {
    name: String,
    data_type: DataType,
    shape: Vec<usize>,
    elements: Elements<'b>,
}

/// Where the elements of an input are.
enum Elements<'b> {
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

/// Reads a body whose elements take at most `most_bytes` in memory. `header_length` is the value of the header
/// [`HEADER_LENGTH`]; without it all of the body is JSON.
pub fn parse_infer(
    body: &Bytes,
    header_length: Option<&str>,
    signature: &Signature,
    most_bytes: usize,
) -> Result<Question, Error> {
    let json_length = match header_length {
        None => body.len(),
        Some(text) => json_length(text, body.len())?,
    };
    if header_length.is_some() && json_length == 0 {
        return raw(body, signature, most_bytes);
    }
    let mut binary = body.slice(json_length..);
    let described = describe(&body[..json_length], signature)?;
    let mut reader = Reader::new(body, Scanner::new(""), RULES, Room::new(most_bytes));
    let mut named = Vec::with_capacity(described.inputs.len());
    for input in described.inputs {
        let tensor = read_tensor(&mut reader, &mut binary, &input)?;
        named.push((input.name, tensor));
    }
    if !binary.is_empty() {
        let problem = format!("{} bytes are left behind the last input", binary.len());
        return Err(Error::member("inputs", problem));
    }
    Ok(Question {
        id: described.id,
        inputs: signature.arrange(named)?,
        outputs: described.outputs,
    })
}

fn json_length(text: &str, body: usize) -> Result<usize, Error> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let length = text.parse().ok().filter(|length| is_number && *length <= body);
    length.ok_or_else(|| Error::HeaderLength {
        found: shorten(text),
        body,
    })
}

/// A body without JSON is the one input of a model.
fn raw(body: &Bytes, signature: &Signature, most_bytes: usize) -> Result<Question, Error> {
    let [input] = signature.inputs.as_slice() else {
        let problem = "0 says that the body is the one input, but the model has several";
        return Err(Error::member(HEADER_LENGTH, problem));
    };
    let (count, data) = match fixed_size(input.data_type) {
        Some(size) => {
            let count = body.len() / size;
            check_room(&mut Room::new(most_bytes), &input.name, input.data_type, count)?;
            let data = decode(input.data_type, body, count);
            (
                count,
                data.map_err(|error| input_error(&input.name, error.to_string()))?,
            )
        }
        None => (1, Data::Bytes(vec![body.clone()])),
    };
    let shape = solve(&input.shape, count);
    let tensor = shape.and_then(|shape| Tensor::new(shape, data).ok());
    let tensor = tensor.ok_or_else(|| {
        let problem = format!("{} bytes are no {input}, or could be several", body.len());
        input_error(&input.name, problem)
    })?;
    Ok(Question {
        id: None,
        inputs: vec![tensor],
        outputs: all(signature, true),
    })
}

fn all(signature: &Signature, is_binary: bool) -> Vec<Requested> {
    let indices = 0..signature.outputs.len();
    indices.map(|index| Requested { index, is_binary }).collect()
}

fn input_error(name: &str, problem: impl Into<String>) -> Error {
    Error::member(format!("inputs[{}]", shorten(name)), problem)
}

fn check_room(room: &mut Room, name: &str, data_type: DataType, count: usize) -> Result<(), Error> {
    let taken = room.take(count, data_type.size_in_memory());
    taken.map_err(|error| Error::of_reading(format!("inputs[{}]", shorten(name)), error))
}

fn read_tensor<'b>(reader: &mut Reader<'b>, binary: &mut Bytes, input: &Described<'b>) -> Result<Tensor, Error> {
    let problem = |problem: String| input_error(&input.name, problem);
    let count = element_count(&input.shape).map_err(|error| problem(error.to_string()))?;
    if count == 0 {
        // A row without elements costs the client nothing, and the model as much as any other.
        let lengths: Vec<usize> = input.shape.iter().map(|length| (*length).max(1)).collect();
        let rows = element_count(&lengths).map_err(|error| problem(error.to_string()))?;
        check_room(reader.room(), &input.name, input.data_type, rows)?;
    }
    let data = match input.elements {
        Elements::Binary(size) => {
            if size > binary.len() {
                let found = binary.len();
                return Err(problem(format!(
                    "binary_data_size is {size}, but only {found} bytes are left"
                )));
            }
            let bytes = binary.split_to(size);
            if fixed_size(input.data_type).is_none() && count > size {
                // Before memory is set aside for so many.
                return Err(problem(format!("{size} bytes hold no {count} texts")));
            }
            check_room(reader.room(), &input.name, input.data_type, count)?;
            decode(input.data_type, &bytes, count).map_err(|error| problem(error.to_string()))?
        }
        Elements::Json(text) => {
            reader.at(text);
            let mut data = Data::zeros(input.data_type, 0);
            let found = reader.value(&mut data);
            let found = found.map_err(|error| {
                let field = format!("inputs[{}].data", shorten(&input.name));
                Error::of_reading(field, error)
            })?;
            let is_flat = found.lengths() == [count];
            if !is_flat && found.lengths() != input.shape {
                let (shape, found) = (&input.shape, found.lengths());
                return Err(problem(format!(
                    "data of the shape {shape:?} is needed, flat or nested, found {found:?}"
                )));
            }
            data
        }
    };
    Tensor::new(input.shape.clone(), data).map_err(|error| problem(error.to_string()))
}

/// All that the JSON says, but for the elements.
struct Description<'b> {
    id: Option<String>,
    inputs: Vec<Described<'b>>,
    outputs: Vec<Requested>,
}

fn describe<'b>(text: &'b [u8], signature: &Signature) -> Result<Description<'b>, Error> {
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
        Kind::Null => {
            scanner.skip()?;
            Ok(None)
        }
        Kind::Text => {
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

pub(super) fn expected(scanner: &mut Scanner<'_>, field: &str, what: &str) -> Error {
    match scanner.skip() {
        Ok(found) => Error::member(field, format!("expected {what}, found {}", shorten(found))),
        Err(error) => Error::Json(error),
    }
}

/// Enters the list that is the member `field`.
fn open_list(scanner: &mut Scanner<'_>, field: &str) -> Result<bool, Error> {
    match scanner.peek()? {
        Kind::List => Ok(scanner.open_list()?),
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
            return Err(Misfit::Unknown {
                input: shorten(&input.name),
                known: known.join(", "),
            }
            .into());
        }
        if inputs.iter().any(|before| before.name == input.name) {
            return Err(Misfit::Twice { input: input.name }.into());
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
    if scanner.peek()? != Kind::Object {
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
        Kind::List => Ok(scanner.skip()?),
        _ => Err(expected(scanner, field, "a list")),
    }
}

fn read_text(scanner: &mut Scanner<'_>, field: &str) -> Result<String, Error> {
    match scanner.peek()? {
        Kind::Text => Ok(scanner.text()?.into_owned()),
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
    if scanner.peek()? == Kind::Number
        && let Ok(count) = scanner.number()?.text.parse()
    {
        return Ok(count);
    }
    *scanner = before;
    Err(expected(scanner, field, "a whole number from 0"))
}

pub(super) fn read_truth(scanner: &mut Scanner<'_>, field: &str) -> Result<bool, Error> {
    match scanner.peek()? {
        Kind::True | Kind::False => Ok(scanner.truth()?),
        _ => Err(expected(scanner, field, "true or false")),
    }
}

fn read_parameters(scanner: &mut Scanner<'_>, field: &str) -> Result<Parameters, Error> {
    let mut parameters = Parameters::default();
    match scanner.peek()? {
        Kind::Object => {}
        Kind::Null => {
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

/// The outputs that are asked for, and whether each is wanted as bytes.
fn read_outputs(scanner: &mut Scanner<'_>, signature: &Signature) -> Result<Vec<(usize, Option<bool>)>, Error> {
    let mut outputs: Vec<(usize, Option<bool>)> = Vec::new();
    let mut more = open_list(scanner, "outputs")?;
    while more {
        let field = |member: &str| format!("outputs[{}]{member}", outputs.len());
        if scanner.peek()? != Kind::Object {
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
