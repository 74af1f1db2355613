//! Finds the route, or ends the request here.

use http::header::HOST;
use http::uri::Scheme;
use http::{HeaderValue, Method, Uri, Version};
use shared::cors::CrossOrigin;
use shared::serve::http1::is_host;

use super::guard::Check;
use crate::error::ProxyError;
use crate::exchange::Exchange;
use crate::route::is_unsafe;

#[derive(Clone)]
pub(crate) struct Routing;

impl Check for Routing {
    fn check(&self, exchange: &Exchange) -> Result<(), ProxyError> {
        if exchange.head.method == Method::CONNECT {
            return Err(ProxyError::Tunnel);
        }
        check_host(exchange)?;
        let path = exchange.head.uri.path();
        if path == "*" {
            // The gateway itself is asked, and answers without a route.
            return Ok(());
        }
        if is_unsafe(path) {
            return Err(ProxyError::UnsafePath);
        }
        let routes = &exchange.record.worker.snapshot.routes;
        let route = routes.find(path).ok_or(ProxyError::NoRoute)?;
        exchange.record.set_route(route);
        if routes.get(route).cors.is_some() {
            let request = CrossOrigin::of(&exchange.head.method, &exchange.head.headers);
            exchange.record.note_origin(request);
        }
        Ok(())
    }
}

/// A request says exactly once to whom it speaks. In HTTP/1 that was seen to before it became one; in HTTP/2 the word is
/// `:authority`, `Host`, or both alike (RFC 9113 section 8.3.1), be it with or without the scheme's own port.
fn check_host(exchange: &Exchange) -> Result<(), ProxyError> {
    if exchange.head.version != Version::HTTP_2 {
        return Ok(());
    }
    let authority = exchange
        .head
        .uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    let host = exchange.head.headers.get(HOST).map(HeaderValue::as_bytes);
    let named = match (authority, host) {
        (Some(authority), Some(host)) if !is_same(authority, host, &exchange.head.uri) => None,
        (authority, host) => authority.or(host),
    };
    match named {
        Some(name) if exchange.known.hosts <= 1 && is_host(name) => Ok(()),
        _ => Err(ProxyError::Host),
    }
}

/// RFC 3986 section 6.2.3: the scheme's own port is as good as none.
fn is_same(authority: &[u8], host: &[u8], uri: &Uri) -> bool {
    let own_port: &[u8] = match uri.scheme() == Some(&Scheme::HTTPS) {
        true => b":443",
        false => b":80",
    };
    let without = |name: &[u8]| name.strip_suffix(own_port).unwrap_or(name).to_ascii_lowercase();
    authority.eq_ignore_ascii_case(host) || without(authority) == without(host)
}
