//! `X-Request-ID`: one name for a request in the response and in both services' logs.

use std::fmt;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

/// The header of requests and responses.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id of a client, in bytes. A longer one is replaced: it would be repeated in every log line.
const LONGEST: usize = 128;
const GENERATED: usize = 32;

/// A request id that is safe in a header and in a log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The client's own id, when it is sane: 1 to 128 letters, digits and `-_.:+/=@`.
    pub fn from_client(value: &HeaderValue) -> Option<Self> {
        let bytes = value.as_bytes();
        let sane = (1..=LONGEST).contains(&bytes.len()) && bytes.iter().copied().all(is_allowed);
        sane.then(|| Self(value.clone()))
    }

    /// 32 hexadecimal digits from 128 random bits, as nginx's `$request_id`.
    pub fn generate(random: u128) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; GENERATED];
        for (digits, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(random.to_le_bytes()) {
            *digits = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]];
        }
        // One allocation that is shared from the start: the id goes into two messages and a log line.
        let text = Bytes::from_owner(text);
        Self(HeaderValue::from_maybe_shared(text).expect("hexadecimal digits are a valid header value"))
    }

    /// The id as a header value.
    pub fn header_value(&self) -> &HeaderValue {
        &self.0
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        // Only ASCII gets into an id.
        self.0.to_str().unwrap_or_default()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.:+/=@".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_client_id_that_could_forge_a_log_line_is_not_kept() {
        for bad in ["", "a b", "a\"b", "{\"level\":\"error\"}", "a\tb", &"x".repeat(129)] {
            let value = HeaderValue::from_str(bad).expect("a legal header value");
            assert_eq!(RequestId::from_client(&value), None, "{bad:?}");
        }
        let uuid = HeaderValue::from_static("4bf92f35-77b3-4da6-a3ce-929d0e0e4736");
        assert_eq!(
            RequestId::from_client(&uuid).map(|id| id.to_string()).as_deref(),
            uuid.to_str().ok()
        );
    }

    proptest! {
        #[test]
        fn a_generated_id_is_32_hexadecimal_digits_and_would_itself_be_kept(random: u128) {
            let id = RequestId::generate(random);
            prop_assert_eq!(id.as_str().len(), 32);
            prop_assert!(id.as_str().bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()));
            prop_assert_eq!(RequestId::from_client(id.header_value()), Some(id));
        }

        #[test]
        fn two_random_numbers_make_two_ids(a: u128, b: u128) {
            prop_assert_eq!(a == b, RequestId::generate(a) == RequestId::generate(b));
        }
    }
}
