//! Which of the headers that matter to a proxy a message has: one pass over its few names instead of a hashed look-up
//! for each that could be there.

use http::HeaderMap;
use http::header::HOST;

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct KnownHeaders {
    pub(crate) hosts: usize,
    pub(crate) connection: bool,
    /// Any other header that is between two hops only.
    pub(crate) hop_by_hop: bool,
    pub(crate) upgrade: bool,
    pub(crate) content_type: bool,
    pub(crate) expect: bool,
    pub(crate) request_id: bool,
    pub(crate) forwarded_for: bool,
    /// A client's deadline, in either form.
    pub(crate) timeout: bool,
    /// Any header that the gateway says itself, whatever a client puts into it.
    pub(crate) replaced: bool,
    /// Perhaps one of those with `_` for `-`, which CGI and WSGI servers take for the same.
    pub(crate) underscored: bool,
    /// A backend's word on its load.
    pub(crate) load_report: bool,
}

impl KnownHeaders {
    pub(crate) fn in_headers(headers: &HeaderMap) -> Self {
        let mut known = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "host" => known.hosts = 1,
                "connection" => known.connection = true,
                "keep-alive" | "proxy-connection" | "te" | "transfer-encoding" => known.hop_by_hop = true,
                "upgrade" => (known.hop_by_hop, known.upgrade) = (true, true),
                "content-type" => known.content_type = true,
                "expect" => known.expect = true,
                "x-request-id" => (known.request_id, known.replaced) = (true, true),
                "x-forwarded-for" => (known.forwarded_for, known.replaced) = (true, true),
                "x-request-timeout-ms" | "grpc-timeout" => (known.timeout, known.replaced) = (true, true),
                "x-real-ip" | "x-forwarded-proto" => known.replaced = true,
                "endpoint-load-metrics" => known.load_report = true,
                other => known.underscored |= may_be_underscored(other),
            }
        }
        // The pass above sees every name once; few messages have one twice.
        if known.hosts > 0 && headers.len() > headers.keys_len() {
            known.hosts = headers.get_all(HOST).iter().count();
        }
        known
    }
}

/// By its length and its first letter, which few other names have.
fn may_be_underscored(name: &str) -> bool {
    matches!(
        (name.len(), name.as_bytes()[0]),
        (9 | 12 | 15 | 17 | 20, b'x') | (12, b'g')
    ) && name.contains('_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn every_name_is_seen_and_hosts_are_counted() {
        let mut headers = HeaderMap::new();
        for name in ["host", "accept", "host", "connection", "te", "x-request-id"] {
            headers.append(name, HeaderValue::from_static("x"));
        }
        let known = KnownHeaders::in_headers(&headers);
        assert_eq!(known.hosts, 2);
        assert!(known.connection && known.hop_by_hop && known.request_id);
        assert!(!known.expect && !known.forwarded_for && !known.timeout && !known.load_report);
    }
}
