//! The headers a proxy takes away and adds, RFC 9110 section 7.6.

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::request;
use http::{HeaderMap, HeaderValue, Uri, Version};
use shared::request_id::{RequestId, X_REQUEST_ID};

use super::deadline::{GRPC_TIMEOUT, TimeLeft, X_REQUEST_TIMEOUT_MS};
use crate::exchange::{Peer, Sender};
use crate::known_headers::KnownHeaders;
use crate::upstream::InjectedHeaders;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
static REQUEST_ID: HeaderName = X_REQUEST_ID;
static X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static HTTP: HeaderValue = HeaderValue::from_static("http");
const FORWARDED: &str = "forwarded";
const X_FORWARDED: &str = "x-forwarded-";
const ENDPOINT_LOAD_METRICS: HeaderName = HeaderName::from_static("endpoint-load-metrics");

/// The names of [`added`].
static REPLACED: [&HeaderName; 6] = [
    &X_REAL_IP,
    &REQUEST_ID,
    &X_FORWARDED_FOR,
    &X_FORWARDED_PROTO,
    &X_REQUEST_TIMEOUT_MS,
    &GRPC_TIMEOUT,
];

/// What the upstream is told of the way that a request came.
pub(super) struct Forwarded {
    /// X-Forwarded-For.
    chain: HeaderValue,
    /// X-Forwarded-Proto, where a trusted proxy said it.
    proto: Option<HeaderValue>,
}

/// Headers that the gateway adds to a request, in place of all that its client sent under these names.
pub(super) fn added<'a>(
    real_ip: &'a HeaderValue,
    id: &'a RequestId,
    forwarded: &'a Forwarded,
    left: &'a TimeLeft,
) -> InjectedHeaders<'a> {
    InjectedHeaders([
        Some((&X_REAL_IP, real_ip)),
        Some((&REQUEST_ID, id.header_value())),
        Some((&X_FORWARDED_FOR, &forwarded.chain)),
        Some((&X_FORWARDED_PROTO, forwarded.proto.as_ref().unwrap_or(&HTTP))),
        Some((&X_REQUEST_TIMEOUT_MS, &left.millis)),
        left.grpc.as_ref().map(|left| (&GRPC_TIMEOUT, left)),
    ])
}

/// Prepares a client's request for the upstream, and says for whom it is forwarded. What is [`added`] does not stand
/// among its headers, so that no `Connection` header can name it and have it removed.
pub(super) fn to_upstream(
    parts: &mut request::Parts,
    known: KnownHeaders,
    peer: &Peer,
    sender: Option<&Sender>,
    cluster: &str,
) -> Forwarded {
    let headers = &mut parts.headers;
    strip_hop_by_hop(headers, known);
    let proto = sender.and_then(|sender| claimed_proto(headers, sender));
    let chain = match known.forwarded_for {
        true => forwarded_for(headers, peer),
        false => peer.header.clone(),
    };
    if known.replaced {
        for name in REPLACED {
            headers.remove(name);
        }
    }
    if known.underscored {
        remove_underscored(headers);
    }
    if known.expect {
        // It is between the client and us: hyper says `100 Continue` when the body is first asked for.
        headers.remove(EXPECT);
    }
    if parts.version == Version::HTTP_2 {
        join_cookies(headers);
    }
    set_host(headers, &parts.uri, cluster);
    Forwarded { chain, proto }
}

/// The last X-Forwarded-Proto of a trusted proxy. What anyone else says of the way that a request came is removed.
#[cold]
fn claimed_proto(headers: &mut HeaderMap, sender: &Sender) -> Option<HeaderValue> {
    if sender.is_proxy {
        return headers.get_all(&X_FORWARDED_PROTO).iter().next_back().cloned();
    }
    let is_claim = |name: &HeaderName| {
        let dashed = name.as_str().replace('_', "-");
        dashed == FORWARDED || dashed.starts_with(X_FORWARDED)
    };
    let claims: Vec<HeaderName> = headers.keys().filter(|name| is_claim(name)).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
    None
}

/// Removes what CGI and WSGI servers would take for a header of the gateway's own: they read `_` as `-`.
#[cold]
fn remove_underscored(headers: &mut HeaderMap) {
    let is_replaced = |name: &HeaderName| {
        let dashed = name.as_str().replace('_', "-");
        REPLACED.iter().any(|own| *own == dashed.as_str())
    };
    let underscored: Vec<HeaderName> = headers.keys().filter(|name| is_replaced(name)).cloned().collect();
    for name in underscored {
        headers.remove(name);
    }
}

/// Prepares an upstream's answer for the client.
pub(super) fn to_client(headers: &mut HeaderMap, known: KnownHeaders) {
    strip_hop_by_hop(headers, known);
}

/// Removes the upstream's report of its load from its answer: `endpoint-load-metrics`, which Open Request Cost Aggregation
/// (ORCA) defines and gRPC and Envoy read too. Of its numbers, `named_metrics.queue_depth` is returned: requests that the
/// endpoint has in hand, waiting or running.
pub(super) fn take_load_report(headers: &mut HeaderMap) -> Option<u32> {
    queue_depth(headers.remove(ENDPOINT_LOAD_METRICS)?.to_str().ok()?)
}

fn queue_depth(report: &str) -> Option<u32> {
    let numbers = report.strip_prefix("TEXT ")?.split(',');
    let mut named = numbers.filter_map(|number| number.trim().split_once('='));
    let (_, depth) = named.find(|(name, _)| *name == "named_metrics.queue_depth")?;
    let depth: f64 = depth.trim().parse().ok()?;
    // A number of requests; what is not one is no hint.
    (0.0..=f64::from(u32::MAX)).contains(&depth).then_some(depth as u32)
}

/// Tells whether the client reads trailers: gRPC's servers require it.
pub(super) fn wants_trailers(headers: &HeaderMap, known: KnownHeaders) -> bool {
    let options = || headers.get_all(TE).iter();
    let is_trailers = |option: &[u8]| option.trim_ascii().eq_ignore_ascii_case(b"trailers");
    known.hop_by_hop && options().any(|value| value.as_bytes().split(|byte| *byte == b',').any(is_trailers))
}

fn strip_hop_by_hop(headers: &mut HeaderMap, known: KnownHeaders) {
    if known.connection {
        // Few clients send more than `keep-alive` or `close`, which need no look-up of their own.
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|name| !name.eq_ignore_ascii_case(b"close") && !name.eq_ignore_ascii_case(b"keep-alive"))
            .filter_map(|name| HeaderName::from_bytes(name).ok())
            // The body's framing and the addressee are not the client's to strike out.
            .filter(|name| *name != CONTENT_LENGTH && *name != HOST)
            .collect();
        headers.remove(CONNECTION);
        for name in named {
            headers.remove(name);
        }
    }
    if known.hop_by_hop {
        for name in [KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE] {
            headers.remove(name);
        }
    }
}

/// The client's Host, or the authority of an absolute-form target, which overrides it (RFC 9112 section
/// 3.2.2); an HTTP/1.0 client may have sent neither.
fn set_host(headers: &mut HeaderMap, uri: &Uri, cluster: &str) {
    let authority = uri
        .authority()
        .and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(authority) = authority {
        headers.insert(HOST, authority);
    } else if !headers.contains_key(HOST)
        && let Ok(cluster) = HeaderValue::from_str(cluster)
    {
        headers.insert(HOST, cluster);
    }
}

/// HTTP/2 may send each cookie in a header of its own; HTTP/1.1 knows one for all (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(COOKIE, whole);
    }
}

/// The chain that the client sent, and the client.
fn forwarded_for(headers: &HeaderMap, peer: &Peer) -> HeaderValue {
    let earlier = headers.get_all(&X_FORWARDED_FOR).iter();
    let mut chain: Vec<&str> = earlier.filter_map(|value| value.to_str().ok()).collect();
    let own = peer.address.to_string();
    chain.push(&own);
    HeaderValue::from_str(&chain.join(", ")).unwrap_or_else(|_| peer.header.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use shared::config::Networks;
    use shared::serve::Takeover;

    fn prepared(request: Request<()>) -> HeaderMap {
        prepared_by(request, "")
    }

    fn prepared_by(request: Request<()>, trusted: &str) -> HeaderMap {
        let (mut parts, ()) = request.into_parts();
        let peer = Peer::new(([192, 0, 2, 7], 4711).into(), Takeover::default());
        let id = RequestId::generate(1);
        let known = KnownHeaders::in_headers(&parts.headers);
        let trusted = Networks::parse(trusted).expect("valid");
        let sender = (!trusted.is_empty()).then(|| Sender::of(&peer, &parts.headers, &trusted));
        let forwarded = to_upstream(&mut parts, known, &peer, sender.as_ref(), "a:1");
        let real_ip = sender.as_ref().map_or(&peer.header, |sender| &sender.header);
        let left = TimeLeft {
            millis: HeaderValue::from(30_000),
            grpc: None,
        };
        for (name, value) in added(real_ip, &id, &forwarded, &left).iter() {
            let others = parts.headers.insert(name, value.clone());
            assert_eq!(others, None, "{name} is said once");
        }
        parts.headers
    }

    #[test]
    fn hop_by_hop_headers_and_those_named_in_connection_stay_behind() {
        let headers = prepared(
            Request::get("/")
                .header("connection", "keep-alive, X-Secret")
                .header("connection", "x-request-id, x-real-ip, host, x-other")
                .header("x-other", "1")
                .header("host", "h")
                .header("x-secret", "1")
                .header("te", "trailers")
                .header("upgrade", "websocket")
                .header("keep-alive", "timeout=5")
                .header("accept", "*/*")
                .body(())
                .expect("a request"),
        );
        for gone in ["connection", "x-secret", "x-other", "te", "upgrade", "keep-alive"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        assert_eq!(headers["accept"], "*/*");
        assert_eq!(headers["host"], "h");
        assert_eq!(headers["x-real-ip"], "192.0.2.7");
        assert_eq!(headers["x-request-id"].len(), 32);
    }

    #[test]
    fn the_client_joins_the_chain_it_sent_and_cannot_choose_its_own_address() {
        let headers = prepared(
            Request::get("/")
                .header("x-forwarded-for", "203.0.113.9")
                .header("x-forwarded-for", "198.51.100.1")
                .header("x-real-ip", "1.1.1.1")
                .header("x-forwarded-proto", "https")
                .header("x-request-id", "own")
                .header("x-request-timeout-ms", "1")
                .body(())
                .expect("a request"),
        );
        assert_eq!(headers["x-forwarded-for"], "203.0.113.9, 198.51.100.1, 192.0.2.7");
        assert_eq!(headers["x-real-ip"], "192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-request-timeout-ms"], "30000");
    }

    #[test]
    fn claims_of_the_way_count_from_a_trusted_proxy_alone_however_they_are_spelled() {
        let claims = || {
            let mut request = Request::get("/");
            for name in ["forwarded", "x-forwarded-host", "x-forwarded-prefix", "x-forwarded-for"] {
                request = request.header(name, "claim").header(name.replace('-', "_"), "claim");
            }
            let request = request
                .header("x-forwarded-proto", "ftp")
                .header("x-forwarded-proto", "https");
            request.header("x-forward", "other").body(()).expect("a request")
        };
        let outside = prepared_by(claims(), "192.0.2.8");
        assert!(outside.values().all(|value| value != "claim"), "{outside:?}");
        assert_eq!(outside["x-forwarded-for"], "192.0.2.7");
        assert_eq!(outside["x-forwarded-proto"], "http");
        assert_eq!(outside["x-forward"], "other");
        let trusted = prepared_by(claims(), "192.0.2.7");
        assert_eq!(trusted["x-forwarded-for"], "claim, 192.0.2.7");
        assert_eq!(
            trusted["x-real-ip"], "192.0.2.7",
            "a claim that is no address names nobody"
        );
        assert_eq!(trusted["x-forwarded-proto"], "https");
        assert_eq!(trusted["x-forwarded-host"], "claim");
        assert_eq!(trusted["forwarded"], "claim");
    }

    #[test]
    fn a_header_of_the_gateways_own_cannot_be_sent_with_underscores() {
        let names = REPLACED.iter().map(|name| name.as_str());
        let mut request = Request::get("/").header("x_other", "kept").header("x-real_ips", "kept");
        for (at, name) in names.enumerate() {
            // All of its dashes, or the last.
            let underscored = match at % 2 {
                0 => name.replace('-', "_"),
                _ => name
                    .rsplit_once('-')
                    .map(|(start, end)| format!("{start}_{end}"))
                    .expect("a dash"),
            };
            request = request.header(underscored, "own");
        }
        let headers = prepared(request.body(()).expect("a request"));
        assert!(headers.values().all(|value| value != "own"), "{headers:?}");
        assert_eq!(
            (&headers["x_other"], &headers["x-real_ips"]),
            (&"kept".parse().expect("a value"), &"kept".parse().expect("a value"))
        );
    }

    #[test]
    fn cookies_that_came_one_by_one_go_on_as_one_header() {
        let request = |version| {
            Request::get("http://h/")
                .version(version)
                .header("cookie", "a=1")
                .header("cookie", "b=2; c=3")
                .body(())
        };
        let joined = prepared(request(Version::HTTP_2).expect("a request"));
        assert_eq!(joined.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
        let as_they_came = prepared(request(Version::HTTP_11).expect("a request"));
        assert_eq!(as_they_came.get_all("cookie").iter().count(), 2);
    }

    #[test]
    fn a_load_report_is_read_by_its_own_form() {
        assert_eq!(
            queue_depth("TEXT cpu_utilization=0.3,named_metrics.queue_depth=12"),
            Some(12)
        );
        assert_eq!(
            queue_depth("TEXT named_metrics.queue_depth=3.0, mem_utilization=1"),
            Some(3)
        );
        for other in [
            "",
            "TEXT ",
            "JSON {}",
            "TEXT named_metrics.queue_depth=-1",
            "TEXT named_metrics.queue_depth=x",
        ] {
            assert_eq!(queue_depth(other), None, "{other}");
        }
    }

    #[test]
    fn an_absolute_target_overrides_host_and_a_missing_host_is_the_cluster() {
        let absolute = Request::get("http://real.example:8080/x")
            .header("host", "other")
            .body(());
        assert_eq!(prepared(absolute.expect("a request"))["host"], "real.example:8080");
        assert_eq!(prepared(Request::get("/x").body(()).expect("a request"))["host"], "a:1");
    }
}
