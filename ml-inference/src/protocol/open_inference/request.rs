//! The body of `infer`.
//!
//! The JSON is read twice: once for what there is, passing over the data, and then the data, whose types and shapes are known
//! by then whatever the order of the members. Neither reading keeps more than the tensors.

pub(super) mod members;

use bytes::Bytes;
use model_runtime::Signature;
use model_runtime::tensor::{Data, DataType, MAX_RANK, Tensor, element_count};

use super::super::json::scanner::Scanner;
use super::super::json::tensor_reader::{MemoryBudget, Rules, TensorReader, shorten, solve};
use super::binary::{HEADER_LENGTH, decode, fixed_size};
use super::error::Error;
pub use members::Requested;
use members::{Described, Elements, all, describe};

/// JavaScript writes 123456789.0 as 123456789: a client cannot always say that it means a decimal number.
const RULES: Rules = Rules {
    type_name: DataType::name,
    rounds_whole_numbers: true,
    takes_words: true,
    null_is_nan: true,
    takes_empty_lists: true,
    most_lists: MAX_RANK,
};

#[derive(Debug, PartialEq)]
pub struct InferRequest {
    pub id: Option<String>,
    /// In the order of the signature, which they need not fit otherwise.
    pub inputs: Vec<Tensor>,
    /// The outputs to give, in this order.
    pub outputs: Vec<Requested>,
}

/// Reads a body whose elements take at most `most_bytes` in memory. `header_length` is the value of the header
/// [`HEADER_LENGTH`]; without it all of the body is JSON.
pub fn parse_infer(
    body: &Bytes,
    header_length: Option<&str>,
    signature: &Signature,
    most_bytes: usize,
) -> Result<InferRequest, Error> {
    let json_length = match header_length {
        None => body.len(),
        Some(text) => json_length(text, body.len())?,
    };
    if header_length.is_some() && json_length == 0 {
        return raw(body, signature, most_bytes);
    }
    let mut binary = body.slice(json_length..);
    let described = describe(&body[..json_length], signature)?;
    let mut reader = TensorReader::new(body, Scanner::new(""), RULES, MemoryBudget::new(most_bytes));
    let mut named = Vec::with_capacity(described.inputs.len());
    for input in described.inputs {
        let tensor = read_tensor(&mut reader, &mut binary, &input)?;
        named.push((input.name, tensor));
    }
    if !binary.is_empty() {
        let problem = format!("{} bytes are left behind the last input", binary.len());
        return Err(Error::member("inputs", problem));
    }
    Ok(InferRequest {
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
fn raw(body: &Bytes, signature: &Signature, most_bytes: usize) -> Result<InferRequest, Error> {
    let [input] = signature.inputs.as_slice() else {
        let problem = "0 says that the body is the one input, but the model has several";
        return Err(Error::member(HEADER_LENGTH, problem));
    };
    let (count, data) = match fixed_size(input.data_type) {
        Some(size) => {
            let count = body.len() / size;
            take_budget(&mut MemoryBudget::new(most_bytes), &input.name, input.data_type, count)?;
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
    Ok(InferRequest {
        id: None,
        inputs: vec![tensor],
        outputs: all(signature, true),
    })
}

fn input_error(name: &str, problem: impl Into<String>) -> Error {
    Error::member(format!("inputs[{}]", shorten(name)), problem)
}

fn take_budget(budget: &mut MemoryBudget, name: &str, data_type: DataType, count: usize) -> Result<(), Error> {
    let taken = budget.take(count, data_type.size_in_memory());
    taken.map_err(|error| Error::of_reading(format!("inputs[{}]", shorten(name)), error))
}

fn read_tensor<'b>(reader: &mut TensorReader<'b>, binary: &mut Bytes, input: &Described<'b>) -> Result<Tensor, Error> {
    let problem = |problem: String| input_error(&input.name, problem);
    let count = element_count(&input.shape).map_err(|error| problem(error.to_string()))?;
    if count == 0 {
        // A row without elements costs the client nothing, and the model as much as any other.
        let lengths: Vec<usize> = input.shape.iter().map(|length| (*length).max(1)).collect();
        let rows = element_count(&lengths).map_err(|error| problem(error.to_string()))?;
        take_budget(reader.budget(), &input.name, input.data_type, rows)?;
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
            take_budget(reader.budget(), &input.name, input.data_type, count)?;
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
