//! The body of a request: numbers, which become what a model's one input takes.

use bytes::Bytes;
use model_runtime::Signature;
use model_runtime::tensor::{Data, DataType, Element, MAX_RANK, Tensor};

use super::super::input_error::InputError;
use super::super::json::scanner::{JsonKind, Scanner, SyntaxError};
use super::super::json::tensor_reader::{FaultPlace, MemoryBudget, ReadError, Rules, TensorReader};

pub(super) const INSTANCES: &str = "instances";
pub(super) const FEATURES: &str = "features";

/// From here on 64-bit floats stand for more than one whole number each.
const FIRST_INEXACT: f64 = 9_007_199_254_740_992.0;

/// Length limit of a member's name in an error message.
const LONGEST_NAME_SHOWN: usize = 64;

/// Numbers only. Whole numbers beyond 2^53 become the nearest float, as in every JSON reader that has only doubles.
const RULES: Rules = Rules {
    type_name: DataType::name,
    rounds_whole_numbers: true,
    takes_words: false,
    null_is_nan: false,
    takes_empty_lists: false,
    most_lists: MAX_RANK,
};

/// A request body. The numbers are FP64.
#[derive(Debug, PartialEq)]
pub enum PredictRequest {
    /// Run the served model on these rows.
    Instances(Tensor),
    /// Run `sum` on this one row.
    Features(Tensor),
}

/// Reads a request body with no more than `most_numbers` numbers.
pub fn parse(body: &Bytes, most_numbers: usize) -> Result<PredictRequest, InputError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        let problem = format!("the body is empty; send a JSON object with `{INSTANCES}` or `{FEATURES}`");
        return Err(InputError::Document { problem });
    }
    Document { body, most_numbers }.parse()
}

/// A body while it is read.
struct Document<'b> {
    body: &'b Bytes,
    most_numbers: usize,
}

impl<'b> Document<'b> {
    fn parse(&self) -> Result<PredictRequest, InputError> {
        let broken = |error| self.broken(None, error);
        let mut scanner = Scanner::of_bytes(self.body).map_err(broken)?;
        let kind = scanner.peek().map_err(broken)?;
        if kind != JsonKind::Object {
            let offset = scanner.offset();
            // A word that only begins like a value is broken JSON.
            scanner.skip().map_err(broken)?;
            let expected = format!("an object with `{INSTANCES}` or `{FEATURES}`");
            return Err(self.refuse(None, format!("expected {expected}, found {}", describe(kind)), offset));
        }
        let mut request = None;
        let mut member = scanner.open_object().map_err(broken)?;
        while let Some(name) = member {
            let next = match name.as_ref() {
                INSTANCES => INSTANCES,
                FEATURES => FEATURES,
                other => {
                    let problem = format!("unknown member; known are {INSTANCES} and {FEATURES}");
                    return Err(self.refuse(Some(shorten_name(other)), problem, scanner.offset()));
                }
            };
            if let Some(before) = &request {
                let before = match before {
                    PredictRequest::Instances(_) => INSTANCES,
                    PredictRequest::Features(_) => FEATURES,
                };
                let problem = match before == next {
                    true => "is given twice".to_owned(),
                    false => format!("cannot stand beside {before}; give one of the two"),
                };
                return Err(self.refuse(Some(next.to_owned()), problem, scanner.offset()));
            }
            request = Some(self.numbers(next, &mut scanner)?);
            member = scanner.next_member().map_err(broken)?;
        }
        if !scanner.is_at_end() {
            return Err(self.refuse(None, "something follows the JSON object", scanner.offset()));
        }
        request.ok_or_else(|| {
            let problem = format!("the object has neither `{INSTANCES}` nor `{FEATURES}`");
            self.refuse(None, problem, scanner.offset())
        })
    }

    /// The list that is the member `name`: of numbers, or for instances of lists of one shape.
    fn numbers(&self, name: &'static str, scanner: &mut Scanner<'b>) -> Result<PredictRequest, InputError> {
        let field = || Some(name.to_owned());
        let kind = scanner.peek().map_err(|error| self.broken(field(), error))?;
        if kind != JsonKind::List {
            let offset = scanner.offset();
            scanner.skip().map_err(|error| self.broken(field(), error))?;
            return Err(self.refuse(field(), format!("expected a list, found {}", describe(kind)), offset));
        }
        let rules = Rules {
            most_lists: if name == INSTANCES { MAX_RANK } else { 1 },
            ..RULES
        };
        let budget = MemoryBudget::new(self.most_numbers.saturating_mul(size_of::<f64>()));
        let mut reader = TensorReader::new(self.body, *scanner, rules, budget);
        let mut data = Data::Fp64(Vec::new());
        let shape = match reader.value(&mut data) {
            Ok(shape) => shape,
            Err(error) => return Err(self.refuse_element(name, error, reader.fault(), rules.most_lists)),
        };
        *scanner = reader.scanner;
        let shape = match name {
            FEATURES => [&[1], shape.lengths()].concat(),
            _ => shape.lengths().to_vec(),
        };
        let tensor = Tensor::new(shape, data);
        let tensor = tensor.map_err(|error| self.refuse(field(), error.to_string(), scanner.offset()))?;
        Ok(match name {
            FEATURES => PredictRequest::Features(tensor),
            _ => PredictRequest::Instances(tensor),
        })
    }

    /// Names the element at fault: `instances[3][0]`.
    fn refuse_element(&self, name: &str, error: ReadError, fault: &FaultPlace, most_lists: usize) -> InputError {
        let mut field = name.to_owned();
        for index in fault.indices.iter().rev() {
            field.push_str(&format!("[{index}]"));
        }
        let problem = match error {
            ReadError::Syntax(error) => return self.broken(Some(field), error),
            ReadError::TooLarge { .. } => {
                return InputError::TooMany {
                    field: name.to_owned(),
                    limit: self.most_numbers,
                };
            }
            ReadError::Type { kind, .. } => format!("expected a number, found {}", describe(kind)),
            ReadError::Level { kind, .. } => format!("expected a list as before, found {}", describe(kind)),
            ReadError::ListLevel { rank, .. } if rank < most_lists => {
                "expected a number as before, found a list".to_owned()
            }
            ReadError::ListLevel { rank: 1, .. } => "expected a number, found a list".to_owned(),
            ReadError::ListLevel { rank, .. } => format!("lists are nested deeper than the limit of {rank}"),
            ReadError::Length { found, expected, .. } => {
                format!("expected a list of {expected} as before, found one of {found}")
            }
            ReadError::Lossy { .. } => "the number is too large for a 64-bit float".to_owned(),
            other => other.to_string(),
        };
        self.refuse(Some(field), problem, fault.offset)
    }

    fn broken(&self, field: Option<String>, error: SyntaxError) -> InputError {
        let problem = match names_no_number(self.body, error.offset) {
            true => ReadError::NoNumber.to_string(),
            false => format!("broken JSON: {}", error.problem.trim_end_matches('.')),
        };
        self.refuse(field, problem, error.offset)
    }

    fn refuse(&self, field: Option<String>, problem: impl Into<String>, offset: usize) -> InputError {
        let before = &self.body[..offset.min(self.body.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        let problem = format!("{}, at line {line} column {column}", problem.into());
        match field {
            Some(field) => InputError::Member { field, problem },
            None => InputError::Document { problem },
        }
    }
}

/// True if the invalid word is a spelling of NaN or Infinity, which JSON does not have (RFC 8259, section 6): Python and others
/// write them.
fn names_no_number(text: &[u8], offset: usize) -> bool {
    let (before, after) = text.split_at(offset.min(text.len()));
    let is_word = |byte: &&u8| byte.is_ascii_alphabetic();
    let start = offset - before.iter().rev().take_while(is_word).count();
    let end = offset + after.iter().take_while(is_word).count();
    let word = &text[start..end];
    [&b"nan"[..], b"inf", b"infinity"]
        .iter()
        .any(|name| word.eq_ignore_ascii_case(name))
}

fn describe(kind: JsonKind) -> &'static str {
    match kind {
        JsonKind::Object => "an object",
        JsonKind::List => "a list",
        JsonKind::Text => "a string",
        JsonKind::Number => "a number",
        JsonKind::True | JsonKind::False => "true or false",
        JsonKind::Null => "null",
    }
}

fn shorten_name(name: &str) -> String {
    match name.char_indices().nth(LONGEST_NAME_SHOWN) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
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
