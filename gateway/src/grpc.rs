//! gRPC's own statuses: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::known_headers::KnownHeaders;

pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(crate) const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
pub(crate) const APPLICATION_GRPC: &str = "application/grpc";

pub(crate) const UNKNOWN: u16 = 2;
pub(crate) const DEADLINE_EXCEEDED: u16 = 4;
pub(crate) const PERMISSION_DENIED: u16 = 7;
pub(crate) const RESOURCE_EXHAUSTED: u16 = 8;
pub(crate) const UNIMPLEMENTED: u16 = 12;
pub(crate) const INTERNAL: u16 = 13;
pub(crate) const UNAVAILABLE: u16 = 14;
pub(crate) const DATA_LOSS: u16 = 15;
pub(crate) const UNAUTHENTICATED: u16 = 16;
/// All of them, from 0.
pub(crate) const STATUSES: usize = 17;

/// `application/grpc`, alone or with a format after it, such as `+proto`. gRPC-Web is another protocol.
pub(crate) fn is_grpc(headers: &HeaderMap, known: KnownHeaders) -> bool {
    let content_type = known.content_type.then(|| headers.get(CONTENT_TYPE)).flatten();
    let after = content_type.and_then(|value| value.as_bytes().strip_prefix(APPLICATION_GRPC.as_bytes()));
    matches!(after, Some([] | [b'+' | b';', ..]))
}

/// The trailers of an answer that had begun when its client's deadline passed.
pub(crate) fn deadline_exceeded() -> HeaderMap {
    trailers(DEADLINE_EXCEEDED, "the deadline passed before the answer ended")
}

/// The trailers in place of larger ones.
pub(crate) fn trailers_too_large() -> HeaderMap {
    trailers(RESOURCE_EXHAUSTED, "the trailers of the upstream service are too large")
}

fn trailers(status: u16, message: &'static str) -> HeaderMap {
    HeaderMap::from_iter([
        (GRPC_STATUS, HeaderValue::from(status)),
        (GRPC_MESSAGE, HeaderValue::from_static(message)),
    ])
}

/// HTTP's equivalent of a trailers-only answer, as Envoy reads it, so that its endpoint is rated
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
            assert_eq!(
                is_grpc(&headers, KnownHeaders::in_headers(&headers)),
                expected,
                "{value}"
            );
        }
        assert!(!is_grpc(&HeaderMap::new(), KnownHeaders::default()));
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
}
