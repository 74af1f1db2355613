//! Answers of the gateway's own to gRPC's clients, which look for a status of their own kind and not for HTTP's:
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.

use std::fmt::Write;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use shared::problem::Problem;

use super::exchange::Answer;
use super::present::Present;
use crate::body::ResponseBody;
use crate::error::ProxyError;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const APPLICATION_GRPC: &str = "application/grpc";

const UNKNOWN: u16 = 2;
const DEADLINE_EXCEEDED: u16 = 4;
const PERMISSION_DENIED: u16 = 7;
const RESOURCE_EXHAUSTED: u16 = 8;
const UNIMPLEMENTED: u16 = 12;
const INTERNAL: u16 = 13;
const UNAVAILABLE: u16 = 14;
const DATA_LOSS: u16 = 15;
const UNAUTHENTICATED: u16 = 16;
/// All of them, from 0.
pub(crate) const STATUSES: usize = 17;

/// `application/grpc`, alone or with a format after it, such as `+proto`. gRPC-Web is another protocol.
pub(crate) fn is_grpc(headers: &HeaderMap, present: Present) -> bool {
    let content_type = present.content_type.then(|| headers.get(CONTENT_TYPE)).flatten();
    let after = content_type.and_then(|value| value.as_bytes().strip_prefix(APPLICATION_GRPC.as_bytes()));
    matches!(after, Some([] | [b'+' | b';', ..]))
}

/// The failure as an answer without a message, whose trailers are its headers.
pub(crate) fn answer(error: &ProxyError, problem: Problem) -> Answer {
    let status = problem.status();
    let message = percent_encoded(problem.detail());
    let explained: Response<bytes::Bytes> = problem.into_response();
    let mut answer = Response::new(ResponseBody::from(bytes::Bytes::new()));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(APPLICATION_GRPC));
    headers.insert(GRPC_STATUS, HeaderValue::from(code(error, status)));
    if let Ok(message) = HeaderValue::try_from(message) {
        headers.insert(GRPC_MESSAGE, message);
    }
    if let Some(after) = explained.headers().get(RETRY_AFTER) {
        headers.insert(RETRY_AFTER, after.clone());
    }
    answer
}

/// The trailers of an answer that had begun when its client's deadline passed.
pub(crate) fn deadline_exceeded() -> HeaderMap {
    let message = HeaderValue::from_static("the deadline passed before the answer ended");
    HeaderMap::from_iter([
        (GRPC_STATUS, HeaderValue::from(DEADLINE_EXCEEDED)),
        (GRPC_MESSAGE, message),
    ])
}

/// What a client would make of the HTTP status, by
/// <https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>, where the gateway does not know better.
fn code(error: &ProxyError, status: StatusCode) -> u16 {
    match status {
        _ if matches!(error, ProxyError::DeadlineExceeded) => DEADLINE_EXCEEDED,
        StatusCode::BAD_REQUEST => INTERNAL,
        StatusCode::UNAUTHORIZED => UNAUTHENTICATED,
        StatusCode::FORBIDDEN => PERMISSION_DENIED,
        StatusCode::NOT_FOUND => UNIMPLEMENTED,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// What an answer that consists of gRPC's status alone would be in HTTP, as Envoy reads it, so that its endpoint is judged
/// and another asked by the same rules. A passed deadline is the client's own and says nothing about the endpoint.
#[cold]
pub(crate) fn status_meant(answer: &Response<()>) -> StatusCode {
    match status_in(answer.headers()) {
        Some(UNKNOWN | INTERNAL | DATA_LOSS) => StatusCode::INTERNAL_SERVER_ERROR,
        Some(RESOURCE_EXHAUSTED) => StatusCode::TOO_MANY_REQUESTS,
        Some(UNAVAILABLE) => StatusCode::SERVICE_UNAVAILABLE,
        _ => answer.status(),
    }
}

/// The status in the trailers, or in the headers when there is nothing else. What is none is `UNKNOWN`.
pub(crate) fn status_in(fields: &HeaderMap) -> Option<u16> {
    let status = fields
        .get(GRPC_STATUS)?
        .to_str()
        .ok()
        .and_then(|status| status.parse().ok());
    Some(
        status
            .filter(|status| usize::from(*status) < STATUSES)
            .unwrap_or(UNKNOWN),
    )
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
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
            assert_eq!(is_grpc(&headers, Present::in_headers(&headers)), expected, "{value}");
        }
        assert!(!is_grpc(&HeaderMap::new(), Present::default()));
    }

    #[test]
    fn a_failure_has_the_code_that_its_http_status_means() {
        for (error, code) in [
            (ProxyError::NoRoute, "12"),
            (ProxyError::UnsafePath, "13"),
            (ProxyError::ApiKeyWrong, "16"),
            (ProxyError::BodyTooLarge(1), "2"),
            (ProxyError::NoEndpoint, "14"),
            (ProxyError::UpstreamTimeout, "14"),
            (ProxyError::DeadlineExceeded, "4"),
        ] {
            let answer = answer(&error, error.problem());
            assert_eq!(answer.status(), StatusCode::OK);
            assert_eq!(answer.headers()[GRPC_STATUS], code, "{error}");
            assert_eq!(answer.headers()[CONTENT_TYPE], "application/grpc");
            assert!(!answer.headers()[GRPC_MESSAGE].is_empty());
            let waits = matches!(error, ProxyError::NoEndpoint);
            assert_eq!(answer.headers().contains_key(RETRY_AFTER), waits);
        }
    }

    #[test]
    fn a_status_alone_means_one_of_http() {
        for (status, meant) in [
            (None, 200),
            (Some("0"), 200),
            (Some("2"), 500),
            (Some("4"), 200),
            (Some("5"), 200),
            (Some("8"), 429),
            (Some("12"), 200),
            (Some("14"), 503),
            (Some("15"), 500),
            (Some("17"), 500),
            (Some("x"), 500),
        ] {
            let mut answer = Response::new(());
            if let Some(status) = status {
                answer
                    .headers_mut()
                    .insert(GRPC_STATUS, HeaderValue::from_static(status));
            }
            assert_eq!(status_meant(&answer), meant, "{status:?}");
        }
    }

    #[test]
    fn a_message_is_printable() {
        assert_eq!(percent_encoded("100% ä\n~"), "100%25 %C3%A4%0A~");
    }
}
