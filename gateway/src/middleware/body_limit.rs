//! Refuses a body that announces itself as too large, before a byte of it is read. A body without a
//! length is counted while it streams, by [`crate::body::RequestBody`].

use std::rc::Rc;

use http_body::Body;

use super::exchange::Exchange;
use super::guard::Check;
use crate::error::ProxyError;
use crate::proxy::Worker;

#[derive(Clone)]
pub(crate) struct BodyLimit(pub(crate) Rc<Worker>);

impl Check for BodyLimit {
    fn check(&self, exchange: &Exchange) -> Result<(), ProxyError> {
        let limit = self.0.max_body_bytes;
        let announced = exchange.body.as_ref().map_or(0, |body| body.size_hint().lower());
        match announced > limit {
            true => Err(ProxyError::BodyTooLarge(limit)),
            false => Ok(()),
        }
    }
}
