//! Paths and bodies that cannot be meant.

use model_runtime::tensor::DataType;
use serde_json::json;

use super::{PREDICT, pair};
use crate::models::Echo;
use crate::service::{Service, model};

#[tokio::test]
async fn urls_that_the_api_does_not_have_are_malformed() {
    let service = Service::half_plus_two();
    for (method, path) in [
        ("GET", "/v1/foo"),
        ("POST", "/v1/foo"),
        ("POST", "/v1/models"),
        ("GET", "/v1/"),
        ("GET", "/v1/models/foo:predict"),
        ("GET", "/v1/models/foo/version/50:predict"),
        ("POST", "/v1/models/foo/version/50:regress"),
        ("POST", "/v1/models/foo/versions/HELLO:regress"),
        ("POST", "/v1/models/foo"),
        ("POST", "/v1/models/foo/metadata"),
        ("PUT", "/v1/models/foo:predict"),
        ("DELETE", "/v1/models/foo"),
        ("POST", "/v1/models/foo:explain"),
        ("GET", "/v1/models/foo/labels/"),
        ("GET", "/v1/models/fo%zzo"),
    ] {
        let answer = service.ask(method, path, &[], "").await;
        assert_eq!(answer.refusal(400), format!("Malformed request: {method} {path}"));
    }
    for path in [
        "/v1/models/foo/versions/18446744073709551615:regress",
        PREDICT.replace(':', "/versions/9223372036854775808:").as_str(),
    ] {
        let refusal = service.post(path, "").await.refusal(400);
        assert!(
            refusal.starts_with("Failed to convert version: ") && refusal.ends_with(" to numeric."),
            "{refusal}"
        );
    }
}

#[tokio::test]
async fn what_is_not_served_is_not_found() {
    let service = Service::half_plus_two();
    let body = r#"{"instances": [1]}"#;
    for (path, status, message) in [
        (
            "/v1/models/half:predict",
            404,
            "Servable not found for request: Latest(half)",
        ),
        (
            "/v1/models/foo/versions/50:predict",
            404,
            "Servable not found for request: Specific(foo, 50)",
        ),
        (
            "/v1/models/half_plus_two/versions/99:predict",
            404,
            "Servable not found for request: Specific(half_plus_two, 99)",
        ),
        (
            "/v1/models/half_plus_two/labels/stable:predict",
            400,
            "Unrecognized servable version label: stable",
        ),
    ] {
        assert_eq!(service.post(path, body).await.refusal(status), message, "{path}");
    }
    for (path, status, message) in [
        ("/v1/models/foo", 404, "Could not find any versions of model foo"),
        (
            "/v1/models/half_plus_two/versions/9",
            404,
            "Could not find version 9 of model half_plus_two",
        ),
        (
            "/v1/models/half_plus_two/labels/old",
            400,
            "Unrecognized servable version label: old",
        ),
        (
            "/v1/models/foo/metadata",
            404,
            "Servable not found for request: Latest(foo)",
        ),
    ] {
        assert_eq!(service.get(path).await.refusal(status), message, "{path}");
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_meant_is_refused_in_known_words() {
    let service = Service::half_plus_two();
    for (body, message) in [
        ("", "JSON Parse error: The document is empty"),
        (" \n", "JSON Parse error: The document is empty"),
        ("instances = [1, 2]", "JSON Parse error: Invalid value. at offset: 0"),
        (
            "{\"instances\": [1",
            "JSON Parse error: A comma or ] is missing after an element. at offset: 16",
        ),
        ("[1, 2]", "JSON Value: [1, 2] Is not object"),
        ("{}", "Missing 'inputs' or 'instances' key"),
        (
            r#"{"signature_name": 5}"#,
            "JSON Value: 5 not formatted correctly. 'signature_name' key must be a string value.",
        ),
        (
            r#"{"instances": [1], "signature_name": "S"}"#,
            r#"Serving signature name: "S" not found in signature def"#,
        ),
        (
            r#"{"instances": [1], "inputs": [1]}"#,
            r#"JSON Value: {"instances": [1], "inputs": [1]} Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "#,
        ),
        (
            r#"{"instances": 5}"#,
            r#"JSON Value: {"instances": 5} Expecting 'instances' to be an list/array"#,
        ),
        (
            r#"{"instances": []}"#,
            r#"JSON Value: {"instances": []} No values in 'instances' array"#,
        ),
        (
            r#"{"instances": [1, "x"]}"#,
            r#"Failed to process element: 1 of 'instances' list. Error: JSON Value: "x" Type: String is not of expected type: float"#,
        ),
        (
            r#"{"instances": [1, null]}"#,
            "Failed to process element: 1 of 'instances' list. Error: JSON Value: null Type: Null is not of expected type: float",
        ),
        (
            r#"{"instances": [[1, 2], [3]]}"#,
            "Failed to process element: 1 of 'instances' list. Error: Expecting shape [2] but got: [1]",
        ),
        (
            r#"{"instances": [[[1], [2, 3]]]}"#,
            "Failed to process element: 0 of 'instances' list. Error: Encountered list at unexpected size: 2 at level: 1 expected size: 1",
        ),
        (
            r#"{"instances": [16777217]}"#,
            "Failed to process element: 0 of 'instances' list. Error: Cannot convert JSON value: 16777217 to float without loss of precision.",
        ),
        (
            r#"{"instances": [{"x": 1}, 2]}"#,
            "Expecting object but got list at item 1 of input list",
        ),
        (
            r#"{"instances": [1, {"x": 1}]}"#,
            "Expecting value/list but got object at item 1 of input list",
        ),
        (
            r#"{"instances": [{"y": 1}]}"#,
            "Failed to process element: 0 key: y of 'instances' list. Error: JSON object: does not have named input: y",
        ),
        (
            r#"{"instances": [{"x": 1, "x": 2}]}"#,
            "Failed to process element: 0 key: x of 'instances' list. Error: JSON object: x is given twice",
        ),
        (
            r#"{"instances": [{}]}"#,
            "Failed to process element: 0 of 'instances' list. JSON object: {} keys must be equal to: x",
        ),
        (r#"{"inputs": {}}"#, "Missing named input: x in 'inputs' object."),
        (
            r#"{"inputs": {"y": 1, "x": 2}}"#,
            "JSON object: does not have named input: y",
        ),
        (
            r#"{"inputs": [[1], 2]}"#,
            "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
    ] {
        assert_eq!(service.post(PREDICT, body).await.refusal(400), message, "{body}");
    }
    let pair = Service::with("pair", pair());
    for (body, message) in [
        (
            r#"{"instances": [1]}"#,
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per tensorinfo_map",
        ),
        (
            r#"{"inputs": [1]}"#,
            "inputs is a plain value/list, but expecting an object as multiple input tensors required as per tensorinfo_map",
        ),
        (
            r#"{"instances": [{"age": 1, "name": ""}, {"age": 1}]}"#,
            r#"Failed to process element: 1 of 'instances' list. JSON object: {"age": 1} keys must be equal to: age,name"#,
        ),
    ] {
        let answer = pair.post("/v1/models/pair:predict", body).await;
        assert_eq!(answer.refusal(400), message, "{body}");
    }
}

#[tokio::test]
async fn a_long_body_is_not_repeated_whole() {
    let service = Service::half_plus_two();
    let body = format!("{{\"instances\": \"{}\"}}", "x".repeat(100_000));
    let refusal = service.post(PREDICT, body).await.refusal(400);
    assert!(refusal.len() < 400, "{refusal}");
}

#[tokio::test]
async fn elements_may_take_no_more_memory_than_a_body() {
    let mut service = Service::new(&[("MAX_BODY_BYTES", "800")]);
    service.insert(model("m", 1, Echo::of(DataType::Fp64, &[])));
    service.serve();
    let ask = async |count: usize| {
        let body = json!({ "instances": vec![1; count] }).to_string();
        service.post("/v1/models/m:predict", body).await
    };
    assert_eq!(ask(100).await.status, 200);
    let refusal = ask(101).await.refusal(413);
    assert_eq!(refusal, "the elements take more than the limit of 800 bytes in memory");
}
