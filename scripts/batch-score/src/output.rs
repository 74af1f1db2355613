//! A row of the output as text: its number, the columns that are kept, the prediction, the model's version.

use std::borrow::Cow;
use std::fmt::Write;

use serde_json::Value;

use crate::layout::{Layout, MODEL_VERSION, PREDICTION, ROW};
use crate::row::{BadRow, Row};
use crate::words;

/// The format of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Csv,
    JsonLines,
    /// JSON lines until all rows are there.
    #[cfg(feature = "parquet")]
    Parquet,
}

/// Writes rows in one format.
#[derive(Debug, Clone)]
pub struct Lines {
    pub format: Format,
    pub layout: Layout,
    pub row_numbers: bool,
}

impl Lines {
    /// What stands before the first row.
    pub fn header(&self) -> String {
        if self.format != Format::Csv {
            return String::new();
        }
        let names: Vec<Cow<'_, str>> = self.names().into_iter().map(quoted).collect();
        names.join(",") + "\n"
    }

    /// The names of the columns.
    pub fn names(&self) -> Vec<&str> {
        let kept = self.layout.kept.iter().map(|&at| self.layout.names[at].as_str());
        let number = self.row_numbers.then_some(ROW);
        number
            .into_iter()
            .chain(kept)
            .chain([PREDICTION, MODEL_VERSION])
            .collect()
    }

    /// Appends the line of a row, whose prediction is JSON.
    pub fn append(&self, text: &mut String, row: &Row, prediction: &str, version: &str) {
        match self.format {
            Format::Csv => self.append_csv(text, row, prediction, version),
            _ => self.append_json(text, row, prediction, version),
        }
    }

    fn append_csv(&self, text: &mut String, row: &Row, prediction: &str, version: &str) {
        if self.row_numbers {
            write!(text, "{},", row.place.row).expect("a String takes all");
        }
        for &at in &self.layout.kept {
            text.push_str(&quoted(&csv_text(&row.cells[at])));
            text.push(',');
        }
        text.push_str(&quoted(&csv_text(prediction)));
        text.push(',');
        text.push_str(&quoted(version));
        text.push('\n');
    }

    fn append_json(&self, text: &mut String, row: &Row, prediction: &str, version: &str) {
        text.push('{');
        if self.row_numbers {
            write!(text, "\"{ROW}\":{},", row.place.row).expect("a String takes all");
        }
        for &at in &self.layout.kept {
            let name = Value::from(self.layout.names[at].as_str());
            write!(text, "{name}:{},", words::quoted(&row.cells[at])).expect("a String takes all");
        }
        let (prediction, version) = (words::quoted(prediction), Value::from(version));
        writeln!(text, "\"{PREDICTION}\":{prediction},\"{MODEL_VERSION}\":{version}}}").expect("a String takes all");
    }
}

/// Appends the line of a rejected row.
pub fn append_rejected(text: &mut String, bad: &BadRow) {
    write!(text, "{{\"row\":{},", bad.place.row).expect("a String takes all");
    if let Some(line) = bad.place.line {
        write!(text, "\"line\":{line},").expect("a String takes all");
    }
    writeln!(text, "\"reason\":{}}}", Value::from(bad.reason.as_str())).expect("a String takes all");
}

/// The text of a JSON value in a field: of a string its characters, of null nothing.
fn csv_text(json: &str) -> Cow<'_, str> {
    match json.as_bytes().first() {
        Some(b'"') => match serde_json::from_str::<String>(json) {
            Ok(string) => Cow::Owned(string),
            Err(_) => Cow::Borrowed(json),
        },
        Some(b'[' | b'{') => words::quoted(json),
        _ if json == "null" => Cow::Borrowed(""),
        _ => Cow::Borrowed(json),
    }
}

/// The field, between quotes if it needs them.
fn quoted(field: &str) -> Cow<'_, str> {
    let needs = field.contains([',', '"', '\n', '\r']) || field.starts_with(' ') || field.ends_with(' ');
    match needs {
        true => Cow::Owned(format!("\"{}\"", field.replace('"', "\"\""))),
        false => Cow::Borrowed(field),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Form, Keep, Wanted};
    use crate::row::Place;

    fn lines(format: Format, row_numbers: bool) -> Lines {
        let wanted = Wanted {
            columns: Some(vec!["x".to_owned()]),
            text: Vec::new(),
            keep: Keep::All,
            form: None,
        };
        let names = ["x", "a, b"].map(str::to_owned).to_vec();
        let layout = Layout::new(names, Form::Object, &wanted).expect("a layout");
        Lines {
            format,
            layout,
            row_numbers,
        }
    }

    fn written(lines: &Lines) -> String {
        let place = Place { row: 7, line: Some(9) };
        let cells = ["NaN", "\"say \\\"hi\\\"\""].map(str::to_owned).to_vec();
        let mut text = lines.header();
        lines.append(&mut text, &Row { place, cells }, "[1.5,NaN]", "1.0");
        text
    }

    #[test]
    fn csv_has_a_header_and_quotes_what_needs_it() {
        assert_eq!(
            written(&lines(Format::Csv, true)),
            "row,x,\"a, b\",prediction,model_version\n7,NaN,\"say \"\"hi\"\"\",\"[1.5,\"\"NaN\"\"]\",1.0\n"
        );
    }

    #[test]
    fn json_lines_are_json() {
        let text = written(&lines(Format::JsonLines, false));
        assert_eq!(
            text,
            "{\"x\":\"NaN\",\"a, b\":\"say \\\"hi\\\"\",\"prediction\":[1.5,\"NaN\"],\"model_version\":\"1.0\"}\n"
        );
        serde_json::from_str::<Value>(&text).expect("JSON");
    }

    #[test]
    fn a_rejected_row_names_its_place() {
        let mut text = String::new();
        for line in [Some(3), None] {
            let place = Place { row: 2, line };
            let reason = "a \"reason\"".to_owned();
            append_rejected(&mut text, &BadRow { place, reason });
        }
        assert_eq!(
            text,
            "{\"row\":2,\"line\":3,\"reason\":\"a \\\"reason\\\"\"}\n{\"row\":2,\"reason\":\"a \\\"reason\\\"\"}\n"
        );
    }
}
