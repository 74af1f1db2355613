//! Answers as they leave: their bodies, their types, and which version of a model gave them.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use model_runtime::tensor::Tensor;
use shared::grpc;

use crate::engine::LoadedModel;

/// A body, complete before its first byte leaves, and the model that gave it.
#[derive(Debug, Default)]
pub struct ResponseBody {
    body: Full<Bytes>,
    /// The version of the model that answered, for a header and the access log; `None` when none did.
    pub model_version: Option<HeaderValue>,
}

impl From<Bytes> for ResponseBody {
    fn from(body: Bytes) -> Self {
        Self {
            body: Full::new(body),
            model_version: None,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Names the version that has answered.
pub(super) fn answered_by(loaded: &LoadedModel, mut response: Response<ResponseBody>) -> Response<ResponseBody> {
    let version = loaded.model.version.header_value().clone();
    response.body_mut().model_version = Some(version);
    response
}

/// About how long these are as JSON.
pub(super) fn written_bytes(outputs: &[Tensor]) -> usize {
    outputs.iter().map(|output| output.data().len() * 8).sum()
}

pub(super) fn json(body: impl Into<Bytes>) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::from(body.into()));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// The answer to a gRPC call, which no path has.
pub(super) fn no_grpc() -> Response<ResponseBody> {
    grpc::trailers_only(
        grpc::UNIMPLEMENTED,
        "ml-inference has no gRPC API; its HTTP API is /predict, /v1 and /v2",
    )
}
