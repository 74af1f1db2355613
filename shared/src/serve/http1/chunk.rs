//! The line before a chunk: its size and its extensions, RFC 9112 section 7.1.

use super::bytes::{split_token, trim};
use super::refusal::Refusal;

/// Digits of the largest size; leading zeros count, as for readers that have a fixed number of them.
const MOST_DIGITS: usize = 15;

/// Bytes of extensions in one body. Nobody is known to use any.
pub(super) const MOST_EXTENSION_BYTES: usize = 4096;

/// The longest line there can be.
pub(super) const MOST_LINE_BYTES: usize = MOST_DIGITS + MOST_EXTENSION_BYTES;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkLine {
    pub(super) size: u64,
    pub(super) extension_bytes: usize,
}

impl ChunkLine {
    pub(super) fn parse(line: &[u8]) -> Result<Self, Refusal> {
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (digits, extensions) = line.split_at(digits);
        let followed_well = matches!(extensions, [] | [b';', ..]);
        if !(1..=MOST_DIGITS).contains(&digits.len()) || !followed_well {
            return Err(Refusal::ChunkSize);
        }
        if !are_extensions(extensions) {
            return Err(Refusal::ChunkExtension);
        }
        Ok(Self {
            size: digits
                .iter()
                .fold(0, |size, digit| size << 4 | u64::from(value(*digit))),
            extension_bytes: extensions.len(),
        })
    }
}

fn value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        letter => letter.to_ascii_lowercase() - b'a' + 10,
    }
}

/// Any number of `;name`, `;name=token` and `;name="quoted string"`, with whitespace around the marks.
fn are_extensions(mut rest: &[u8]) -> bool {
    while let [b';', extension @ ..] = rest {
        let (name, after_name) = split_token(trim(extension));
        if name.is_empty() {
            return false;
        }
        rest = trim(after_name);
        if let [b'=', value @ ..] = rest {
            let after_value = match trim(value) {
                [b'"', quoted @ ..] => after_quoted(quoted),
                token => {
                    let (token, rest) = split_token(token);
                    (!token.is_empty()).then_some(rest)
                }
            };
            match after_value {
                Some(after_value) => rest = trim(after_value),
                None => return false,
            }
        }
    }
    rest.is_empty()
}

/// The bytes behind a quoted string; `None` when it does not end. Control characters were ruled out before.
fn after_quoted(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        match rest {
            [b'"', after @ ..] => return Some(after),
            [b'\\', _, after @ ..] | [_, after @ ..] => rest = after,
            [] => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_hexadecimal_digits_and_nothing_else() {
        for (line, size) in [("0", 0), ("a", 10), ("1F", 31), ("00000000000000a", 10)] {
            let parsed = ChunkLine::parse(line.as_bytes()).expect("a size");
            assert_eq!((parsed.size, parsed.extension_bytes), (size, 0), "{line}");
        }
        for bad in [
            "",
            "0x5",
            "+5",
            "-5",
            " 5",
            "5 ",
            "5\t",
            "5 ;a",
            "g",
            ";a",
            "5_0",
            "10000000000000000",
            "0000000000000001",
        ] {
            assert_eq!(ChunkLine::parse(bad.as_bytes()), Err(Refusal::ChunkSize), "{bad:?}");
        }
    }

    #[test]
    fn extensions_are_names_with_or_without_values() {
        for good in [";a", ";a=b", "; a = b ; c", ";a=\"x;y \\\" z\"", ";a=\"\";b"] {
            let line = format!("5{good}");
            let parsed = ChunkLine::parse(line.as_bytes());
            let expected = ChunkLine {
                size: 5,
                extension_bytes: good.len(),
            };
            assert_eq!(parsed, Ok(expected), "{good:?}");
        }
        for bad in [
            ";",
            ";;",
            ";=b",
            ";a=",
            ";a=\"x",
            ";a=\"x\\\"",
            ";a=b c",
            ";a b",
            ";a=\"x\"y",
            ";a;",
        ] {
            let line = format!("5{bad}");
            assert_eq!(
                ChunkLine::parse(line.as_bytes()),
                Err(Refusal::ChunkExtension),
                "{bad:?}"
            );
        }
    }
}
