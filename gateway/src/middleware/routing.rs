//! Finds the route, or ends the request here.

use http::header::HOST;
use http::{HeaderValue, Method, Version};
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
        if is_unsafe(path) {
            return Err(ProxyError::UnsafePath);
        }
        let route = exchange
            .record
            .worker
            .snapshot
            .routes
            .find(path)
            .ok_or(ProxyError::NoRoute)?;
        exchange.record.set_route(route);
        Ok(())
    }
}

/// A request says exactly once to whom it speaks. In HTTP/1 that was seen to before it became one; in HTTP/2 the word is
/// `:authority`, `Host`, or both alike (RFC 9113 section 8.3.1).
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
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => None,
        (authority, host) => authority.or(host),
    };
    match named {
        Some(name) if exchange.known.hosts <= 1 && is_host(name) => Ok(()),
        _ => Err(ProxyError::Host),
    }
}
