//! Finds the route, or ends the request here.

use std::rc::Rc;

use http::Method;

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
        let path = exchange.request.uri().path();
        if is_unsafe(path) {
            return Err(ProxyError::UnsafePath);
        }
        let route = self.0.routes.find(path).ok_or(ProxyError::NoRoute)?;
        exchange.record.route.set(Some(route));
        Ok(())
    }
}
