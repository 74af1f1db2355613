//! Answers as they leave: their bodies, their types, and which version of a model gave them.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Response};
use http_body_util::Full;
use model_runtime::tensor::Tensor;

use crate::engine::LoadedModel;

/// Every answer is complete before its first byte leaves.
pub type Answer = Full<Bytes>;

/// The version of the model that answered; of the one that MODEL_NAME names, when none did.
pub const X_MODEL_VERSION: HeaderName = HeaderName::from_static("x-model-version");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Names the version that has answered.
pub(super) fn answered_by(loaded: &LoadedModel, mut response: Response<Answer>) -> Response<Answer> {
    // A version is digits and points.
    if let Ok(version) = HeaderValue::from_str(loaded.model.version.as_str()) {
        response.headers_mut().insert(X_MODEL_VERSION, version);
    }
    response
}

/// About how long these are as JSON.
pub(super) fn written_bytes(outputs: &[Tensor]) -> usize {
    outputs.iter().map(|output| output.data().len() * 8).sum()
}

pub(super) fn json(body: impl Into<Bytes>) -> Response<Answer> {
    answer_with(JSON, body)
}

pub(super) fn answer_with(content_type: HeaderValue, body: impl Into<Bytes>) -> Response<Answer> {
    let mut response = Response::new(Answer::new(body.into()));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
