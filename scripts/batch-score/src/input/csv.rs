//! CSV as RFC 4180 has it: quotes, line breaks inside them, LF or CRLF. Empty lines are no rows.
//!
//! Read by hand, because a record must not grow with a quote that nobody closed: such a quote costs its own line and no other.

use std::fs::File;
use std::str;

use super::lines::{Line, Lines, without_end};
use super::rows::{InputError, Rows};
use crate::layout::{Form, Layout, Wanted};
use crate::row::{Entry, Place, Position, Row};

const WORDS: [(&str, &str); 9] = [
    ("nan", "NaN"),
    ("inf", "Infinity"),
    ("+inf", "Infinity"),
    ("-inf", "-Infinity"),
    ("infinity", "Infinity"),
    ("+infinity", "Infinity"),
    ("-infinity", "-Infinity"),
    ("true", "true"),
    ("false", "false"),
];

pub struct Csv {
    lines: Lines,
    layout: Layout,
    longest: usize,
    rows: u64,
    record: Vec<u8>,
}

/// What is wrong with a record.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("field {0}: text after the closing quote")]
    Quote(usize),
    #[error("no UTF-8 after {0} bytes")]
    NoText(usize),
}

/// What is next in the file.
enum Record {
    End,
    /// The line that it begins in, and its fields or what is wrong.
    At(u64, Result<Vec<String>, String>),
}

impl Csv {
    pub fn open(file: File, header: bool, wanted: &Wanted, longest: usize, from: Position) -> Result<Self, InputError> {
        let mut csv = Self {
            lines: Lines::start(file)?,
            layout: Layout {
                names: Vec::new(),
                text: Vec::new(),
                sent: Vec::new(),
                kept: Vec::new(),
                form: Form::Object,
            },
            longest,
            rows: 0,
            record: Vec::new(),
        };
        let start = csv.lines.position(0);
        let names = match csv.record()? {
            Record::End if header => return Err(InputError::Header("the file is empty; it has no header".to_owned())),
            Record::End => Vec::new(),
            Record::At(line, Err(reason)) => return Err(InputError::Header(format!("line {line}: {reason}"))),
            Record::At(_, Ok(fields)) if header => fields,
            Record::At(_, Ok(fields)) => Layout::numbered(fields.len()),
        };
        if !names.is_empty() {
            csv.layout = Layout::new(names, Form::Object, wanted)?;
        }
        if from.rows > 0 {
            csv.lines.go_to(from.offset, from.lines)?;
            csv.rows = from.rows;
        } else if !header {
            csv.lines.go_to(start.offset, start.lines)?;
        }
        Ok(csv)
    }

    fn record(&mut self) -> Result<Record, InputError> {
        loop {
            self.record.clear();
            let first = self.lines.count() + 1;
            let mut quoted = false;
            let mut after_first: Option<(u64, u64)> = None;
            loop {
                let seen = self.record.len();
                match self.lines.append(&mut self.record, self.longest)? {
                    Line::Whole => {
                        let after = (self.lines.offset(), self.lines.count());
                        let (first_offset, first_count) = *after_first.get_or_insert(after);
                        quoted = is_open(&self.record[seen..], quoted);
                        if !quoted {
                            break;
                        }
                        // Without a line end it is the last one.
                        if !self.record.ends_with(b"\n") {
                            self.lines.go_to(first_offset, first_count)?;
                            return Ok(unclosed(first));
                        }
                    }
                    Line::End if seen == 0 => return Ok(Record::End),
                    Line::TooLong if !quoted => {
                        let reason = format!("longer than {} bytes (--max-row-bytes)", self.longest);
                        return Ok(Record::At(first, Err(reason)));
                    }
                    Line::End | Line::TooLong => {
                        let (offset, count) = after_first.unwrap_or((self.lines.offset(), self.lines.count()));
                        self.lines.go_to(offset, count)?;
                        return Ok(unclosed(first));
                    }
                }
            }
            let record = without_end(&self.record);
            if record.is_empty() {
                continue;
            }
            let fields = fields(record);
            // The quote that closed it was meant to open another: it is the first line that is wrong.
            if let (Err(Fault::Quote(_)), Some((offset, count))) = (&fields, after_first)
                && count < self.lines.count()
            {
                self.lines.go_to(offset, count)?;
                return Ok(unclosed(first));
            }
            return Ok(Record::At(first, fields.map_err(|fault| fault.to_string())));
        }
    }

    fn row(&self, place: Place, fields: Vec<String>) -> Entry {
        let names = &self.layout.names;
        if fields.len() != names.len() {
            let reason = format!("{} fields, and {} columns", fields.len(), names.len());
            return Entry::bad(place, reason);
        }
        let mut cells = Vec::with_capacity(fields.len());
        for (at, field) in fields.into_iter().enumerate() {
            let sent = self.layout.sent.contains(&at);
            let text = || serde_json::Value::String(field.clone()).to_string();
            let number = if self.layout.text[at] { None } else { number(&field) };
            match number {
                Some(number) => cells.push(number),
                None if !sent || self.layout.text[at] => cells.push(text()),
                None => {
                    let shown: String = field.chars().take(64).collect();
                    let name = &names[at];
                    let reason =
                        format!("column {name:?}: expected a number, found {shown:?}; --text-columns sends text");
                    return Entry::bad(place, reason);
                }
            }
        }
        Entry::Row(Row { place, cells })
    }
}

fn unclosed(line: u64) -> Record {
    Record::At(line, Err("a quote is opened and not closed".to_owned()))
}

impl Rows for Csv {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn next(&mut self) -> Result<Option<Entry>, InputError> {
        let (line, fields) = match self.record()? {
            Record::End => return Ok(None),
            Record::At(line, fields) => (line, fields),
        };
        self.rows += 1;
        let place = Place {
            row: self.rows,
            line: Some(line),
        };
        Ok(Some(match fields {
            Ok(fields) => self.row(place, fields),
            Err(reason) => Entry::bad(place, reason),
        }))
    }

    fn position(&self) -> Position {
        self.lines.position(self.rows)
    }
}

/// Whether a quoted field is open at the end of a line, when one was `open` at its beginning.
fn is_open(line: &[u8], mut open: bool) -> bool {
    let mut at_start = !open;
    for &byte in line {
        match byte {
            // A second quote opens the field again: it was doubled.
            b'"' if open => (open, at_start) = (false, true),
            b'"' if at_start => (open, at_start) = (true, false),
            byte => at_start = !open && byte == b',',
        }
    }
    open
}

/// The fields of a record without its line end.
fn fields(record: &[u8]) -> Result<Vec<String>, Fault> {
    let record = str::from_utf8(record).map_err(|error| Fault::NoText(error.valid_up_to()))?;
    let mut fields = Vec::new();
    let mut rest = record;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted).ok_or(Fault::Quote(fields.len() + 1))?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Ok(fields),
        }
    }
}

/// A field behind its opening quote, and what follows the closing one: a comma or nothing.
fn quoted_field(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let quote = rest.find('"')?;
        field.push_str(&rest[..quote]);
        rest = &rest[quote + 1..];
        match rest.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None => return (rest.is_empty() || rest.starts_with(',')).then_some((field, rest)),
        }
    }
}

/// The JSON of a field that is a number, a truth value or one of the words for what is no number.
fn number(field: &str) -> Option<String> {
    let field = field.trim();
    let looks_like_one = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    if !field.is_empty() && field.as_bytes().iter().all(looks_like_one) {
        // Most numbers are JSON already, and keep every digit.
        if serde_json::from_str::<serde_json::Number>(field).is_ok() {
            return Some(field.to_owned());
        }
        // +1, 007, .5, 1.
        let digits = field.strip_prefix('+').unwrap_or(field);
        if let Ok(whole) = digits.parse::<i64>() {
            return Some(whole.to_string());
        }
        let number: f64 = digits.parse().ok()?;
        return serde_json::Number::from_f64(number).map(|number| number.to_string());
    }
    let word = WORDS.iter().find(|(word, _)| field.eq_ignore_ascii_case(word));
    word.map(|(_, json)| (*json).to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;
    use shared::test_util::Scratch;

    use super::*;
    use crate::layout::Keep;

    const WANTED: Wanted = Wanted {
        columns: None,
        text: Vec::new(),
        keep: Keep::None,
        form: None,
    };

    fn open(content: &[u8], header: bool, longest: usize) -> Csv {
        let scratch = Scratch::new("csv");
        let path = scratch.file("rows.csv", content);
        let file = File::open(path).expect("a file");
        Csv::open(file, header, &WANTED, longest, Position::default()).expect("opens")
    }

    /// Each entry: its row, its line, and its cells or the reason.
    fn read(csv: &mut Csv) -> Vec<(u64, u64, String)> {
        let mut entries = Vec::new();
        while let Some(entry) = csv.next().expect("reads") {
            let (place, text) = match entry {
                Entry::Row(row) => (row.place, row.cells.join("|")),
                Entry::Bad(bad) => (bad.place, format!("bad: {}", bad.reason)),
            };
            entries.push((place.row, place.line.expect("a line"), text));
        }
        entries
    }

    fn entry(row: u64, line: u64, text: &str) -> (u64, u64, String) {
        (row, line, text.to_owned())
    }

    #[test]
    fn quotes_line_ends_a_mark_and_empty_lines() {
        let mut csv = open(
            b"\xef\xbb\xbfx,\"y, \"\"z\"\"\"\r\n1,2\r\n\r\n\n\"3\",\"4\"\n\"5\n\",6",
            true,
            1000,
        );
        assert_eq!(csv.layout().names, ["x", "y, \"z\""]);
        assert_eq!(
            read(&mut csv),
            [entry(1, 2, "1|2"), entry(2, 5, "3|4"), entry(3, 6, "5|6")]
        );
    }

    #[test]
    fn numbers_of_every_notation_and_what_is_none() {
        let rows = "9007199254740993,1e5\n+1,007\n.5,-1.\nNaN,-inf\ntrue,\n0x1,1\n1e999,1\n";
        let mut csv = open(rows.as_bytes(), false, 1000);
        let bad = |name: &str, found: &str| {
            format!("bad: column \"{name}\": expected a number, found \"{found}\"; --text-columns sends text")
        };
        assert_eq!(
            read(&mut csv),
            [
                entry(1, 1, "9007199254740993|1e5"),
                entry(2, 2, "1|7"),
                entry(3, 3, "0.5|-1.0"),
                entry(4, 4, "NaN|-Infinity"),
                entry(5, 5, &bad("2", "")),
                entry(6, 6, &bad("1", "0x1")),
                entry(7, 7, &bad("1", "1e999")),
            ]
        );
    }

    #[test]
    fn a_bad_row_costs_itself_only() {
        let long = format!(
            "x,y\n1,2\n\"3,4\n5,6\n7\n\"8\"9,1\n{},1\n\u{ff},2\n9,10\n",
            "1".repeat(100)
        );
        let mut bytes = long.into_bytes();
        let at = bytes.windows(2).position(|pair| pair == [0xc3, 0xbf]).expect("there");
        bytes.splice(at..at + 2, [0xff]);
        let mut csv = open(&bytes, true, 80);
        assert_eq!(
            read(&mut csv),
            [
                entry(1, 2, "1|2"),
                entry(2, 3, "bad: a quote is opened and not closed"),
                entry(3, 4, "5|6"),
                entry(4, 5, "bad: 1 fields, and 2 columns"),
                entry(5, 6, "bad: field 1: text after the closing quote"),
                entry(6, 7, "bad: longer than 80 bytes (--max-row-bytes)"),
                entry(7, 8, "bad: no UTF-8 after 0 bytes"),
                entry(8, 9, "9|10"),
            ]
        );
    }

    #[test]
    fn a_quote_inside_a_field_is_text() {
        assert_eq!(fields(b"5\" pipe,\"a\"\"\",").expect("fields"), ["5\" pipe", "a\"", ""]);
        assert!(!is_open(b"5\" pipe,1\n", false));
        assert!(is_open(b"1,\"a\n", false));
        assert!(is_open(b"a\"\"\n", true));
        assert!(!is_open(b"a\"\n", true));
        assert!(!is_open(b"a\"\"b\n", false));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_any_position_leads_to_the_rest(
            rows in proptest::collection::vec(proptest::collection::vec("[a,\"\r\n x1]{0,5}", 2), 1..20),
            crlf in any::<bool>(),
        ) {
            let scratch = Scratch::new("csv");
            let path = scratch.path().join("rows.csv");
            let mut file = File::create(&path).expect("a file");
            let end = if crlf { "\r\n" } else { "\n" };
            write!(file, "a,b{end}").expect("written");
            for row in &rows {
                let fields: Vec<String> = row.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect();
                write!(file, "{}{end}", fields.join(",")).expect("written");
            }
            let wanted = Wanted { text: vec!["a".to_owned(), "b".to_owned()], ..WANTED };
            let open = |from| Csv::open(File::open(&path).expect("a file"), true, &wanted, 1000, from).expect("opens");
            let mut csv = open(Position::default());
            let mut read = 0;
            loop {
                let entry = csv.next().expect("reads");
                prop_assert_eq!(&entry, &open_at(&open, read)?);
                let Some(Entry::Row(row)) = entry else {
                    prop_assert_eq!(&entry, &None);
                    break;
                };
                let expected: Vec<String> = rows[read].iter().map(|field| serde_json::json!(field).to_string()).collect();
                prop_assert_eq!(row.cells, expected);
                read += 1;
            }
            prop_assert_eq!(read, rows.len());
        }
    }

    /// The entry after `read` others, found by a reader that is opened there.
    fn open_at(open: &impl Fn(Position) -> Csv, read: usize) -> Result<Option<Entry>, TestCaseError> {
        let mut before = open(Position::default());
        for _ in 0..read {
            before.next().map_err(|error| TestCaseError::fail(error.to_string()))?;
        }
        let mut there = open(before.position());
        there.next().map_err(|error| TestCaseError::fail(error.to_string()))
    }
}
