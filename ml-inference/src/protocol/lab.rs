//! The lab's own protocol, spaces included.
//!
//! ```text
//! {"instances": [1.0, 2.0, 5.0]}   → {"predictions": [2.5, 3.0, 4.5], "model": "half_plus_two", "version": "1.0"}
//! {"features": [1, 2, 3, 4, 5]}    → {"prediction": 15.0, "model_version": "v1.0"}
//! ```
//!
//! An instance is a number or a list of any rank, as in TensorFlow Serving's row format; features are numbers. They are read
//! as 64-bit floats and become what the model's one input takes; the answer is the model's first output.
//! The bodies imitate Python's `json.dumps`, which the lab's answers were written by.

mod json;

use std::fmt;

use bytes::Bytes;
use model_runtime::Signature;
use model_runtime::tensor::{Data, DataType, Element, MAX_RANK, Tensor};
use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};

use super::input_error::InputError;
use super::json::write::{LAB, write_float, write_string, write_tensor};
use json::{Name, Reader, TensorMember};

use crate::model::Model;

const INSTANCES: &str = "instances";
const FEATURES: &str = "features";

/// From here on 64-bit floats stand for more than one whole number each.
const FIRST_INEXACT: f64 = 9_007_199_254_740_992.0;

/// What a client may ask. The numbers are FP64.
#[derive(Debug, PartialEq)]
pub enum Question {
    /// Run the served model on these rows.
    Instances(Tensor),
    /// Run `sum` on this one row.
    Features(Tensor),
}

/// Reads a request body with no more than `most_numbers` numbers.
pub fn parse(text: &[u8], most_numbers: usize) -> Result<Question, InputError> {
    if text.iter().all(u8::is_ascii_whitespace) {
        let problem = format!("the body is empty; send a JSON object with `{INSTANCES}` or `{FEATURES}`");
        return Err(InputError::Document { problem });
    }
    let mut reader = Reader::new(most_numbers);
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let document = Document { reader: &mut reader };
    let read = deserializer
        .deserialize_map(document)
        .and_then(|question| deserializer.end().map(|()| question));
    read.map_err(|error| reader.explain(text, &error))
}

/// The object that is the body.
struct Document<'a> {
    reader: &'a mut Reader,
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = Question;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "an object with `{INSTANCES}` or `{FEATURES}`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Question, A::Error> {
        use serde::de::Error as _;

        let reader = self.reader;
        let mut question = None;
        while let Some(name) = members.next_key::<Name>()? {
            let next = match name.0.as_str() {
                INSTANCES => INSTANCES,
                FEATURES => FEATURES,
                _ => {
                    let problem = format!("unknown member; known are {INSTANCES} and {FEATURES}");
                    return Err(reader.refuse_member(&name.shown(), problem));
                }
            };
            let given = question.as_ref().map(|question| match question {
                Question::Instances(_) => INSTANCES,
                Question::Features(_) => FEATURES,
            });
            match given {
                Some(given) if given == next => return Err(reader.refuse_member(next, "is given twice")),
                Some(given) => {
                    let problem = format!("cannot stand beside {given}; give one of the two");
                    return Err(reader.refuse_member(next, problem));
                }
                None => {}
            }
            let most_lists = if next == INSTANCES { MAX_RANK } else { 1 };
            let tensor = members.next_value_seed(TensorMember {
                reader: &mut *reader,
                name: next,
                most_lists,
            })?;
            question = Some(match next {
                INSTANCES => Question::Instances(tensor),
                _ => {
                    let row = vec![1, tensor.rows()];
                    Question::Features(tensor.reshape(row).map_err(A::Error::custom)?)
                }
            });
        }
        question.ok_or_else(|| reader.refuse(format!("the object has neither `{INSTANCES}` nor `{FEATURES}`")))
    }
}

/// `instances` as the one input of a model.
pub fn model_input(instances: Tensor, signature: &Signature) -> Result<Tensor, InputError> {
    match signature.inputs.as_slice() {
        [input] if input.takes(DataType::Fp64) => Ok(instances),
        [input] => convert(instances, input.data_type),
        inputs => Err(InputError::Member {
            field: INSTANCES.to_owned(),
            problem: format!(
                "the model has {} inputs, and here they have no names; use another protocol",
                inputs.len()
            ),
        }),
    }
}

/// Floats become the nearest of their width, as if the text had been read so; whole numbers must be whole and in range.
fn convert(instances: Tensor, to: DataType) -> Result<Tensor, InputError> {
    let (shape, data) = instances.into_parts();
    let Data::Fp64(values) = data else {
        return Err(refuse_element(&[], 0, "is no 64-bit float".to_owned()));
    };
    let converted = match to {
        DataType::Bool => each(&shape, &values, to, |value| match value {
            0.0 => Some(false),
            1.0 => Some(true),
            _ => None,
        }),
        DataType::Uint8 => each(&shape, &values, to, |value| {
            whole(value)?.try_into().ok().map(|x: u8| x)
        }),
        DataType::Uint16 => each(&shape, &values, to, |value| {
            whole(value)?.try_into().ok().map(|x: u16| x)
        }),
        DataType::Uint32 => each(&shape, &values, to, |value| {
            whole(value)?.try_into().ok().map(|x: u32| x)
        }),
        DataType::Uint64 => each(&shape, &values, to, |value| {
            whole(value)?.try_into().ok().map(|x: u64| x)
        }),
        DataType::Int8 => each(&shape, &values, to, |value| {
            whole(value)?.try_into().ok().map(|x: i8| x)
        }),
        DataType::Int16 => each(&shape, &values, to, |value| {
            whole(value)?.try_into().ok().map(|x: i16| x)
        }),
        DataType::Int32 => each(&shape, &values, to, |value| {
            whole(value)?.try_into().ok().map(|x: i32| x)
        }),
        DataType::Int64 => each(&shape, &values, to, whole),
        DataType::Fp32 => each(&shape, &values, to, |value| {
            Some(value as f32).filter(|value| value.is_finite())
        }),
        DataType::Fp64 => Ok(Data::Fp64(values)),
        DataType::Bytes => Err(refuse_element(
            &shape,
            0,
            "the model takes texts, not numbers".to_owned(),
        )),
    };
    Tensor::new(shape, converted?).map_err(|error| InputError::Document {
        problem: error.to_string(),
    })
}

fn each<T: Element>(
    shape: &[usize],
    values: &[f64],
    to: DataType,
    convert: impl Fn(f64) -> Option<T>,
) -> Result<Data, InputError> {
    let converted = values.iter().enumerate().map(|(index, value)| {
        convert(*value).ok_or_else(|| {
            let problem = format!("{value} cannot be exactly {to}, which the model takes");
            refuse_element(shape, index, problem)
        })
    });
    converted.collect::<Result<Vec<T>, InputError>>().map(T::wrap)
}

fn whole(value: f64) -> Option<i64> {
    let exact = value.fract() == 0.0 && value.abs() < FIRST_INEXACT;
    exact.then_some(value as i64)
}

/// Names an element by its place: `instances[3][0]`.
fn refuse_element(shape: &[usize], element: usize, problem: String) -> InputError {
    let mut field = INSTANCES.to_owned();
    let mut rest = element;
    for depth in 0..shape.len() {
        let step: usize = shape[depth + 1..].iter().product();
        // A dimension of zero has no elements to name.
        let step = step.max(1);
        field.push_str(&format!("[{}]", rest / step));
        rest %= step;
    }
    InputError::Member { field, problem }
}

/// JSON has no infinity, and an overflowed number helps nobody. `field` names the part of the request that a row came of.
fn check_writable(output: &Tensor, field: impl Fn(usize) -> String) -> Result<(), InputError> {
    let faulty = match output.data() {
        Data::Fp32(values) => values.iter().position(|value| !value.is_finite()).map(|at| {
            let problem = if values[at].is_nan() { NO_NUMBER } else { TOO_LARGE_32 };
            (at, problem)
        }),
        Data::Fp64(values) => values.iter().position(|value| !value.is_finite()).map(|at| {
            let problem = if values[at].is_nan() { NO_NUMBER } else { TOO_LARGE };
            (at, problem)
        }),
        Data::Bytes(texts) => {
            let position = texts.iter().position(|text| std::str::from_utf8(text).is_err());
            position.map(|at| (at, "the result is no UTF-8 text"))
        }
        _ => None,
    };
    match faulty {
        None => Ok(()),
        Some((at, problem)) => Err(InputError::Member {
            field: field(at / output.row_length().max(1)),
            problem: problem.to_owned(),
        }),
    }
}

const TOO_LARGE: &str = "the result is too large for a 64-bit float";
const TOO_LARGE_32: &str = "the result is too large for a 32-bit float";
const NO_NUMBER: &str = "the result is not a number";

/// The answer to `instances`.
pub fn predictions(output: &Tensor, model: &Model) -> Result<Bytes, InputError> {
    check_writable(output, |row| format!("{INSTANCES}[{row}]"))?;
    // Two spaces and a dozen digits a number is a fair first guess.
    let mut body = Vec::with_capacity(64 + output.data().len() * 8);
    body.extend_from_slice(b"{\"predictions\": ");
    write_tensor(&mut body, output, LAB);
    body.extend_from_slice(b", \"model\": ");
    write_string(&mut body, &model.name);
    body.extend_from_slice(b", \"version\": ");
    write_string(&mut body, model.version.as_str());
    body.extend_from_slice(b"}\n");
    Ok(body.into())
}

/// The answer to `features`: one row's one number.
pub fn prediction(output: &Tensor, model_version: &str) -> Result<Bytes, InputError> {
    check_writable(output, |_row| FEATURES.to_owned())?;
    let mut body = b"{\"prediction\": ".to_vec();
    for number in output.values::<f64>().unwrap_or_default() {
        write_float(&mut body, number);
    }
    body.extend_from_slice(b", \"model_version\": ");
    write_string(&mut body, model_version);
    body.extend_from_slice(b"}\n");
    Ok(body.into())
}

#[cfg(test)]
mod tests;
