//! Rows and columns that are predicted.

use model_runtime::tensor::DataType;
use serde_json::{Value, json};

use super::{PREDICT, pair};
use crate::models::{Echo, spec};
use crate::service::Service;

#[tokio::test]
async fn rows_and_columns_of_any_rank_are_predicted() {
    let service = Service::half_plus_two();
    for (body, answer) in [
        (
            r#"{"instances": [[1.0, 2.0], [3.0, 4.0]]}"#,
            r#"{"predictions":[[2.5,3.0],[3.5,4.0]]}"#,
        ),
        (r#"{"instances": [1.0, 2.0]}"#, r#"{"predictions":[2.5,3.0]}"#),
        (r#"{"instances": [1, 2, 5]}"#, r#"{"predictions":[2.5,3.0,4.5]}"#),
        (
            r#"{"instances": [{"x": 1.0}, {"x": 2.0}]}"#,
            r#"{"predictions":[2.5,3.0]}"#,
        ),
        (
            r#"{"instances": [{"x": [1]}, {"x": [2]}]}"#,
            r#"{"predictions":[[2.5],[3.0]]}"#,
        ),
        (r#"{"inputs": [3.0, 4.0]}"#, r#"{"outputs":[3.5,4.0]}"#),
        (r#"{"inputs": {"x": [[3.0], [4.0]]}}"#, r#"{"outputs":[[3.5],[4.0]]}"#),
        (r#"{"inputs": 1}"#, r#"{"outputs":2.5}"#),
        (r#"{"inputs": []}"#, r#"{"outputs":[]}"#),
        (
            r#"{"instances": [3.0], "signature_name": "serving_default"}"#,
            r#"{"predictions":[3.5]}"#,
        ),
        (
            r#"{"signature_name": "", "instances": [3.0]}"#,
            r#"{"predictions":[3.5]}"#,
        ),
        (
            r#"{"unknown": {"x": [null]}, "instances": [3.0]}"#,
            r#"{"predictions":[3.5]}"#,
        ),
        ("{\"instances\": [3.0]} and what follows", r#"{"predictions":[3.5]}"#),
        (
            r#"{"instances": [NaN, Infinity, -Infinity, 0.4, 1.8e7]}"#,
            r#"{"predictions":[NaN,Infinity,-Infinity,2.2,9000002.0]}"#,
        ),
    ] {
        for path in [
            PREDICT,
            "/v1/models/half_plus_two/versions/123:predict",
            "/V1/Models/half_plus_two:Predict",
            "/v1/models/half%5Fplus%5ftwo:predict",
        ] {
            let answered = service.post(path, body).await;
            assert_eq!(
                (answered.status, answered.text()),
                (200, format!("{answer}\n").as_str()),
                "{body}"
            );
            assert_eq!(answered.header("content-type"), Some("application/json"));
            assert_eq!(answered.header("x-model-version"), Some("123"));
        }
    }
}

#[tokio::test]
async fn several_inputs_have_names_in_rows_and_in_columns() {
    let service = Service::with("pair", pair());
    let ask = async |body: Value| service.post("/v1/models/pair:predict", body.to_string()).await.ok();
    let people = json!([{ "age": 1, "name": "ü" }, { "name": "b", "age": -2 }]);
    assert_eq!(
        ask(json!({ "instances": people })).await,
        json!({ "predictions": people })
    );
    let columns = json!({ "name": ["ü", "b"], "age": [1, -2] });
    assert_eq!(ask(json!({ "inputs": columns })).await, json!({ "outputs": columns }));
}

#[tokio::test]
async fn bytes_are_base64_in_and_out() {
    let texts = Service::with("m", Echo::of(DataType::Bytes, &[]));
    let ask = async |body: &'static str| texts.post("/v1/models/m:predict", body).await.text().to_owned();
    assert_eq!(
        ask(r#"{"instances": ["plain", {"b64": "YmFzZTY0"}]}"#).await,
        "{\"predictions\":[\"plain\",\"base64\"]}\n"
    );
    assert_eq!(
        ask(r#"{"inputs": {"b64": "YQ"}}"#).await,
        "{\"error\":\"x: expected BYTES[-1], found BYTES[]\"}\n"
    );
    assert_eq!(
        ask(r#"{"instances": [{"b64": "/w=="}, "a"]}"#).await,
        "{\"predictions\":[{\"b64\":\"/w==\"},{\"b64\":\"YQ==\"}]}\n",
        "what is no text cannot be a string"
    );
    let named = Service::with("m", Echo::new(&[spec("image_bytes", DataType::Bytes, &[])]));
    let answer = named
        .post(
            "/v1/models/m:predict",
            r#"{"instances": [{"image_bytes": {"b64": "YQ=="}}]}"#,
        )
        .await;
    assert_eq!(answer.ok(), json!({ "predictions": [{ "b64": "YQ==" }] }));
}
