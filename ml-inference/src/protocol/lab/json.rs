//! The lab's tensors in JSON: nested lists of numbers, read without a tree of values in between.
//!
//! A number goes from the text straight into the tensor's memory, so a large request is in memory once as
//! text and once as numbers. serde carries errors as mere text; [`Reader`] therefore notes beside it which
//! element is being read and what was wrong with it.

use std::fmt::{self, Write};

use model_runtime::tensor::{MAX_RANK, Tensor};
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;

use super::super::input_error::InputError;

/// What a text like `[NaN]` is called: Python's json module writes such words, RFC 8259 section 6 has none.
const NOT_A_NUMBER: &str = "NaN and Infinity are not JSON numbers";

const OUT_OF_RANGE: &str = "the number is too large for a 64-bit float";

/// Where the reading stands.
#[derive(Debug)]
pub(super) struct Reader {
    most_numbers: usize,
    /// The member being read, with an index for each list around the current element.
    member: Option<&'static str>,
    indices: Vec<usize>,
    /// Set before the error that stops serde.
    fault: Option<InputError>,
}

impl Reader {
    pub(super) fn new(most_numbers: usize) -> Self {
        Self {
            most_numbers,
            member: None,
            indices: Vec::new(),
            fault: None,
        }
    }

    /// `instances[3][0]`, or nothing outside of a member.
    fn field(&self) -> Option<String> {
        let mut field = self.member?.to_owned();
        for index in &self.indices {
            // Writing to a String cannot fail.
            let _infallible = write!(field, "[{index}]");
        }
        Some(field)
    }

    pub(super) fn refuse<E: serde::de::Error>(&mut self, problem: impl Into<String>) -> E {
        let problem = problem.into();
        self.fault = Some(match self.field() {
            Some(field) => InputError::Member { field, problem },
            None => InputError::Document { problem },
        });
        E::custom("refused")
    }

    pub(super) fn refuse_member<E: serde::de::Error>(&mut self, field: &str, problem: impl Into<String>) -> E {
        self.fault = Some(InputError::Member {
            field: field.to_owned(),
            problem: problem.into(),
        });
        E::custom("refused")
    }

    /// What the client is told when reading `text` ended with `error`.
    pub(super) fn explain(self, text: &[u8], error: &serde_json::Error) -> InputError {
        let at = format!("at line {} column {}", error.line(), error.column());
        let field = self.field();
        match self.fault {
            Some(InputError::Member { field, problem }) => {
                let problem = format!("{problem}, {at}");
                return InputError::Member { field, problem };
            }
            Some(InputError::Document { problem }) => {
                let problem = format!("{problem}, {at}");
                return InputError::Document { problem };
            }
            Some(fault @ InputError::TooMany { .. }) => return fault,
            None => {}
        }
        let problem = match error.classify() {
            Category::Data => {
                return InputError::Document {
                    problem: error.to_string(),
                };
            }
            _ if names_no_number(text, error) => format!("{NOT_A_NUMBER}, {at}"),
            // serde_json says nothing else of a number like 1e400.
            _ if error.to_string().starts_with("number out of range") => format!("{OUT_OF_RANGE}, {at}"),
            _ => format!("broken JSON: {error}"),
        };
        match field {
            Some(field) => InputError::Member { field, problem },
            None => InputError::Document { problem },
        }
    }
}

/// Whether the word the parser stumbled over is one of those that stand for a number JSON cannot write.
fn names_no_number(text: &[u8], error: &serde_json::Error) -> bool {
    let line = text.split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1));
    let line = line.unwrap_or_default();
    let at = error.column().saturating_sub(1).min(line.len());
    let is_word = |byte: &u8| byte.is_ascii_alphabetic();
    let before = line[..at].iter().rev().take_while(|byte| is_word(byte)).count();
    let after = line[at..].iter().take_while(|byte| is_word(byte)).count();
    let word = &line[at - before..at + after];
    [&b"nan"[..], b"inf", b"infinity"]
        .iter()
        .any(|name| word.eq_ignore_ascii_case(name))
}

/// Reads the list that is the member `name`: of numbers, or of lists of one shape, down to `most_lists` deep.
pub(super) struct TensorMember<'a> {
    pub(super) reader: &'a mut Reader,
    pub(super) name: &'static str,
    pub(super) most_lists: usize,
}

impl<'de> DeserializeSeed<'de> for TensorMember<'_> {
    type Value = Tensor;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tensor, D::Error> {
        self.reader.member = Some(self.name);
        let mut building = Building {
            reader: self.reader,
            most_lists: self.most_lists,
            lengths: [None; MAX_RANK],
            rank: None,
            values: Vec::new(),
        };
        let element = Element {
            building: &mut building,
            depth: 0,
        };
        element.deserialize(deserializer)?;
        let Building {
            reader,
            lengths,
            values,
            ..
        } = building;
        let shape = lengths.iter().map_while(|length| *length).collect();
        match Tensor::of(shape, values) {
            Ok(tensor) => {
                reader.member = None;
                Ok(tensor)
            }
            Err(error) => Err(reader.refuse(error.to_string())),
        }
    }
}

/// A tensor while its text is being read.
struct Building<'a> {
    reader: &'a mut Reader,
    most_lists: usize,
    /// The length of the lists at each depth, known once the first of them has ended.
    lengths: [Option<usize>; MAX_RANK],
    /// How many lists are around a number, known from the first number on.
    rank: Option<usize>,
    values: Vec<f64>,
}

impl Building<'_> {
    fn number<E: serde::de::Error>(&mut self, value: f64, depth: usize) -> Result<(), E> {
        if depth == 0 {
            return Err(self.reader.refuse("expected a list, found a number"));
        }
        if self.rank.is_some_and(|rank| rank != depth) {
            return Err(self.reader.refuse("expected a list as before, found a number"));
        }
        if !value.is_finite() {
            return Err(self.reader.refuse(NOT_A_NUMBER));
        }
        if self.values.len() == self.reader.most_numbers {
            self.reader.fault = Some(InputError::TooMany {
                field: self.reader.member.unwrap_or_default().to_owned(),
                limit: self.reader.most_numbers,
            });
            return Err(E::custom("refused"));
        }
        self.rank = Some(depth);
        self.values.push(value);
        Ok(())
    }

    fn open_list<E: serde::de::Error>(&mut self, depth: usize) -> Result<(), E> {
        if depth >= self.most_lists {
            return Err(self.reader.refuse(match self.most_lists {
                1 => "expected a number, found a list".to_owned(),
                most => format!("lists are nested deeper than the limit of {most}"),
            }));
        }
        if self.rank.is_some_and(|rank| rank <= depth) {
            return Err(self.reader.refuse("expected a number as before, found a list"));
        }
        Ok(())
    }

    fn close_list<E: serde::de::Error>(&mut self, depth: usize, length: usize) -> Result<(), E> {
        if length == 0 {
            return Err(self.reader.refuse("is empty; give at least one number"));
        }
        match self.lengths[depth].replace(length) {
            Some(before) if before != length => {
                let problem = format!("expected a list of {before} as before, found one of {length}");
                Err(self.reader.refuse(problem))
            }
            _ => Ok(()),
        }
    }

    fn wrong<E: serde::de::Error>(&mut self, depth: usize, found: &str) -> E {
        let expected = if depth == 0 { "a list" } else { "a number" };
        self.reader.refuse(format!("expected {expected}, found {found}"))
    }
}

/// One number or list, inside of `depth` lists.
struct Element<'b, 'a> {
    building: &'b mut Building<'a>,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Element<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number or a list of numbers")
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.building.number(value, self.depth)
    }

    // Whole numbers beyond 2^53 become the nearest f64, as in every JSON reader that has only doubles.
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.building.number(value as f64, self.depth)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.building.number(value as f64, self.depth)
    }

    fn visit_str<E: serde::de::Error>(self, _value: &str) -> Result<(), E> {
        Err(self.building.wrong(self.depth, "a string"))
    }

    fn visit_bool<E: serde::de::Error>(self, _value: bool) -> Result<(), E> {
        Err(self.building.wrong(self.depth, "true or false"))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Err(self.building.wrong(self.depth, "null"))
    }

    fn visit_map<A: MapAccess<'de>>(self, _map: A) -> Result<(), A::Error> {
        Err(self.building.wrong(self.depth, "an object"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { building, depth } = self;
        building.open_list(depth)?;
        let mut length = 0;
        loop {
            // An error leaves the index behind: it names the element at fault.
            building.reader.indices.push(length);
            let element = Element {
                building: &mut *building,
                depth: depth + 1,
            };
            let more = list.next_element_seed(element)?;
            building.reader.indices.pop();
            if more.is_none() {
                break;
            }
            length += 1;
        }
        building.close_list(depth, length)
    }
}

/// A member's name, kept short: it is repeated in the error.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Name(pub(super) String);

impl Name {
    const LONGEST_SHOWN: usize = 64;

    pub(super) fn shown(&self) -> String {
        match self.0.char_indices().nth(Self::LONGEST_SHOWN) {
            Some((end, _)) => format!("{}…", &self.0[..end]),
            None => self.0.clone(),
        }
    }
}
