//! `NaN`, `Infinity` and `-Infinity`: words that Python and the model server write into JSON, which has none for them.

use std::borrow::Cow;

use serde_json::Value;

const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
/// Begins the strings that stand for these words while a text is a [`Value`].
const MARK: &str = "\\u0000";

/// Reads JSON in which these words may stand for numbers. Print it with [`print`].
pub fn parse(text: &str) -> Result<Value, serde_json::Error> {
    // Most texts have none, and are read once.
    serde_json::from_str(text).or_else(|error| match replaced(text, MARK) {
        Cow::Borrowed(_) => Err(error),
        Cow::Owned(marked) => serde_json::from_str(&marked),
    })
}

/// The JSON of a value that [`parse`] read, with the words as they were.
pub fn print(value: &Value) -> String {
    let mut text = value.to_string();
    if text.contains(MARK) {
        for word in WORDS {
            text = text.replace(&format!("\"{MARK}{word}\""), word);
        }
    }
    text
}

/// The text as JSON that everyone reads: the words become strings.
pub fn quoted(text: &str) -> Cow<'_, str> {
    replaced(text, "")
}

/// Puts each word that stands outside strings between quotes, after `mark`.
fn replaced<'t>(text: &'t str, mark: &str) -> Cow<'t, str> {
    if !text.contains("NaN") && !text.contains("Infinity") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let (mut in_string, mut copied, mut at) = (false, 0, 0);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'-' | b'I' | b'N' if !in_string => {
                if let Some(word) = WORDS.iter().find(|word| bytes[at..].starts_with(word.as_bytes())) {
                    out.push_str(&text[copied..at]);
                    out.push_str(&format!("\"{mark}{word}\""));
                    at += word.len();
                    copied = at;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kept_and_text_in_strings_is_not_one() {
        let text = r#"{"a":[NaN,-Infinity,Infinity,-1],"b":"NaN \" NaN","c":"Infinity"}"#;
        assert_eq!(print(&parse(text).expect("JSON with words")), text);
        assert_eq!(
            quoted(text),
            r#"{"a":["NaN","-Infinity","Infinity",-1],"b":"NaN \" NaN","c":"Infinity"}"#
        );
    }

    #[test]
    fn other_words_are_no_json() {
        for text in ["nan", "[Inf]", "[NaN NaN]", "-NaN", "+Infinity", "NaNs", ""] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
