//! The answer to what is no request, on the bare socket: there is no request that hyper could answer. And the record of it.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE};
use http::{HeaderValue, Response};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use tracing::{debug, info};

use super::connections::Connections;
use super::http1::Refusal;
use crate::request_id::{RequestId, X_REQUEST_ID};

/// A whole response with the problem as its body, which the answer to a HEAD only announces.
pub(super) fn response(refusal: Refusal, id: &RequestId, is_head: bool) -> Vec<u8> {
    let problem = refusal.problem().request_id(id.as_str());
    let mut response: Response<Bytes> = problem.into_response();
    let length = response.body().len();
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, id.header_value().clone());
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if let Some(now) = now() {
        headers.insert(DATE, now);
    }

    // A status shows as its code and its phrase.
    let mut text = format!("HTTP/1.1 {}\r\n", response.status()).into_bytes();
    for (name, value) in response.headers() {
        text.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    text.extend_from_slice(b"\r\n");
    if !is_head {
        text.extend_from_slice(response.body());
    }
    text
}

/// A refused head's line in the access log; a refused body's reason, next to its request's own line.
pub(super) fn note(refusal: Refusal, peer: SocketAddr, id: Option<&RequestId>, connections: &Connections) {
    let (status, reason) = (refusal.status().as_u16(), refusal.reason());
    connections.metrics.refused.with_label_values(&[reason]).inc();
    let (peer, request_id) = (peer.ip().to_canonical(), id.map(RequestId::as_str));
    match connections.limits.log_refusals {
        true => info!(request_id, %peer, status, reason, "refused"),
        false => debug!(request_id, %peer, status, reason, "refused"),
    }
}

fn now() -> Option<HeaderValue> {
    let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now());
    HeaderValue::from_str(&text.ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_request_is_told_of_the_body_and_not_given_it() {
        let id = RequestId::generate(1);
        let whole = String::from_utf8(response(Refusal::Host, &id, false)).expect("text");
        let (head, body) = whole.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
        assert!(head.contains("\r\nconnection: close"), "{head}");
        assert!(head.contains(" GMT"), "{head}");
        assert!(head.contains(&format!("\r\ncontent-length: {}", body.len())), "{head}");
        assert!(
            body.contains("\"field\":\"host\"") && body.contains(id.as_str()),
            "{body}"
        );
        let head_only = response(Refusal::Host, &id, true);
        assert!(head_only.ends_with(b"\r\n\r\n"));
    }
}
