//! CSV with a header (RFC 4180), as pandas reads it: the columns of the header, then a row a line.

use std::borrow::Cow;

use bytes::Bytes;
use model_runtime::Signature;
use model_runtime::tensor::{Data, Tensor};

use super::super::json::tensor_reader::{MemoryBudget, Shape, shorten};
use super::error::{Error, unfit_whole_number};
use super::frame::{CellError, Frame, Names};

#[cfg(test)]
mod tests;

/// What pandas takes for a missing number, beside the words that Rust reads as NaN.
const MISSING: &[&str] = &["", "NA", "N/A", "n/a", "<NA>", "NULL", "null", "None", "#N/A"];

/// Reads a body whose elements take at most `most_bytes` in memory.
pub fn parse_csv(body: &Bytes, signature: &Signature, most_bytes: usize) -> Result<Vec<Tensor>, Error> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let before = &body[..error.valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        refuse(line, "the text is no UTF-8")
    })?;
    let mut budget = MemoryBudget::new(most_bytes);
    let mut lines = Lines::new(text.strip_prefix('\u{feff}').unwrap_or(text));
    let names = header(&mut lines, &mut budget)?;
    let mut frame = Frame::new(&names, signature, "line 1")?;
    while lines.start()? {
        let line = lines.line;
        let mut found = 0;
        let mut more = true;
        while more {
            let (field, goes_on) = lines.field()?;
            if found < frame.columns() {
                let added = frame.add(found, |data| {
                    budget.take(1, data.data_type().size_in_memory())?;
                    push(data, &field).map_err(CellError::Problem)?;
                    Ok(Shape::default())
                });
                added.map_err(|error| match error {
                    CellError::Problem(problem) => {
                        let column = shorten(names.get(found));
                        refuse(line, format!("column `{column}`: {problem}"))
                    }
                    error => error.at("the body"),
                })?;
            }
            found += 1;
            more = goes_on;
        }
        if found != frame.columns() {
            let columns = frame.columns();
            let problem = format!("expected {columns} values, as the header has columns, found {found}");
            return Err(refuse(line, problem));
        }
        frame.end_row();
    }
    match frame.is_empty() {
        true => Err(refuse(lines.line, "there is no row after the header")),
        false => frame.finish(),
    }
}

fn refuse(line: usize, problem: impl Into<String>) -> Error {
    Error::Line {
        line,
        problem: problem.into(),
    }
}

fn header(lines: &mut Lines<'_>, budget: &mut MemoryBudget) -> Result<Names, Error> {
    let mut names = Names::default();
    if !lines.start()? {
        return Err(Error::document("the body is empty; send CSV with a header"));
    }
    let line = lines.line;
    let mut more = true;
    while more {
        let (name, goes_on) = lines.field()?;
        names.add(&name, budget, || "line 1".to_owned())?;
        more = goes_on;
    }
    // The names of columns without names are 0, 1, 2, …; any other numbers are a row that would be lost.
    let is_row = names.iter().all(|name| name.trim().parse::<f64>().is_ok());
    let is_counted = names.iter().enumerate().all(|(at, name)| name == at.to_string());
    match is_row && !is_counted {
        true => Err(refuse(
            line,
            "expected a header with the names of the columns, found numbers",
        )),
        false => Ok(names),
    }
}

/// Puts a field behind the elements of `data`.
fn push(data: &mut Data, field: &str) -> Result<(), String> {
    let expected = data.data_type().name();
    let trimmed = field.trim();
    macro_rules! whole {
        ($values:expr) => {
            $values.push(trimmed.parse().map_err(|_| unfit_whole_number(expected, field))?)
        };
    }
    macro_rules! float {
        ($values:expr, $type:ty) => {
            $values.push(match trimmed.parse::<$type>() {
                Ok(value) if value.is_infinite() && trimmed.ends_with(|last: char| last.is_ascii_digit()) => {
                    return Err(format!("{} is too large for {expected}", shorten(field)));
                }
                Ok(value) => value,
                Err(_) if MISSING.contains(&trimmed) => <$type>::NAN,
                Err(_) => return Err(format!("expected {expected}, found {:?}", shorten(field))),
            })
        };
    }
    match data {
        Data::Bool(values) => values.push(match trimmed {
            "true" | "True" | "TRUE" => true,
            "false" | "False" | "FALSE" => false,
            _ => return Err(format!("expected true or false, found {:?}", shorten(field))),
        }),
        Data::Uint8(values) => whole!(values),
        Data::Uint16(values) => whole!(values),
        Data::Uint32(values) => whole!(values),
        Data::Uint64(values) => whole!(values),
        Data::Int8(values) => whole!(values),
        Data::Int16(values) => whole!(values),
        Data::Int32(values) => whole!(values),
        Data::Int64(values) => whole!(values),
        Data::Fp32(values) => float!(values, f32),
        Data::Fp64(values) => float!(values, f64),
        Data::Bytes(values) => values.push(Bytes::copy_from_slice(field.as_bytes())),
    }
    Ok(())
}

/// The fields of a text, one after the other.
struct Lines<'t> {
    text: &'t str,
    at: usize,
    /// The line that `at` is in, from 1.
    line: usize,
}

impl<'t> Lines<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, at: 0, line: 1 }
    }

    /// Goes to the next line that is not blank. Gives whether there is one.
    fn start(&mut self) -> Result<bool, Error> {
        while self.end_of_line() {}
        Ok(self.at < self.text.len())
    }

    /// The next field, and whether another one follows in its row.
    fn field(&mut self) -> Result<(Cow<'t, str>, bool), Error> {
        let field = match self.rest().starts_with('"') {
            true => self.quoted()?,
            false => {
                let rest = self.rest();
                let end = rest.find([',', '\n', '\r']).unwrap_or(rest.len());
                self.at += end;
                Cow::Borrowed(&rest[..end])
            }
        };
        if self.rest().starts_with(',') {
            self.at += 1;
            return Ok((field, true));
        }
        if self.end_of_line() || self.at == self.text.len() {
            return Ok((field, false));
        }
        Err(refuse(self.line, "something follows the closing quote of a value"))
    }

    fn quoted(&mut self) -> Result<Cow<'t, str>, Error> {
        let line = self.line;
        self.at += 1;
        let mut value = Cow::Borrowed("");
        loop {
            let rest = self.rest();
            let end = rest
                .find('"')
                .ok_or_else(|| refuse(line, "a quoted value has no end"))?;
            self.line += rest[..end].matches('\n').count();
            self.at += end + 1;
            value = match value.is_empty() {
                true => Cow::Borrowed(&rest[..end]),
                false => Cow::Owned(value.into_owned() + &rest[..end]),
            };
            if !self.rest().starts_with('"') {
                return Ok(value);
            }
            // Two quotes are one in the value.
            self.at += 1;
            value = Cow::Owned(value.into_owned() + "\"");
        }
    }

    /// Passes over a line's end, if there is one.
    fn end_of_line(&mut self) -> bool {
        let rest = self.rest();
        let length = match rest.as_bytes() {
            [b'\r', b'\n', ..] => 2,
            [b'\r' | b'\n', ..] => 1,
            _ => return false,
        };
        self.at += length;
        self.line += 1;
        true
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }
}
