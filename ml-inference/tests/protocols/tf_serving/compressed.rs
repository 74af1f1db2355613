//! Compressed bodies.

use model_runtime::tensor::DataType;

use super::PREDICT;
use crate::models::Echo;
use crate::service::{Service, gzip, model};

#[tokio::test]
async fn a_compressed_body_is_decompressed_or_refused_as_such() {
    let service = Service::half_plus_two();
    let ask = async |coding: &str, body: &[u8]| {
        let body = body.to_vec();
        service
            .ask("POST", PREDICT, &[("content-encoding", coding)], body)
            .await
    };
    let text = br#"{"inputs": 1}"#;
    assert_eq!(ask("gzip", &gzip(text)).await.ok()["outputs"], 2.5);
    assert_eq!(ask("identity", text).await.ok()["outputs"], 2.5);
    assert_eq!(
        ask("gzip", text).await.refusal(400),
        "the body is not the gzip that its Content-Encoding says"
    );
    let answer = ask("br", text).await;
    assert_eq!(answer.header("accept-encoding"), Some("gzip, deflate"));
    assert_eq!(
        answer.refusal(415),
        "this Content-Encoding is not known; send the body as it is, or in one of gzip, deflate"
    );
}

#[tokio::test]
async fn a_compressed_body_is_held_to_the_limit_of_a_body() {
    let mut service = Service::new(&[("MAX_BODY_BYTES", "4Ki")]);
    service.insert(model("m", 1, Echo::of(DataType::Fp32, &[])));
    service.serve();
    let body = gzip(format!("{{\"instances\": [1{}]}}", " ".repeat(1_000_000)).as_bytes());
    assert!(body.len() < 4096);
    let answer = service
        .ask("POST", "/v1/models/m:predict", &[("content-encoding", "gzip")], body)
        .await;
    assert_eq!(answer.refusal(413), "the body is larger than the limit of 4096 bytes");
}
