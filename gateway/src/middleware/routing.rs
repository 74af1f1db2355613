//! Finds the route, or ends the request here.

use std::rc::Rc;

use http::{Method, Version};

use super::exchange::Exchange;
use super::guard::Check;
use crate::error::ProxyError;
use crate::proxy::Worker;
use crate::route::is_unsafe;

#[derive(Clone)]
pub(crate) struct Routing(pub(crate) Rc<Worker>);

impl Check for Routing {
    fn check(&self, exchange: &Exchange) -> Result<(), ProxyError> {
        if exchange.request.method() == Method::CONNECT {
            return Err(ProxyError::Tunnel);
        }
        check_host(exchange)?;
        let path = exchange.request.uri().path();
        if is_unsafe(path) {
            return Err(ProxyError::UnsafePath);
        }
        let route = self.0.routes.find(path).ok_or(ProxyError::NoRoute)?;
        exchange.record.route.set(Some(route));
        Ok(())
    }
}

/// RFC 9112 section 3.2: a request without Host, or with more than one, is answered 400.
fn check_host(exchange: &Exchange) -> Result<(), ProxyError> {
    let needed = exchange.request.version() == Version::HTTP_11;
    match exchange.present.hosts {
        0 if needed => Err(ProxyError::Host),
        0 | 1 => Ok(()),
        _ => Err(ProxyError::Host),
    }
}
