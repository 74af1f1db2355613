//! What a body is, by its Content-Type.

use super::super::json::tensor_reader::shorten;
use super::error::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaType {
    Json,
    Csv,
}

impl MediaType {
    /// Reads the values of Content-Type. Without any the body is JSON; with several it would be two things.
    pub fn of<'h>(mut values: impl Iterator<Item = &'h [u8]>) -> Result<Self, Error> {
        let Some(value) = values.next() else {
            return Ok(Self::Json);
        };
        let text = String::from_utf8_lossy(value);
        let refused = |found: &str| Error::MediaType { found: shorten(found) };
        if values.next().is_some() {
            return Err(refused("several"));
        }
        let mut parts = text.split(';').map(str::trim);
        let media_type = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "application/json" => Self::Json,
            "text/csv" => Self::Csv,
            _ => return Err(refused(&text)),
        };
        match parts.filter(|part| !part.is_empty()).all(is_met) {
            true => Ok(media_type),
            false => Err(refused(&text)),
        }
    }
}

/// True for a parameter that says what is so anyway (RFC 4180, section 3).
fn is_met(parameter: &str) -> bool {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    let value = value.trim().trim_matches('"').to_ascii_lowercase();
    match name.trim().to_ascii_lowercase().as_str() {
        "charset" => matches!(value.as_str(), "utf-8" | "utf8" | "us-ascii"),
        "header" => value == "present",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Result<MediaType, String> {
        let found = MediaType::of(values.iter().map(|value| value.as_bytes()));
        found.map_err(|error| error.to_string())
    }

    #[test]
    fn json_and_csv_are_known_by_their_names_whatever_their_case() {
        for values in [
            &[][..],
            &["application/json"],
            &["Application/JSON; charset=UTF-8"],
            &["application/json;"],
        ] {
            assert_eq!(of(values), Ok(MediaType::Json), "{values:?}");
        }
        for value in ["text/csv", "text/csv; charset=\"utf-8\"; header=present"] {
            assert_eq!(of(&[value]), Ok(MediaType::Csv), "{value}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_what_it_is() {
        for value in [
            "",
            "application/x-www-form-urlencoded",
            "application/json; charset=latin1",
            "application/json; profile=x",
            "text/csv; header=absent",
            "text/csv; label_size=0",
        ] {
            let expected = format!(
                "Content-Type: expected one of application/json and text/csv, in UTF-8, CSV with a header, found {value}"
            );
            assert_eq!(of(&[value]), Err(expected));
        }
        let twice = of(&["text/csv", "text/csv"]).expect_err("is refused");
        assert!(twice.ends_with("found several"), "{twice}");
    }
}
