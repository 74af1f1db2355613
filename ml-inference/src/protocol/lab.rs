//! The lab's own protocol, spaces included.
//!
//! ```text
//! {"instances": [1.0, 2.0, 5.0]}   → {"predictions": [2.5, 3.0, 4.5], "model": "half_plus_two", "version": "1.0"}
//! {"features": [1, 2, 3, 4, 5]}    → {"prediction": 15.0, "model_version": "v1.0"}
//! ```
//!
//! An instance is a number or a list of any rank, as in TensorFlow Serving's row format; features are numbers.
//! The bodies imitate Python's `json.dumps`, which the lab's answers were written by.

use std::fmt;

use bytes::Bytes;
use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};

use super::InputError;
use super::json::{Name, Reader, TensorMember, write_number, write_string, write_tensor};
use crate::model::Model;
use crate::tensor::{MAX_RANK, Tensor};

const INSTANCES: &str = "instances";
const FEATURES: &str = "features";

/// What a client may ask.
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
                _ => match Tensor::new(vec![1, tensor.rows()], tensor.into_values()) {
                    Some(row) => Question::Features(row),
                    None => return Err(A::Error::custom("features are no row")),
                },
            });
        }
        question.ok_or_else(|| reader.refuse(format!("the object has neither `{INSTANCES}` nor `{FEATURES}`")))
    }
}

/// The answer to `instances`.
pub fn predictions(output: &Tensor, model: &Model) -> Bytes {
    // Two spaces and a dozen digits a number is a fair first guess.
    let mut body = Vec::with_capacity(64 + output.values().len() * 8);
    body.extend_from_slice(b"{\"predictions\": ");
    write_tensor(&mut body, output);
    body.extend_from_slice(b", \"model\": ");
    write_string(&mut body, model.name);
    body.extend_from_slice(b", \"version\": ");
    write_string(&mut body, model.version.as_str());
    body.extend_from_slice(b"}\n");
    body.into()
}

/// The answer to `features`.
pub fn prediction(output: &Tensor, model_version: &str) -> Bytes {
    let mut body = b"{\"prediction\": ".to_vec();
    write_number(&mut body, output.values()[0]);
    body.extend_from_slice(b", \"model_version\": ");
    write_string(&mut body, model_version);
    body.extend_from_slice(b"}\n");
    body.into()
}
