//! gRPC's own statuses: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use shared::grpc;
use shared::grpc::{GRPC_MESSAGE, GRPC_STATUS};

use crate::known_headers::KnownHeaders;

pub(crate) const UNKNOWN: u16 = 2;
pub(crate) const DEADLINE_EXCEEDED: u16 = 4;
pub(crate) const PERMISSION_DENIED: u16 = 7;
pub(crate) const RESOURCE_EXHAUSTED: u16 = 8;
pub(crate) const INTERNAL: u16 = 13;
pub(crate) const UNAVAILABLE: u16 = 14;
pub(crate) const DATA_LOSS: u16 = 15;
pub(crate) const UNAUTHENTICATED: u16 = 16;
/// All of them, from 0.
pub(crate) const STATUSES: usize = 17;

/// Tells whether a request is a gRPC call.
pub(crate) fn is_grpc(headers: &HeaderMap, known: KnownHeaders) -> bool {
    known.content_type && headers.get(CONTENT_TYPE).is_some_and(grpc::is_grpc)
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
