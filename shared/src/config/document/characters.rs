//! The bytes of a YAML file as text, by sections 5.1 and 5.2 of YAML 1.2.2: UTF-8, perhaps with a byte order mark before it, and
//! no control characters.
//!
//! The parser checks none of this, and takes a NUL for the end of the file.

use std::str;

use crate::config::position::Position;

const BYTE_ORDER_MARK: char = '\u{feff}';

/// A place where the content is no text that YAML allows, and why.
pub(super) type CharacterFault = (Position, String);

/// The text of `content`, without its byte order mark.
pub(super) fn text_of(content: &[u8]) -> Result<&str, CharacterFault> {
    if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] = content {
        let start = Position { line: 1, column: 1 };
        return Err((start, "the file is UTF-16; save it as UTF-8".to_owned()));
    }
    let text = match str::from_utf8(content) {
        Ok(text) => text,
        Err(error) => {
            let at = error.valid_up_to();
            let before = str::from_utf8(&content[..at]).unwrap_or_default();
            let problem = format!("the byte 0x{:02x} is not UTF-8", content[at]);
            return Err((end_of(without_mark(before)), problem));
        }
    };
    let text = without_mark(text);
    match text
        .char_indices()
        .find(|(_, character)| is_forbidden_everywhere(*character))
    {
        None => Ok(text),
        Some((at, '\0')) => {
            let problem = "the character U+0000 (NUL) is not allowed; if the file is UTF-16, save it as UTF-8";
            Err((end_of(&text[..at]), problem.to_owned()))
        }
        Some((at, character)) => Err((end_of(&text[..at]), not_allowed(character))),
    }
}

/// The first character of a text without quotes that may not be there: what is only allowed in quotes, as JSON does.
pub(super) fn forbidden_outside_quotes(text: &str) -> Option<String> {
    let is_forbidden = |character: &char| matches!(*character, '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}' | BYTE_ORDER_MARK | '\u{fffe}' | '\u{ffff}');
    text.chars().find(is_forbidden).map(not_allowed)
}

fn is_forbidden_everywhere(character: char) -> bool {
    matches!(character, '\0'..='\u{1f}') && !matches!(character, '\t' | '\n' | '\r')
}

fn not_allowed(character: char) -> String {
    let code = u32::from(character);
    format!("the character U+{code:04X} is not allowed; write it as \"\\u{code:04X}\" in double quotes or remove it")
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// The position behind `text`.
fn end_of(text: &str) -> Position {
    let text = text.replace("\r\n", "\n");
    let mut lines = text.split(['\n', '\r']);
    let last = lines.next_back().unwrap_or_default();
    Position {
        line: lines.count() + 1,
        column: last.chars().count() + 1,
    }
}
