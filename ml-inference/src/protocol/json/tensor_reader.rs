//! Tensors in JSON, read from the text straight into the elements of their type.
//!
//! Nothing is narrowed in silence. A whole number must be one of the type's own; a decimal number becomes the nearest float
//! of the type's width, and must not become infinite; a whole number that is given for a float is held to what the protocol's
//! [`Rules`] say. `NaN`, `Infinity` and `-Infinity` are floats. Texts are strings or, base64-encoded, `{"b64": "…"}`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use model_runtime::Dim;
use model_runtime::tensor::{Data, DataType, MAX_RANK};

use super::scanner::{JsonKind, Number, Scanner, SyntaxError};

/// The one member of an object that stands for bytes.
pub(in crate::protocol) const BASE64_KEY: &str = "b64";

/// Padding may be left out.
pub(in crate::protocol) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Length limit of a value in a message.
const LONGEST_SHOWN: usize = 256;

/// Error of a value that is no tensor of the requested type, in the words of TensorFlow Serving where it has some.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    #[error("JSON Value: {value} Type: {} is not of expected type: {expected}", .kind.name())]
    Type {
        value: String,
        kind: JsonKind,
        expected: &'static str,
    },
    #[error("Cannot convert JSON value: {value} to {expected} without loss of precision.")]
    Lossy { value: String, expected: &'static str },
    #[error("JSON Value: {value} not formatted correctly for base64 data")]
    Base64Object { value: String },
    #[error("Unable to base64 decode")]
    Base64,
    #[error("JSON Value: {value} found at incorrect level: {} in the JSON DOM. Expected at level: {rank}", .level + 1)]
    Level {
        value: String,
        kind: JsonKind,
        level: usize,
        rank: usize,
    },
    #[error("Encountered list at unexpected level: {level} expected < {rank}")]
    ListLevel { level: usize, rank: usize },
    #[error("Encountered list at unexpected size: {found} at level: {level} expected size: {expected}")]
    Length {
        found: usize,
        level: usize,
        expected: usize,
    },
    #[error("NaN and Infinity are not JSON numbers")]
    NoNumber,
    #[error("is empty; give at least one number")]
    EmptyList,
    /// The elements would take more memory than a request may.
    #[error("the elements take more than the limit of {limit} bytes in memory")]
    TooLarge { limit: usize },
}

/// Reads tensors from a request's body.
pub(in crate::protocol) struct TensorReader<'b> {
    pub(in crate::protocol) scanner: Scanner<'b>,
    body: &'b Bytes,
    rules: Rules,
    budget: MemoryBudget,
    fault: FaultPlace,
}

/// The place of an error in the value that was being read. Nothing is noted of what is read without one.
#[derive(Debug, Clone, Default)]
pub(in crate::protocol) struct FaultPlace {
    /// An index for each list around it, innermost first.
    pub(in crate::protocol) indices: Vec<usize>,
    /// Where the value at fault begins, or a list at fault has ended.
    pub(in crate::protocol) offset: usize,
}

/// Where the protocols differ.
#[derive(Debug, Clone, Copy)]
pub(in crate::protocol) struct Rules {
    /// How a message names a type.
    pub(in crate::protocol) type_name: fn(DataType) -> &'static str,
    /// True if a whole number becomes the nearest float, as a decimal number does; false if the float must hold it exactly.
    pub(in crate::protocol) rounds_whole_numbers: bool,
    /// True if NaN and Infinity are accepted.
    pub(in crate::protocol) takes_words: bool,
    /// True if null is a float, NaN: KServe's and MLServer's clients write it so.
    pub(in crate::protocol) null_is_nan: bool,
    pub(in crate::protocol) takes_empty_lists: bool,
    /// How deep lists may be nested.
    pub(in crate::protocol) most_lists: usize,
}

/// Memory limit for the elements of a request, and the rest of it.
#[derive(Debug, Clone, Copy)]
pub(in crate::protocol) struct MemoryBudget {
    limit: usize,
    left: usize,
}

impl MemoryBudget {
    pub(in crate::protocol) fn new(limit: usize) -> Self {
        Self { limit, left: limit }
    }

    /// Takes what `count` elements of `size` bytes need.
    pub(in crate::protocol) fn take(&mut self, count: usize, size: usize) -> Result<(), ReadError> {
        let left = count.checked_mul(size).and_then(|bytes| self.left.checked_sub(bytes));
        self.left = left.ok_or(ReadError::TooLarge { limit: self.limit })?;
        Ok(())
    }
}

/// The lengths of nested lists, outermost first.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::protocol) struct Shape {
    lengths: [usize; MAX_RANK],
    rank: usize,
}

impl Shape {
    pub(in crate::protocol) fn lengths(&self) -> &[usize] {
        &self.lengths[..self.rank]
    }
}

/// `[2,3]`.
impl fmt::Display for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lengths: Vec<String> = self.lengths().iter().map(usize::to_string).collect();
        write!(formatter, "[{}]", lengths.join(","))
    }
}

/// The lengths that make `count` elements of `dims`, when there is only one way.
pub(in crate::protocol) fn solve(dims: &[Dim], count: usize) -> Option<Vec<usize>> {
    let fixed = |dim: &Dim| if let Dim::Fixed(length) = dim { *length } else { 1 };
    let known = dims.iter().map(fixed).try_fold(1_usize, usize::checked_mul)?;
    let free = dims.iter().filter(|dim| matches!(dim, Dim::Free(_))).count();
    let rest = match free {
        0 => (count == known).then_some(1)?,
        1 => count.checked_div(known).filter(|rest| rest * known == count)?,
        _ => return None,
    };
    let length = |dim: &Dim| if let Dim::Fixed(length) = dim { *length } else { rest };
    Some(dims.iter().map(length).collect())
}

/// The known part of a value's shape while it is read.
#[derive(Default)]
struct Nest {
    /// Known at each level once the first list there has ended.
    lengths: [Option<usize>; MAX_RANK],
    /// Known from the first element or the first empty list on.
    rank: Option<usize>,
}

impl<'b> TensorReader<'b> {
    /// Reads with `scanner`, whose text is a part of `body`.
    pub(in crate::protocol) fn new(body: &'b Bytes, scanner: Scanner<'b>, rules: Rules, budget: MemoryBudget) -> Self {
        Self {
            scanner,
            body,
            rules,
            budget,
            fault: FaultPlace::default(),
        }
    }

    /// The place of the error that ended [`Reader::value`].
    pub(in crate::protocol) fn fault(&self) -> &FaultPlace {
        &self.fault
    }

    /// Goes on with another part of the body, in the room that is left.
    pub(in crate::protocol) fn at(&mut self, text: &'b str) {
        self.scanner = Scanner::new(text);
    }

    pub(in crate::protocol) fn budget(&mut self) -> &mut MemoryBudget {
        &mut self.budget
    }

    /// Reads one value, an element or nested lists of one shape, and puts its elements behind those of `data`.
    pub(in crate::protocol) fn value(&mut self, data: &mut Data) -> Result<Shape, ReadError> {
        let mut nest = Nest::default();
        self.nested(data, &mut nest, 0)?;
        let mut shape = Shape {
            rank: nest.rank.unwrap_or_default(),
            ..Shape::default()
        };
        for (length, known) in shape.lengths.iter_mut().zip(nest.lengths) {
            *length = known.unwrap_or_default();
        }
        Ok(shape)
    }

    fn nested(&mut self, data: &mut Data, nest: &mut Nest, level: usize) -> Result<(), ReadError> {
        if self.scanner.peek()? != JsonKind::List {
            let rank = *nest.rank.get_or_insert(level);
            if rank != level {
                let (kind, value) = (self.scanner.peek()?, self.shown()?);
                return Err(ReadError::Level {
                    value,
                    kind,
                    level,
                    rank,
                });
            }
            return self.element(data);
        }
        let rank = nest.rank.unwrap_or(self.rules.most_lists);
        if level >= rank {
            self.fault.offset = self.scanner.offset();
            return Err(ReadError::ListLevel { level, rank });
        }
        let mut found = 0;
        let mut more = self.scanner.open_list()?;
        if !more {
            nest.rank.get_or_insert(level + 1);
            if !self.rules.takes_empty_lists {
                self.fault.offset = self.scanner.offset();
                return Err(ReadError::EmptyList);
            }
        }
        while more {
            let read = self.nested(data, nest, level + 1).and_then(|()| {
                found += 1;
                Ok(self.scanner.next_element()?)
            });
            more = read.inspect_err(|_error| self.fault.indices.push(found))?;
        }
        match nest.lengths[level].replace(found) {
            Some(expected) if expected != found => {
                self.fault.offset = self.scanner.offset();
                Err(ReadError::Length { found, level, expected })
            }
            _ => Ok(()),
        }
    }

    fn element(&mut self, data: &mut Data) -> Result<(), ReadError> {
        let data_type = data.data_type();
        self.budget.take(1, data_type.size_in_memory())?;
        match data {
            Data::Bool(values) => values.push(self.truth()?),
            Data::Uint8(values) => values.push(self.whole(data_type)?),
            Data::Uint16(values) => values.push(self.whole(data_type)?),
            Data::Uint32(values) => values.push(self.whole(data_type)?),
            Data::Uint64(values) => values.push(self.whole(data_type)?),
            Data::Int8(values) => values.push(self.whole(data_type)?),
            Data::Int16(values) => values.push(self.whole(data_type)?),
            Data::Int32(values) => values.push(self.whole(data_type)?),
            Data::Int64(values) => values.push(self.whole(data_type)?),
            Data::Fp32(values) => values.push(self.float(data_type)?),
            Data::Fp64(values) => values.push(self.float(data_type)?),
            Data::Bytes(values) => values.push(self.text()?),
        }
        Ok(())
    }

    fn truth(&mut self) -> Result<bool, ReadError> {
        match self.scanner.peek()? {
            JsonKind::True | JsonKind::False => Ok(self.scanner.truth()?),
            _ => Err(self.wrong_type(DataType::Bool)),
        }
    }

    fn whole<T: FromStr>(&mut self, data_type: DataType) -> Result<T, ReadError> {
        let before = self.scanner;
        if self.scanner.peek()? == JsonKind::Number
            && let Ok(value) = self.scanner.number()?.text.parse()
        {
            return Ok(value);
        }
        self.scanner = before;
        Err(self.wrong_type(data_type))
    }

    fn float<T: Float>(&mut self, data_type: DataType) -> Result<T, ReadError> {
        match self.scanner.peek()? {
            JsonKind::Number => {}
            JsonKind::Null if self.rules.null_is_nan => {
                self.scanner.skip()?;
                return Ok(T::NAN);
            }
            _ => return Err(self.wrong_type(data_type)),
        }
        let number = self.scanner.number()?;
        // Rust reads every number of JSON, and the words for what is none.
        if let Ok(value) = number.text.parse()
            && is_faithful::<T>(number, value, self.rules)
        {
            return Ok(value);
        }
        self.fault.offset = self.scanner.offset() - number.text.len();
        if !self.rules.takes_words && number.text.ends_with(char::is_alphabetic) {
            return Err(ReadError::NoNumber);
        }
        Err(ReadError::Lossy {
            value: shorten(number.text),
            expected: (self.rules.type_name)(data_type),
        })
    }

    fn text(&mut self) -> Result<Bytes, ReadError> {
        match self.scanner.peek()? {
            JsonKind::Text => match self.scanner.text()? {
                Cow::Borrowed(text) => Ok(self.body.slice_ref(text.as_bytes())),
                Cow::Owned(text) => Ok(text.into_bytes().into()),
            },
            JsonKind::Object => {
                let before = self.scanner;
                match base64_text(&mut self.scanner)? {
                    Some(text) => {
                        let bytes = BASE64.decode(text.as_bytes()).map_err(|_| ReadError::Base64)?;
                        Ok(bytes.into())
                    }
                    None => {
                        self.scanner = before;
                        let value = self.shown()?;
                        Err(ReadError::Base64Object { value })
                    }
                }
            }
            _ => Err(self.wrong_type(DataType::Bytes)),
        }
    }

    /// True if the next value is an object of named values, not one that stands for bytes.
    pub(in crate::protocol) fn is_named(&self) -> Result<bool, SyntaxError> {
        let mut ahead = self.scanner;
        Ok(ahead.peek()? == JsonKind::Object && base64_text(&mut ahead)?.is_none())
    }

    pub(in crate::protocol) fn wrong_type(&mut self, expected: DataType) -> ReadError {
        let expected = (self.rules.type_name)(expected);
        self.fault.offset = self.scanner.offset();
        let found = self.scanner.peek().and_then(|kind| Ok((kind, self.shown()?)));
        match found {
            Ok((kind, value)) => ReadError::Type { value, kind, expected },
            Err(error) => ReadError::Syntax(error),
        }
    }

    /// The next value for a message.
    pub(in crate::protocol) fn shown(&mut self) -> Result<String, SyntaxError> {
        self.fault.offset = self.scanner.offset();
        self.scanner.skip().map(shorten)
    }
}

/// The text in `{"b64": "text"}`; `None`, and a place somewhere in it, for any other object.
fn base64_text<'b>(scanner: &mut Scanner<'b>) -> Result<Option<Cow<'b, str>>, SyntaxError> {
    if scanner.open_object()?.as_deref() != Some(BASE64_KEY) || scanner.peek()? != JsonKind::Text {
        return Ok(None);
    }
    let text = scanner.text()?;
    Ok(scanner.next_member()?.is_none().then_some(text))
}

pub(in crate::protocol) fn shorten(text: &str) -> String {
    let mut characters = text.char_indices();
    match characters.find(|(at, character)| at + character.len_utf8() > LONGEST_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

trait Float: FromStr + Copy {
    /// Every whole number of no more digits is a float of this width.
    const EXACT_DIGITS: usize;
    const NAN: Self;

    fn is_finite(self) -> bool;

    fn to_whole(self) -> i128;
}

macro_rules! float {
    ($($type:ty),*) => {$(
        impl Float for $type {
            const EXACT_DIGITS: usize = <$type>::DIGITS as usize;
            const NAN: Self = <$type>::NAN;

            fn is_finite(self) -> bool {
                <$type>::is_finite(self)
            }

            fn to_whole(self) -> i128 {
                self as i128
            }
        }
    )*};
}

float!(f32, f64);

/// True if `value` represents `number` as the rules demand.
fn is_faithful<T: Float>(number: Number<'_>, value: T, rules: Rules) -> bool {
    if !value.is_finite() {
        return rules.takes_words && number.text.ends_with(char::is_alphabetic);
    }
    if rules.rounds_whole_numbers || !number.is_whole || number.text.len() <= T::EXACT_DIGITS {
        return true;
    }
    // What is longer than 64-bit numbers can be is no count or id, but a decimal number without a fraction.
    let whole = number.text.parse::<i64>().map(i128::from);
    match whole.or_else(|_| number.text.parse::<u64>().map(i128::from)) {
        Ok(whole) => value.to_whole() == whole,
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests;
