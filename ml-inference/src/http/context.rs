//! A request with what is found out about it once, for every layer and handler.

use http::Request;
use shared::request_id::{RequestId, X_REQUEST_ID};

use super::path::ParsedPath;

/// A request, its id and the meaning of its path.
#[derive(Debug)]
pub struct ParsedRequest<B> {
    /// The client's own where it is sane, else a new one.
    pub id: RequestId,
    pub(crate) path: ParsedPath,
    pub request: Request<B>,
}

impl<B> ParsedRequest<B> {
    pub fn new(request: Request<B>) -> Self {
        let sent = request.headers().get(X_REQUEST_ID).and_then(RequestId::from_client);
        Self {
            id: sent.unwrap_or_else(|| RequestId::generate(fastrand::u128(..))),
            path: ParsedPath::parse(request.uri().path()),
            request,
        }
    }
}
