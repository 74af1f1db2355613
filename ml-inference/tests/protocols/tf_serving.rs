//! TensorFlow Serving's REST API: what its own tests ask, and what its users rely on.

use ml_inference::catalog::{Version, VersionState};
use model_runtime::tensor::DataType;
use model_runtime::{Dim, Signature, TensorSpec};
use serde_json::{Value, json};

use crate::models::{Counting, Echo, rows, spec};
use crate::service::{Service, gzip, model};

const PREDICT: &str = "/v1/models/half_plus_two:predict";
const REGRESS: &str = "/v1/models/half_plus_two:regress";
const CLASSIFY: &str = "/v1/models/iris:classify";

fn pair() -> Echo {
    Echo::new(&[spec("age", DataType::Int64, &[]), spec("name", DataType::Bytes, &[])])
}

/// A classifier as scikit-learn exports it: the class, and a probability for each.
fn iris() -> Counting {
    let probabilities = TensorSpec {
        labels: ["setosa", "versicolor", "virginica"].map(str::to_owned).to_vec(),
        ..spec("probabilities", DataType::Fp32, &[3])
    };
    Counting(Signature {
        inputs: vec![spec("petal", DataType::Fp32, &[2]), spec("site", DataType::Bytes, &[])],
        outputs: vec![spec("label", DataType::Bytes, &[]), probabilities],
    })
}

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
async fn examples_are_regressed() {
    let service = Service::half_plus_two();
    for (body, results) in [
        (r#"{"examples": [{"x": 80.0}]}"#, "[42.0]"),
        (
            r#"{"examples": [{"x": [80]}, {"x": 1}], "signature_name": "serving_default"}"#,
            "[42.0,2.5]",
        ),
        (
            r#"{"examples": [{}, {"x": 2, "unknown": [{}]}], "context": {"x": 1, "other": null}}"#,
            "[2.5,3.0]",
        ),
    ] {
        let answer = service.post(REGRESS, body).await;
        assert_eq!(answer.text(), format!("{{\"results\":{results}}}\n"), "{body}");
    }
    for (body, message) in [
        ("{}", "JSON Value: {} key 'examples' is expected and was not found"),
        (
            r#"{"examples": {}}"#,
            r#"JSON Value: {"examples": {}} Expecting 'examples' value to be an list/array"#,
        ),
        (
            r#"{"examples": []}"#,
            r#"JSON Value: {"examples": []} 'examples' value is an empty array"#,
        ),
        (
            r#"{"examples": [5]}"#,
            "Failed to process element: 0 of 'examples' list. Error: Example must be JSON object but got JSON Number",
        ),
        (
            r#"{"examples": [{"x": 1}, {}]}"#,
            "Failed to process element: 1 of 'examples' list. Error: Feature: x is missing",
        ),
        (
            r#"{"examples": [{"x": 1}, {"x": [1, 2]}]}"#,
            "Failed to process element: 1 of 'examples' list. Error: Feature: x has 2 values, but 1 in an example before",
        ),
        (
            r#"{"examples": [{"x": [[1]]}]}"#,
            "Failed to process element: 0 of 'examples' list. Error: Feature: x has element with unexpected JSON type: Array",
        ),
        (
            r#"{"examples": [{"x": 1, "x": 1}]}"#,
            "Failed to process element: 0 of 'examples' list. Error: JSON object: x is given twice",
        ),
        (
            r#"{"examples": [], "examples": []}"#,
            "JSON object: examples is given twice",
        ),
        (
            r#"{"examples": [{"x": [1, 2]}]}"#,
            "the model gave more than one number for an example",
        ),
    ] {
        assert_eq!(service.post(REGRESS, body).await.refusal(400), message, "{body}");
    }
}

#[tokio::test]
async fn examples_are_classified_by_a_model_that_names_its_classes() {
    let service = Service::with("iris", iris());
    let body =
        json!({ "context": { "site": "b" }, "examples": [{ "petal": [1.5, 0.2] }, { "petal": [1, 2], "site": "a" }] });
    assert_eq!(
        service.post(CLASSIFY, body.to_string()).await.ok(),
        json!({ "results": [
            [["setosa", 0.0], ["versicolor", 1.0], ["virginica", 2.0]],
            [["setosa", 3.0], ["versicolor", 4.0], ["virginica", 5.0]],
        ] })
    );
    let none = "the model does not give one number for each example to regress with; ask it with :predict";
    assert_eq!(
        service
            .post("/v1/models/iris:regress", body.to_string())
            .await
            .refusal(400),
        none
    );
    let none = "the model has no scores with labels to classify with; ask it with :predict";
    let service = Service::half_plus_two();
    let answer = service
        .post("/v1/models/half_plus_two:classify", r#"{"examples": [{"x": 20}]}"#)
        .await;
    assert_eq!(answer.refusal(400), none);
}

#[tokio::test]
async fn a_flat_feature_takes_the_shape_of_its_inputs_rows() {
    let shape = [Dim::Free(None), Dim::Fixed(2), Dim::Free(None)].to_vec();
    let service = Service::with(
        "m",
        Counting(Signature {
            inputs: vec![TensorSpec::new("x", DataType::Int32, shape)],
            outputs: vec![TensorSpec::new("y", DataType::Int32, rows(&[]))],
        }),
    );
    let ask = async |x: Value| {
        service
            .post("/v1/models/m:regress", json!({ "examples": [{ "x": x }] }).to_string())
            .await
    };
    assert_eq!(ask(json!([1, 2, 3, 4, 5, 6])).await.ok(), json!({ "results": [0] }));
    assert_eq!(
        ask(json!([1, 2, 3])).await.refusal(400),
        "Feature: x has 3 values, which are no row of INT32[-1,2,-1]"
    );
}

#[tokio::test]
async fn the_metadata_is_the_originals() {
    let service = Service::half_plus_two();
    let tensor = |name: &str| {
        json!({
            "dtype": "DT_FLOAT",
            "tensor_shape": {
                "dim": [{ "size": "-1", "name": "" }, { "size": "1", "name": "" }],
                "unknown_rank": false,
            },
            "name": name,
        })
    };
    let expected = json!({
        "model_spec": { "name": "half_plus_two", "signature_name": "", "version": "123" },
        "metadata": { "signature_def": { "signature_def": { "serving_default": {
            "inputs": { "x": tensor("x:0") },
            "outputs": { "y": tensor("y:0") },
            "method_name": "tensorflow/serving/predict",
            "defaults": {},
        } } } },
    });
    for path in [
        "/v1/models/half_plus_two/metadata",
        "/v1/models/half_plus_two/versions/123/metadata",
    ] {
        assert_eq!(service.get(path).await.ok(), expected, "{path}");
    }
}

#[tokio::test]
async fn a_version_is_chosen_by_its_number_or_its_label_and_each_has_its_state() {
    let mut service = Service::new(&[]);
    assert_eq!(
        service.get("/v1/models/m").await.refusal(503),
        "not ready: the model is still loading"
    );
    let loading = service.post("/v1/models/m:predict", r#"{"instances": [1]}"#).await;
    assert_eq!(loading.header("retry-after"), Some("1"));
    loading.refusal(503);

    for number in [1, 2] {
        service.insert(model("m", number, Echo::of(DataType::Fp32, &[])));
    }
    service.change(|catalog| {
        let servable = catalog.models.get_mut("m").expect("inserted");
        servable.labels.insert("stable".to_owned(), 1);
        servable.versions.push(Version {
            number: 3,
            state: VersionState::Loading,
            problem: None,
            loaded: None,
        });
        servable.versions.push(Version {
            number: 4,
            state: VersionState::End,
            problem: Some("the file is broken".to_owned()),
            loaded: None,
        });
    });
    let status = |version: &str, state: &str, code: &str, message: &str| {
        json!({
            "version": version,
            "state": state,
            "status": { "error_code": code, "error_message": message },
        })
    };
    let stable = status("1", "AVAILABLE", "OK", "");
    let all = [
        status("4", "END", "UNKNOWN", "the file is broken"),
        status("3", "LOADING", "OK", ""),
        status("2", "AVAILABLE", "OK", ""),
        stable.clone(),
    ];
    assert_eq!(
        service.get("/v1/models/m").await.ok(),
        json!({ "name": "m", "ready": true, "model_version_status": all })
    );
    for path in ["/v1/models/m/versions/1", "/v1/models/m/labels/stable"] {
        assert_eq!(
            service.get(path).await.ok(),
            json!({ "name": "m", "ready": true, "model_version_status": [stable] }),
            "{path}"
        );
    }
    // KServe's clients ask these.
    let refused = service.get("/v1/models/m/versions/4").await.ok();
    assert_eq!((&refused["name"], &refused["ready"]), (&json!("m"), &json!(false)));
    let listed = service.get("/v1/models").await.ok();
    assert_eq!(listed, json!({ "models": ["m"] }));
    for (place, version) in [
        ("", "2"),
        ("/versions/1", "1"),
        ("/versions/2", "2"),
        ("/labels/stable", "1"),
    ] {
        let path = format!("/v1/models/m{place}:predict");
        let answer = service.post(&path, r#"{"instances": [1]}"#).await;
        assert_eq!(
            (answer.status, answer.header("x-model-version")),
            (200, Some(version)),
            "{path}"
        );
    }
    let ask = async |number: u8| {
        service
            .post(&format!("/v1/models/m/versions/{number}:predict"), "{}")
            .await
    };
    ask(3).await.refusal(503);
    assert_eq!(
        ask(4).await.refusal(404),
        "Servable not found for request: Specific(m, 4)"
    );
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
