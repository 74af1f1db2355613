//! Metadata, and where each version stands.

use ml_inference::catalog::{Version, VersionState};
use model_runtime::tensor::DataType;
use serde_json::json;

use crate::models::Echo;
use crate::service::{Service, model};

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
