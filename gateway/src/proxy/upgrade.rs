//! Switching protocols, RFC 9110 section 7.8: which requests may ask for it, and whether the answer is what was asked.
//!
//! A protocol that carries further HTTP requests is not passed on: they would reach the upstream past routes, keys and
//! limits. After a 101 the client's connection is taken over by a tunnel to the upstream's.

use http::header::{CONNECTION, CONTENT_LENGTH, UPGRADE};
use http::{HeaderMap, HeaderValue, Response, Version, request};

use super::headers;
use crate::error::ProxyError;
use crate::exchange::{Answer, RequestRecord, ResponseBody, Tunnel, TunnelEnd};
use crate::known_headers::KnownHeaders;
use crate::metrics::OpenGauge;
use crate::upstream::Lease;

/// HTTP/2 and HTTP/1 by their upgrade tokens, and TLS, in which nobody can see what is asked.
const NOT_PASSED_ON: [&[u8]; 4] = [b"h2c", b"h2", b"http", b"tls"];

/// The protocols that the request asks for, if it may have one of them.
pub(super) fn asked(head: &request::Parts, known: KnownHeaders) -> Option<HeaderValue> {
    if !known.upgrade || head.version != Version::HTTP_11 {
        return None;
    }
    let headers = &head.headers;
    let options = || headers.get_all(CONNECTION).iter().flat_map(tokens);
    let is_meant = options().any(|option| option.eq_ignore_ascii_case(b"upgrade"))
        && !options().any(|option| option.eq_ignore_ascii_case(b"close"));
    let protocols: Vec<&[u8]> = headers.get_all(UPGRADE).iter().flat_map(tokens).collect();
    let may_pass = !protocols.is_empty() && protocols.iter().all(|protocol| passes(protocol));
    match is_meant && may_pass {
        true => HeaderValue::from_bytes(&protocols.join(&b", "[..])).ok(),
        false => None,
    }
}

/// Passes a 101 on to the client, and has a tunnel take over its connection then.
#[cold]
pub(super) fn switch(
    record: &RequestRecord,
    asked: Option<HeaderValue>,
    response: Response<()>,
    known: KnownHeaders,
    lease: Lease,
) -> Result<Answer, ProxyError> {
    let accepted = asked.and_then(|asked| accepted(&asked, response.headers()));
    let (Some(protocol), Some(upstream)) = (accepted, lease.upgraded()) else {
        return Err(ProxyError::UnexpectedUpgrade);
    };
    let (mut head, ()) = response.into_parts();
    headers::to_client(&mut head.headers, known);
    head.headers.remove(CONTENT_LENGTH);
    announce(&mut head.headers, protocol);
    head.version = Version::HTTP_11;
    let tunnel = Tunnel::new(upstream, record.worker.snapshot.live.tunnel_idle_timeout);
    take_over(record, tunnel);
    Ok(Response::from_parts(head, ResponseBody::Whole(None)))
}

/// Prepares a 426 for the client, which MUST name the protocols (RFC 9110 section 15.5.22) where its version has upgrades.
#[cold]
pub(super) fn required(answer: &mut HeaderMap, known: KnownHeaders, version: Version) {
    let protocols: Vec<&[u8]> = answer.get_all(UPGRADE).iter().flat_map(tokens).collect();
    let named = match protocols.is_empty() || version == Version::HTTP_2 {
        true => None,
        false => HeaderValue::from_bytes(&protocols.join(&b", "[..])).ok(),
    };
    headers::to_client(answer, known);
    if let Some(protocols) = named {
        announce(answer, protocols);
    }
}

/// Joins the client's connection to `tunnel`, once the 101 was written to it.
fn take_over(record: &RequestRecord, tunnel: Tunnel) {
    let gauge = record.route_metrics().tunnels.clone();
    let end = TunnelEnd::default();
    record.tunnel.set(Some(end.clone()));
    record.peer.takeover.set(async move |client, ahead| {
        let _open = OpenGauge::new(&gauge);
        end.reached(tunnel.run(client, ahead).await);
    });
}

/// The protocol that a 101 switches to, if it was asked for.
fn accepted(asked: &HeaderValue, answer: &HeaderMap) -> Option<HeaderValue> {
    let mut values = answer.get_all(UPGRADE).iter();
    let (Some(chosen), None) = (values.next(), values.next()) else {
        return None;
    };
    let was_asked = |chosen: &[u8]| tokens(asked).any(|asked| asked.eq_ignore_ascii_case(chosen));
    let is_asked = tokens(chosen).next().is_some() && tokens(chosen).all(was_asked);
    is_asked.then(|| chosen.clone())
}

/// Adds what a message that switches protocols, or asks for it, says to the next hop.
pub(super) fn announce(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

fn passes(protocol: &[u8]) -> bool {
    let name = protocol.split(|byte| *byte == b'/').next().unwrap_or_default();
    !NOT_PASSED_ON
        .iter()
        .any(|connection| name.eq_ignore_ascii_case(connection))
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let tokens = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    tokens.filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn asked_by(connection: &str, upgrade: &[&str], version: Version) -> Option<String> {
        let mut request = Request::get("/").version(version).header("connection", connection);
        for value in upgrade {
            request = request.header("upgrade", *value);
        }
        let (head, ()) = request.body(()).expect("a request").into_parts();
        let asked = asked(&head, KnownHeaders::in_headers(&head.headers));
        asked.map(|value| value.to_str().expect("text").to_owned())
    }

    #[test]
    fn a_request_asks_with_both_headers_in_http_1_1() {
        let version = Version::HTTP_11;
        let websocket = Some("websocket".to_owned());
        assert_eq!(asked_by("Upgrade", &["websocket"], version), websocket);
        assert_eq!(asked_by("keep-alive, Upgrade", &["websocket"], version), websocket);
        assert_eq!(
            asked_by("upgrade", &["a/1 , b", "c"], version),
            Some("a/1, b, c".to_owned())
        );
        assert_eq!(asked_by("keep-alive", &["websocket"], version), None);
        assert_eq!(asked_by("upgrade, close", &["websocket"], version), None);
        assert_eq!(asked_by("upgrade", &[], version), None);
        assert_eq!(asked_by("upgrade", &[" , "], version), None);
        for other in [Version::HTTP_10, Version::HTTP_2] {
            assert_eq!(asked_by("upgrade", &["websocket"], other), None);
        }
    }

    #[test]
    fn what_would_carry_requests_past_the_routes_is_not_asked_for() {
        for connection in ["h2c", "H2C", "h2", "HTTP/2.0", "TLS/1.2", "websocket, h2c"] {
            assert_eq!(
                asked_by("upgrade", &[connection], Version::HTTP_11),
                None,
                "{connection}"
            );
        }
    }

    #[test]
    fn an_answer_is_one_of_what_was_asked() {
        let asked = HeaderValue::from_static("websocket, b/2");
        for (chosen, expected) in [
            (&["WebSocket"][..], true),
            (&["b/2"], true),
            (&["b/2, websocket"], true),
            (&["b"], false),
            (&["h2c"], false),
            (&["websocket, h2c"], false),
            (&["websocket", "websocket"], false),
            (&[""], false),
            (&[], false),
        ] {
            let mut answer = HeaderMap::new();
            for value in chosen {
                answer.append(UPGRADE, HeaderValue::from_static(value));
            }
            assert_eq!(accepted(&asked, &answer).is_some(), expected, "{chosen:?}");
        }
    }
}
