//! Trailers that may follow a body, in either direction.

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName};

/// RFC 9110 section 6.5.1: what frames or routes a message has no place in its trailers. Nor has what concerns one hop
/// only, which HTTP/2 does not know at all, and what the gateway alone says of a request.
pub(super) fn is_allowed_trailer(name: &HeaderName) -> bool {
    const REFUSED: [&str; 8] = [
        "keep-alive",
        "proxy-connection",
        "x-real-ip",
        "x-request-id",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-request-timeout-ms",
        "grpc-timeout",
    ];
    ![
        CONTENT_LENGTH,
        TRANSFER_ENCODING,
        HOST,
        TRAILER,
        CONNECTION,
        UPGRADE,
        TE,
    ]
    .contains(name)
        && !REFUSED.contains(&name.as_str())
}

pub(super) fn allowed_trailers(mut trailers: HeaderMap) -> HeaderMap {
    let refused: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| !is_allowed_trailer(name))
        .cloned()
        .collect();
    for name in refused {
        trailers.remove(name);
    }
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn only_what_a_message_may_say_behind_its_body_stays() {
        let mut trailers = HeaderMap::new();
        for name in [
            "grpc-status",
            "keep-alive",
            "te",
            "x-real-ip",
            "checksum",
            "host",
            "connection",
        ] {
            trailers.insert(name, HeaderValue::from_static("1"));
        }
        let mut left: Vec<String> = allowed_trailers(trailers).keys().map(ToString::to_string).collect();
        left.sort_unstable();
        assert_eq!(left, ["checksum", "grpc-status"]);
    }
}
