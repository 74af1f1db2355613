//! Percent-decoding, RFC 3986 section 2.1, as strict as a router has to be.
//!
//! The crates for it pass a broken escape through. A path with one means different things to different servers, so here it is no text
//! at all.

/// Decodes the escapes in `text` whose byte `wanted` accepts and leaves the others as they are; `None` when an escape is broken.
pub fn decode(text: &str, wanted: impl Fn(u8) -> bool) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            decoded.push(byte);
            rest = after;
            continue;
        }
        let (digits, after) = after.split_at_checked(2)?;
        let value = hex(digits[0])? << 4 | hex(digits[1])?;
        match wanted(value) {
            true => decoded.push(value),
            false => decoded.extend([b'%', digits[0], digits[1]]),
        }
        rest = after;
    }
    Some(decoded)
}

/// Decodes every escape in `text`; `None` when one is broken or the result is not UTF-8.
pub fn decode_text(text: &str) -> Option<String> {
    String::from_utf8(decode(text, |_| true)?).ok()
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_decoded_once() {
        assert_eq!(decode_text("half%5Fplus%5ftwo").as_deref(), Some("half_plus_two"));
        assert_eq!(decode_text("m%C3%BC%2525").as_deref(), Some("mü%25"));
        assert_eq!(decode_text("ü").as_deref(), Some("ü"));
    }

    #[test]
    fn a_broken_escape_is_no_text() {
        for broken in ["%", "%5", "%zz", "a%+1", "%%361", "% 1", "%ü"] {
            assert_eq!(decode(broken, |_| true), None, "{broken}");
            assert_eq!(decode(broken, |_| false), None, "{broken}");
        }
        assert_eq!(decode_text("%ff"), None, "no UTF-8");
    }

    #[test]
    fn an_escape_that_is_not_wanted_stays_as_it_is_written() {
        let letters = |byte: u8| byte.is_ascii_alphabetic();
        assert_eq!(decode("%61%2f%2F%41", letters).as_deref(), Some(&b"a%2f%2FA"[..]));
    }

    proptest! {
        #[test]
        fn every_text_comes_back_from_its_escapes(text in ".{0,20}") {
            let escaped: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(decode_text(&escaped), Some(text));
        }
    }
}
