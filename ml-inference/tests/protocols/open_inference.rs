//! The Open Inference Protocol: its own examples, its extensions, and the mistakes that clients make.

mod binary;
mod describe;
mod infer;
mod mistakes;
mod statistics;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::service::{Answer, Service};

const INFER: &str = "/v2/models/half_plus_two/infer";
const HEADER_LENGTH: &str = "inference-header-content-length";

async fn infer(service: &Service, model: &str, body: &Value) -> Answer {
    service
        .post(&format!("/v2/models/{model}/infer"), body.to_string())
        .await
}

/// A request with these bytes behind its JSON.
async fn infer_binary(service: &Service, model: &str, json: &Value, binary: &[u8]) -> Answer {
    let json = json.to_string();
    let length = json.len().to_string();
    let body = [json.as_bytes(), binary].concat();
    let path = format!("/v2/models/{model}/infer");
    service.ask("POST", &path, &[(HEADER_LENGTH, &length)], body).await
}

/// The JSON of an answer with bytes behind it, and the bytes.
fn parts(answer: &Answer) -> (Value, Bytes) {
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
    let length: usize = answer
        .header(HEADER_LENGTH)
        .and_then(|text| text.parse().ok())
        .expect("a length");
    let json = serde_json::from_slice(&answer.body[..length]).expect("JSON");
    (json, answer.body.slice(length..))
}

fn x(data: Value) -> Value {
    json!({ "name": "x", "shape": [data.as_array().map_or(1, Vec::len), 1], "datatype": "FP32", "data": data })
}
