//! JSON lines: a value, a list or an object a line. Empty lines are no rows.

use std::fs::File;
use std::str;

use serde_json::Value;

use super::lines::{Line, Lines, without_end};
use super::rows::{InputError, Rows};
use crate::layout::{Form, Keep, Layout, Wanted};
use crate::row::{Entry, Place, Position, Row};
use crate::words;

/// The number of a line, and its value or what is wrong with it.
type Numbered = (u64, Result<Value, String>);

pub struct JsonLines {
    lines: Lines,
    layout: Layout,
    /// The form of the first row, which all others must have.
    own: Form,
    /// Whether rows may have no other columns: all that the first one has are sent.
    is_closed: bool,
    longest: usize,
    rows: u64,
    line: Vec<u8>,
}

impl JsonLines {
    /// Opens the file. Its first line that is JSON says what the columns are.
    pub fn open(file: File, wanted: &Wanted, longest: usize, from: Position) -> Result<Self, InputError> {
        let mut json = Self {
            lines: Lines::start(file)?,
            layout: Layout {
                names: Vec::new(),
                text: Vec::new(),
                sent: Vec::new(),
                kept: Vec::new(),
                form: Form::Object,
            },
            own: Form::Object,
            is_closed: wanted.columns.is_none(),
            longest,
            rows: 0,
            line: Vec::new(),
        };
        let start = json.lines.position(0);
        while let Some((_, value)) = json.value()? {
            let Ok(value) = value else { continue };
            let (own, names) = match &value {
                Value::Object(members) => (
                    Form::Object,
                    match &wanted.columns {
                        Some(columns) if wanted.keep != Keep::All => named(columns, wanted),
                        _ => members.keys().cloned().collect(),
                    },
                ),
                Value::Array(values) => (Form::List, Layout::numbered(values.len())),
                _ => (Form::Value, Layout::numbered(1)),
            };
            json.own = own;
            json.layout = Layout::new(names, own, wanted)?;
            break;
        }
        let from = if from.rows > 0 { from } else { start };
        json.lines.go_to(from.offset, from.lines)?;
        json.rows = from.rows;
        Ok(json)
    }

    /// The next line that is not empty.
    fn value(&mut self) -> Result<Option<Numbered>, InputError> {
        loop {
            self.line.clear();
            let found = self.lines.append(&mut self.line, self.longest)?;
            let number = self.lines.count();
            match found {
                Line::End => return Ok(None),
                Line::TooLong => {
                    let reason = format!("longer than {} bytes (--max-row-bytes)", self.longest);
                    return Ok(Some((number, Err(reason))));
                }
                Line::Whole => {}
            }
            let line = without_end(&self.line);
            if line.trim_ascii().is_empty() {
                continue;
            }
            let value = match str::from_utf8(line) {
                Ok(text) => words::parse(text).map_err(|error| format!("no JSON: {error}")),
                Err(error) => Err(format!("no UTF-8 after {} bytes", error.valid_up_to())),
            };
            return Ok(Some((number, value)));
        }
    }

    fn cells(&self, value: Value) -> Result<Vec<String>, String> {
        let values = match (self.own, value) {
            (Form::Object, Value::Object(members)) => self.members(members)?,
            (Form::List, Value::Array(values)) if values.len() == self.layout.names.len() => values,
            (Form::List, Value::Array(values)) => {
                return Err(format!(
                    "{} values, and {} in the first row",
                    values.len(),
                    self.layout.names.len()
                ));
            }
            (Form::Value, value) if !value.is_array() && !value.is_object() => vec![value],
            (own, _) => return Err(format!("expected {}, as the first row is", of(own))),
        };
        Ok(values.iter().map(words::print).collect())
    }

    /// The members of an object in the order of the columns.
    fn members(&self, mut members: serde_json::Map<String, Value>) -> Result<Vec<Value>, String> {
        let count = members.len();
        let mut values = Vec::with_capacity(self.layout.names.len());
        for name in &self.layout.names {
            let value = members.get_mut(name).map(Value::take);
            values.push(value.ok_or_else(|| format!("column {name:?} is missing"))?);
        }
        if self.is_closed && count > values.len() {
            let other = members.keys().find(|name| !self.layout.names.contains(name));
            return Err(format!(
                "column {:?} is not in the first row",
                other.map_or("", |name| name)
            ));
        }
        Ok(values)
    }
}

/// The columns that the command line names, each once.
fn named(columns: &[String], wanted: &Wanted) -> Vec<String> {
    let kept: &[String] = match &wanted.keep {
        Keep::Named(kept) => kept,
        Keep::None | Keep::All => &[],
    };
    let mut names: Vec<String> = Vec::new();
    for name in columns.iter().chain(kept) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn of(form: Form) -> &'static str {
    match form {
        Form::Value => "a value",
        Form::List => "a list",
        Form::Object => "an object",
    }
}

impl Rows for JsonLines {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn next(&mut self) -> Result<Option<Entry>, InputError> {
        let Some((line, value)) = self.value()? else {
            return Ok(None);
        };
        self.rows += 1;
        let place = Place {
            row: self.rows,
            line: Some(line),
        };
        Ok(Some(match value.and_then(|value| self.cells(value)) {
            Ok(cells) => Entry::Row(Row { place, cells }),
            Err(reason) => Entry::bad(place, reason),
        }))
    }

    fn position(&self) -> Position {
        self.lines.position(self.rows)
    }
}

#[cfg(test)]
mod tests {
    use shared::test_util::Scratch;

    use super::*;

    const WANTED: Wanted = Wanted {
        columns: None,
        text: Vec::new(),
        keep: Keep::None,
        form: None,
    };

    fn read(content: &[u8], wanted: &Wanted) -> (Layout, Vec<String>) {
        let scratch = Scratch::new("json-lines");
        let path = scratch.file("rows.jsonl", content);
        let open = |from| JsonLines::open(File::open(&path).expect("a file"), wanted, 60, from).expect("opens");
        let mut rows = open(Position::default());
        let mut entries = Vec::new();
        while let Some(entry) = rows.next().expect("reads") {
            let (place, text) = match entry {
                Entry::Row(row) => (row.place, row.cells.join("|")),
                Entry::Bad(bad) => (bad.place, format!("bad: {}", bad.reason)),
            };
            entries.push(format!("{}@{} {text}", place.row, place.line.expect("a line")));
            // From any position the rest is the same.
            assert_eq!(
                open(rows.position()).next().expect("reads"),
                open(rows.position()).next().expect("reads")
            );
        }
        (rows.layout().clone(), entries)
    }

    #[test]
    fn objects_have_the_columns_of_the_first_one() {
        let content = b"\xef\xbb\xbf\n{\"x\":1,\"y\":NaN}\r\n\r\n  \n{\"y\":\"a\",\"x\":[1,2]}\n{\"x\":1}\n{\"x\":1,\"y\":2,\"z\":3}\n[1]\n{\"x\"\n5";
        let (layout, rows) = read(content, &WANTED);
        assert_eq!(
            (layout.names, layout.form),
            (vec!["x".to_owned(), "y".to_owned()], Form::List)
        );
        assert_eq!(
            rows[..4],
            [
                "1@2 1|NaN",
                "2@5 [1,2]|\"a\"",
                "3@6 bad: column \"y\" is missing",
                "4@7 bad: column \"z\" is not in the first row",
            ]
        );
        assert_eq!(rows[4], "5@8 bad: expected an object, as the first row is");
        assert!(rows[5].starts_with("6@9 bad: no JSON: EOF"), "{}", rows[5]);
        assert_eq!(rows[6], "7@10 bad: expected an object, as the first row is");
    }

    #[test]
    fn named_columns_are_taken_from_whatever_else_is_there() {
        let wanted = Wanted {
            columns: Some(vec!["x".to_owned()]),
            keep: Keep::Named(vec!["id".to_owned()]),
            ..WANTED
        };
        let (layout, rows) = read(b"{\"id\":7,\"x\":1}\n{\"x\":2,\"more\":0,\"id\":8}\n", &wanted);
        assert_eq!((layout.form, layout.sent, layout.kept), (Form::Value, vec![0], vec![1]));
        assert_eq!(rows, ["1@1 1|7", "2@2 2|8"]);
    }

    #[test]
    fn values_and_lists() {
        let (layout, rows) = read(b"1.5\n2\n[1]\nnull\n", &WANTED);
        assert_eq!(layout.form, Form::Value);
        assert_eq!(
            rows,
            [
                "1@1 1.5",
                "2@2 2",
                "3@3 bad: expected a value, as the first row is",
                "4@4 null"
            ]
        );
        let (layout, rows) = read(b"no JSON\n[1]\n[1,2]\n", &WANTED);
        assert_eq!(layout.form, Form::List);
        assert!(rows[0].starts_with("1@1 bad: no JSON: "), "{}", rows[0]);
        assert_eq!(rows[1..], ["2@2 1", "3@3 bad: 2 values, and 1 in the first row"]);
    }

    #[test]
    fn a_line_that_is_too_long_and_one_that_is_no_text() {
        let mut content = format!("1\n\"{}\"\n2\n", "x".repeat(70)).into_bytes();
        content.extend(b"\xff\n3");
        let (_, rows) = read(&content, &WANTED);
        assert_eq!(
            rows,
            [
                "1@1 1",
                "2@2 bad: longer than 60 bytes (--max-row-bytes)",
                "3@3 2",
                "4@4 bad: no UTF-8 after 0 bytes",
                "5@5 3"
            ]
        );
    }
}
