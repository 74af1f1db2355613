//! Which of the headers that matter to a proxy a message has: one pass over its few names instead of a hashed look-up
//! for each that could be there.

use http::HeaderMap;
use http::header::HOST;

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Present {
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
    /// A backend's word on its load.
    pub(crate) load_report: bool,
}

impl Present {
    pub(crate) fn in_headers(headers: &HeaderMap) -> Self {
        let mut present = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "host" => present.hosts = 1,
                "connection" => present.connection = true,
                "keep-alive" | "proxy-connection" | "te" | "transfer-encoding" => present.hop_by_hop = true,
                "upgrade" => (present.hop_by_hop, present.upgrade) = (true, true),
                "content-type" => present.content_type = true,
                "expect" => present.expect = true,
                "x-request-id" => (present.request_id, present.replaced) = (true, true),
                "x-forwarded-for" => (present.forwarded_for, present.replaced) = (true, true),
                "x-request-timeout-ms" | "grpc-timeout" => (present.timeout, present.replaced) = (true, true),
                "x-real-ip" | "x-forwarded-proto" => present.replaced = true,
                "endpoint-load-metrics" => present.load_report = true,
                _ => {}
            }
        }
        // The pass above sees every name once; few messages have one twice.
        if present.hosts > 0 && headers.len() > headers.keys_len() {
            present.hosts = headers.get_all(HOST).iter().count();
        }
        present
    }
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
        let present = Present::in_headers(&headers);
        assert_eq!(present.hosts, 2);
        assert!(present.connection && present.hop_by_hop && present.request_id);
        assert!(!present.expect && !present.forwarded_for && !present.timeout && !present.load_report);
    }
}
