//! JSON, one value at a time and none of them kept.
//!
//! The protocols need what serde_json does not do: the words NaN and Infinity, which model servers read and write; numbers as
//! text, so that each becomes its type without a detour over another one; and the place of a value whose type is named only
//! after it.

use std::borrow::Cow;

/// Nesting limit of values that are skipped.
const DEEPEST: usize = 64;

/// Reads from a text and stands at one of its bytes. A copy goes its own way from there.
#[derive(Debug, Clone, Copy)]
pub(in crate::protocol) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

/// A number as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::protocol) struct Number<'a> {
    pub(in crate::protocol) text: &'a str,
    /// True without a fraction and an exponent.
    pub(in crate::protocol) is_whole: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonKind {
    Object,
    List,
    Text,
    /// NaN and Infinity are numbers too.
    Number,
    True,
    False,
    Null,
}

impl JsonKind {
    /// As TensorFlow Serving's messages call it.
    pub(in crate::protocol) fn name(self) -> &'static str {
        match self {
            Self::Object => "Object",
            Self::List => "Array",
            Self::Text => "String",
            Self::Number => "Number",
            Self::True => "True",
            Self::False => "False",
            Self::Null => "Null",
        }
    }
}

/// Where the text stops to be JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at offset: {offset}")]
pub struct SyntaxError {
    pub(in crate::protocol) problem: &'static str,
    pub(in crate::protocol) offset: usize,
}

impl<'a> Scanner<'a> {
    pub(in crate::protocol) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(in crate::protocol) fn of_bytes(bytes: &'a [u8]) -> Result<Self, SyntaxError> {
        let text = std::str::from_utf8(bytes).map_err(|error| SyntaxError {
            problem: "The text is no UTF-8.",
            offset: error.valid_up_to(),
        })?;
        Ok(Self::new(text))
    }

    /// The offset of the next byte to read.
    pub(in crate::protocol) fn offset(&self) -> usize {
        self.at
    }

    /// True if only white space is left.
    pub(in crate::protocol) fn is_at_end(&mut self) -> bool {
        self.skip_space();
        self.at == self.text.len()
    }

    /// Kind of the next value, by its first byte.
    #[inline]
    pub(in crate::protocol) fn peek(&mut self) -> Result<JsonKind, SyntaxError> {
        self.skip_space();
        match self.byte() {
            Some(b'{') => Ok(JsonKind::Object),
            Some(b'[') => Ok(JsonKind::List),
            Some(b'"') => Ok(JsonKind::Text),
            Some(b'-' | b'0'..=b'9' | b'N' | b'I') => Ok(JsonKind::Number),
            Some(b't') => Ok(JsonKind::True),
            Some(b'f') => Ok(JsonKind::False),
            Some(b'n') => Ok(JsonKind::Null),
            Some(_) => Err(self.fault("Invalid value.")),
            None => Err(self.fault("The text ends where a value is expected.")),
        }
    }

    /// Enters a list. Gives whether there is an element to read.
    pub(in crate::protocol) fn open_list(&mut self) -> Result<bool, SyntaxError> {
        self.skip_space();
        self.expect(b'[', "A list is expected.")?;
        self.skip_space();
        Ok(!self.eat(b']'))
    }

    /// After an element: whether there is another one. If not, the list is left.
    #[inline]
    pub(in crate::protocol) fn next_element(&mut self) -> Result<bool, SyntaxError> {
        self.skip_space();
        if self.eat(b',') {
            return Ok(true);
        }
        self.expect(b']', "A comma or ] is missing after an element.")?;
        Ok(false)
    }

    /// Enters an object. Gives the name of the member whose value is to be read.
    pub(in crate::protocol) fn open_object(&mut self) -> Result<Option<Cow<'a, str>>, SyntaxError> {
        self.skip_space();
        self.expect(b'{', "An object is expected.")?;
        self.skip_space();
        if self.eat(b'}') {
            return Ok(None);
        }
        self.member_name().map(Some)
    }

    /// After a member's value: the name of the next one. If there is none, the object is left.
    pub(in crate::protocol) fn next_member(&mut self) -> Result<Option<Cow<'a, str>>, SyntaxError> {
        self.skip_space();
        if self.eat(b',') {
            return self.member_name().map(Some);
        }
        self.expect(b'}', "A comma or } is missing after a member.")?;
        Ok(None)
    }

    fn member_name(&mut self) -> Result<Cow<'a, str>, SyntaxError> {
        self.skip_space();
        let name = self.text()?;
        self.skip_space();
        self.expect(b':', "A colon is missing after a member's name.")?;
        Ok(name)
    }

    #[inline]
    pub(in crate::protocol) fn number(&mut self) -> Result<Number<'a>, SyntaxError> {
        self.skip_space();
        let start = self.at;
        let minus = self.eat(b'-');
        let is_whole = match self.byte() {
            Some(b'0') => {
                self.at += 1;
                self.is_whole()?
            }
            Some(b'1'..=b'9') => {
                self.digits();
                self.is_whole()?
            }
            Some(b'I') => {
                self.word("Infinity")?;
                false
            }
            Some(b'N') if !minus => {
                self.word("NaN")?;
                false
            }
            _ => return Err(self.fault("Invalid value.")),
        };
        let text = &self.text[start..self.at];
        Ok(Number { text, is_whole })
    }

    /// Passes over a fraction and an exponent, if there are any.
    #[inline]
    fn is_whole(&mut self) -> Result<bool, SyntaxError> {
        let end = self.at;
        if self.eat(b'.') && self.digits() == 0 {
            return Err(self.fault("A number has no digit after its point."));
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _sign = self.eat(b'+') || self.eat(b'-');
            if self.digits() == 0 {
                return Err(self.fault("A number has no digit in its exponent."));
            }
        }
        Ok(self.at == end)
    }

    #[inline]
    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    /// `true` or `false`.
    pub(in crate::protocol) fn truth(&mut self) -> Result<bool, SyntaxError> {
        self.skip_space();
        match self.byte() {
            Some(b't') => self.word("true").map(|()| true),
            _ => self.word("false").map(|()| false),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), SyntaxError> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.fault("Invalid value."))
        }
    }

    /// A string: a part of the text itself, unless it has escapes.
    pub(in crate::protocol) fn text(&mut self) -> Result<Cow<'a, str>, SyntaxError> {
        self.skip_space();
        self.expect(b'"', "A string is expected.")?;
        let plain = self.plain_text()?;
        if self.eat(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        let mut decoded = plain.to_owned();
        while !self.eat(b'"') {
            decoded.push(self.escape()?);
            decoded.push_str(self.plain_text()?);
        }
        Ok(Cow::Owned(decoded))
    }

    /// The part of a string up to its end or to the next escape.
    fn plain_text(&mut self) -> Result<&'a str, SyntaxError> {
        let rest = &self.text[self.at..];
        let ends = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
        let Some(length) = rest.as_bytes().iter().position(ends) else {
            return Err(self.fault("A string has no end."));
        };
        self.at += length;
        match rest.as_bytes()[length] < 0x20 {
            true => Err(self.fault("A string has a control character in it.")),
            false => Ok(&rest[..length]),
        }
    }

    fn escape(&mut self) -> Result<char, SyntaxError> {
        const INVALID: &str = "Invalid escape in a string.";
        self.expect(b'\\', INVALID)?;
        let byte = self.byte().filter(u8::is_ascii).ok_or_else(|| self.fault(INVALID))?;
        self.at += 1;
        let character = match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex_digits()?;
                let code = match first {
                    // The first half of a pair, RFC 8259 section 7.
                    0xd800..=0xdbff => {
                        self.expect(b'\\', INVALID)?;
                        self.expect(b'u', INVALID)?;
                        let second = self.hex_digits()?;
                        let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400);
                        let low = low.ok_or_else(|| self.fault(INVALID))?;
                        0x1_0000 + ((first - 0xd800) << 10) + low
                    }
                    _ => first,
                };
                char::from_u32(code).ok_or_else(|| self.fault(INVALID))?
            }
            _ => return Err(self.fault(INVALID)),
        };
        Ok(character)
    }

    fn hex_digits(&mut self) -> Result<u32, SyntaxError> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4);
        let value = digits.and_then(|digits| {
            let digit = |value: u32, byte: &u8| Some(value * 16 + char::from(*byte).to_digit(16)?);
            digits.iter().try_fold(0, digit)
        });
        let value = value.ok_or_else(|| self.fault("Invalid escape in a string."))?;
        self.at += 4;
        Ok(value)
    }

    /// Passes over the next value. Gives its text.
    pub(in crate::protocol) fn skip(&mut self) -> Result<&'a str, SyntaxError> {
        self.skip_space();
        let start = self.at;
        self.skip_value(0)?;
        Ok(&self.text[start..self.at])
    }

    fn skip_value(&mut self, depth: usize) -> Result<(), SyntaxError> {
        let kind = self.peek()?;
        if depth == DEEPEST && matches!(kind, JsonKind::Object | JsonKind::List) {
            return Err(self.fault("Nested too deeply."));
        }
        match kind {
            JsonKind::Object => {
                let mut member = self.open_object()?;
                while member.is_some() {
                    self.skip_value(depth + 1)?;
                    member = self.next_member()?;
                }
            }
            JsonKind::List => {
                let mut more = self.open_list()?;
                while more {
                    self.skip_value(depth + 1)?;
                    more = self.next_element()?;
                }
            }
            JsonKind::Text => {
                self.text()?;
            }
            JsonKind::Number => {
                self.number()?;
            }
            JsonKind::True | JsonKind::False => {
                self.truth()?;
            }
            JsonKind::Null => self.word("null")?,
        }
        Ok(())
    }

    #[inline]
    fn skip_space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn eat(&mut self, byte: u8) -> bool {
        let is_there = self.byte() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, byte: u8, problem: &'static str) -> Result<(), SyntaxError> {
        match self.eat(byte) {
            true => Ok(()),
            false => Err(self.fault(problem)),
        }
    }

    fn fault(&self, problem: &'static str) -> SyntaxError {
        SyntaxError {
            problem,
            offset: self.at,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn skipped(text: &[u8]) -> Result<bool, SyntaxError> {
        let mut scanner = Scanner::of_bytes(text)?;
        scanner.skip()?;
        Ok(scanner.is_at_end())
    }

    /// True if all of `text` is one value.
    fn is_json(text: &[u8]) -> bool {
        skipped(text) == Ok(true)
    }

    #[test]
    fn a_fault_says_where_it_is() {
        let fault = |text: &str| skipped(text.as_bytes()).expect_err(text).to_string();
        assert_eq!(fault("instances = [1, 2]"), "Invalid value. at offset: 0");
        assert_eq!(fault("[1, x]"), "Invalid value. at offset: 4");
        assert_eq!(fault("[1 2]"), "A comma or ] is missing after an element. at offset: 3");
        assert_eq!(
            fault("{\"a\" 1}"),
            "A colon is missing after a member's name. at offset: 5"
        );
        assert_eq!(fault("[1."), "A number has no digit after its point. at offset: 3");
        assert_eq!(fault("\"\\ud800x\""), "Invalid escape in a string. at offset: 7");
        assert_eq!(
            skipped(b"[\xff").expect_err("no text").to_string(),
            "The text is no UTF-8. at offset: 1"
        );
        assert_eq!(fault(&"[".repeat(1_000_000)), "Nested too deeply. at offset: 64");
    }

    #[test]
    fn the_words_for_what_is_no_number_are_numbers() {
        for word in ["NaN", "Infinity", "-Infinity"] {
            let mut scanner = Scanner::new(word);
            assert_eq!(scanner.peek(), Ok(JsonKind::Number));
            assert_eq!(scanner.number().map(|number| number.text), Ok(word));
        }
        for word in ["-NaN", "Inf", "nan", "+1", "01", ".5", "1e", "--1"] {
            assert!(!is_json(word.as_bytes()), "{word}");
        }
    }

    #[test]
    fn only_a_string_with_escapes_is_copied() {
        let text = |text: &'static str| Scanner::new(text).text().expect(text);
        assert!(matches!(text("\"grün\""), Cow::Borrowed("grün")));
        assert_eq!(text(r#""a\"\\\/\b\f\n\r\té😀z""#), "a\"\\/\u{8}\u{c}\n\r\té😀z");
        assert_eq!(text(r#""\u00e9\ud83d\ude00z""#), "é😀z");
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((".{0,4}", inner), 0..5).prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_serde_json_writes_is_read_to_its_end(value in json(), pretty in any::<bool>()) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            prop_assert!(is_json(text.as_bytes()), "{}", text);
        }

        #[test]
        fn a_string_reads_as_serde_json_reads_it(text in "\"([a-z\\\\u0-9dDcC89\"nt/é😀]|\\\\u[dD][89cC][0-9]{2}){0,12}\"") {
            let ours = Scanner::new(&text).text().ok().map(Cow::into_owned);
            let mut theirs = serde_json::Deserializer::from_str(&text).into_iter::<String>();
            prop_assert_eq!(ours, theirs.next().and_then(Result::ok), "{}", text);
        }

        #[test]
        fn what_serde_json_refuses_is_refused(text in r#"[\[\]\{\}:,"0-9eE+\-. nulltrefasx\\]{0,16}"#) {
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(is_json(text.as_bytes()), theirs, "{}", text);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _either = skipped(&bytes);
        }
    }
}
