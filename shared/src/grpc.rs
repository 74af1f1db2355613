//! gRPC as far as a server without methods speaks it: its calls are known, and answered with a status alone
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use std::fmt::Write;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Response};

/// The header or trailer with the status of a call.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The header or trailer with the status in words, percent-encoded.
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// The media type of calls and their answers, which a format such as `+proto` may follow.
pub const APPLICATION_GRPC: &str = "application/grpc";

/// The status of a method that the server does not have.
pub const UNIMPLEMENTED: u16 = 12;

/// Tells whether a Content-Type is gRPC's: `application/grpc`, alone or with a format or a parameter. gRPC-Web is another protocol.
pub fn is_grpc(content_type: &HeaderValue) -> bool {
    let after = content_type.as_bytes().strip_prefix(APPLICATION_GRPC.as_bytes());
    matches!(after, Some([] | [b'+' | b';', ..]))
}

/// A trailers-only answer: a status with its words, and no message.
#[cold]
pub fn trailers_only<B: From<Bytes>>(status: u16, message: &str) -> Response<B> {
    let mut answer = Response::new(B::from(Bytes::new()));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(APPLICATION_GRPC));
    headers.insert(GRPC_STATUS, HeaderValue::from(status));
    let message = HeaderValue::try_from(percent_encoded(message));
    headers.insert(GRPC_MESSAGE, message.expect("printable ASCII is a header's value"));
    answer
}

/// Printable ASCII but for the percent sign as it is, all else as `%XX`.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => write!(encoded, "%{byte:02X}").expect("a string takes every write"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_known_by_its_content_type() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is_grpc(&HeaderValue::from_static(value)), expected, "{value}");
        }
    }

    #[test]
    fn an_answer_is_headers_alone_with_a_printable_message() {
        let answer: Response<Bytes> = trailers_only(UNIMPLEMENTED, "100% ä\n~");
        let headers = answer.headers();
        assert_eq!((answer.status().as_u16(), answer.body().len()), (200, 0));
        assert_eq!(
            (&headers[CONTENT_TYPE], &headers[GRPC_STATUS]),
            (&HeaderValue::from_static("application/grpc"), &HeaderValue::from(12))
        );
        assert_eq!(headers[GRPC_MESSAGE], "100%25 %C3%A4%0A~");
    }
}
