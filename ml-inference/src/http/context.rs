//! A request with what is found out about it once, for every layer and handler.

use http::header::CONTENT_TYPE;
use http::{Request, Version};
use shared::grpc::is_grpc;
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
        let is_grpc = request.version() == Version::HTTP_2 && request.headers().get(CONTENT_TYPE).is_some_and(is_grpc);
        Self {
            id: sent.unwrap_or_else(|| RequestId::generate(fastrand::u128(..))),
            path: match is_grpc {
                true => ParsedPath::Grpc,
                false => ParsedPath::parse(request.uri().path()),
            },
            request,
        }
    }
}
