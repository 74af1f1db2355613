//! Refuses a body that announces itself as too large, before a byte of it is read. A body without a
//! length is counted while it streams, by [`crate::upstream::RequestBody`].

use http_body::Body;

use super::guard::Check;
use crate::error::ProxyError;
use crate::exchange::Exchange;

#[derive(Clone)]
pub(crate) struct BodyLimit;

impl Check for BodyLimit {
    fn check(&self, exchange: &Exchange) -> Result<(), ProxyError> {
        let limit = exchange.record.worker.snapshot.live.max_body_bytes;
        let announced = exchange.body.as_ref().map_or(0, |body| body.size_hint().lower());
        match announced > limit {
            true => Err(ProxyError::BodyTooLarge(limit)),
            false => Ok(()),
        }
    }
}
