//! Descriptions of the server, its models and their versions.

use ml_inference::catalog::{Version, VersionPolicy, VersionState};
use ml_inference::model::Model;
use model_runtime::tensor::DataType;
use serde_json::json;

use crate::models::Echo;
use crate::service::{Service, model, version};

#[tokio::test]
async fn the_server_and_its_models_describe_themselves() {
    let service = Service::half_plus_two();
    assert_eq!(
        service.get("/v2").await.ok(),
        json!({
            "name": "ml-inference",
            "version": env!("CARGO_PKG_VERSION"),
            "extensions": ["binary_tensor_data", "model_configuration", "statistics"],
        })
    );
    assert_eq!(service.get("/v2/health/live").await.ok(), json!({ "live": true }));
    assert_eq!(service.get("/v2/health/ready").await.ok()["ready"], true);
    let tensor = |name: &str| json!({ "name": name, "datatype": "FP32", "shape": [-1, 1] });
    let expected = json!({
        "name": "half_plus_two",
        "versions": ["123"],
        "platform": "ml-inference",
        "inputs": [tensor("x")],
        "outputs": [tensor("y")],
    });
    for path in ["/v2/models/half_plus_two", "/v2/models/half_plus_two/versions/123"] {
        assert_eq!(service.get(path).await.ok(), expected, "{path}");
        let ready = service.get(&format!("{path}/ready")).await.ok();
        assert_eq!(ready, json!({ "name": "half_plus_two", "ready": true }));
    }
}

#[tokio::test]
async fn the_configuration_says_in_tritons_words_what_the_server_does() {
    let mut service = Service::half_plus_two();
    let tensor = |name: &str| json!([{ "name": name, "data_type": "TYPE_FP32", "dims": [-1, 1] }]);
    let expected = json!({
        "name": "half_plus_two",
        "platform": "ml-inference",
        "backend": "ml-inference",
        "version_policy": { "latest": { "num_versions": 1 } },
        "max_batch_size": 0,
        "input": tensor("x"),
        "output": tensor("y"),
    });
    for path in ["/v2/models/half_plus_two", "/v2/models/half_plus_two/versions/123"] {
        assert_eq!(service.get(&format!("{path}/config")).await.ok(), expected, "{path}");
    }
    let missing = service.get("/v2/models/half_plus_two/versions/9/config").await;
    assert_eq!(missing.refusal(404), "model `half_plus_two` has no version 9");
    service.post("/v2/models/half_plus_two/config", "").await.refusal(405);

    for (policy, told) in [
        (VersionPolicy::All, json!({ "all": {} })),
        (
            VersionPolicy::Specific([3, 123].into()),
            json!({ "specific": { "versions": [3, 123] } }),
        ),
        (VersionPolicy::Latest(2), json!({ "latest": { "num_versions": 2 } })),
    ] {
        service.change(|catalog| catalog.models.get_mut("half_plus_two").expect("inserted").policy = policy);
        let config = service.get("/v2/models/half_plus_two/config").await.ok();
        assert_eq!(config["version_policy"], told);
    }
}

#[tokio::test]
async fn the_platform_is_what_runs_the_model() {
    let mut service = Service::new(&[]);
    for (name, platform) in [("linear_regression", "onnx_ml"), ("neural_cnn", "rten")] {
        let path = format!("{}/tests/zoo/small/{name}.onnx", env!("CARGO_MANIFEST_DIR"));
        let file = std::fs::read(&path).expect("is there");
        service.insert(Model::from_onnx(name, version(1), file).expect("loads"));
        service.serve();
        let metadata = service.get(&format!("/v2/models/{name}")).await.ok();
        assert_eq!(metadata["platform"], platform);
        let config = service.get(&format!("/v2/models/{name}/config")).await.ok();
        assert_eq!([&config["platform"], &config["backend"]], [platform, platform]);
    }
}

#[tokio::test]
async fn the_index_tells_where_every_version_stands() {
    let mut service = Service::new(&[]);
    service.get("/v2/health/ready").await.refusal(503);
    assert_eq!(service.get("/v2/health/live").await.ok(), json!({ "live": true }));
    assert_eq!(
        service.get("/v2/models/m/ready").await.refusal(503),
        "not ready: the model is still loading"
    );
    service.insert(model("m", 2, Echo::of(DataType::Fp32, &[])));
    service.change(|catalog| {
        let servable = catalog.models.get_mut("m").expect("inserted");
        servable.labels.insert("stable".to_owned(), 2);
        for (number, state, problem) in [(3, VersionState::Loading, None), (4, VersionState::End, Some("broken"))] {
            servable.versions.push(Version {
                number,
                state,
                problem: problem.map(str::to_owned),
                loaded: None,
            });
        }
    });
    let entry = |version: &str, state: &str, reason: &str| json!({ "name": "m", "version": version, "state": state, "reason": reason });
    let ready = entry("2", "READY", "");
    let all = json!([ready, entry("3", "LOADING", ""), entry("4", "UNAVAILABLE", "broken")]);
    for (body, told) in [
        ("", &all),
        ("{}", &all),
        (r#"{"ready": false}"#, &all),
        (r#"{"ready": true, "x": 1}"#, &json!([ready])),
    ] {
        assert_eq!(service.post("/v2/repository/index", body).await.ok(), *told, "{body}");
    }
    service.post("/v2/repository/index", "[]").await.refusal(400);
    assert_eq!(service.get("/v2/models/m").await.ok()["versions"], json!(["2"]));
    let infer = json!({ "inputs": [{ "name": "x", "shape": [1], "datatype": "FP32", "data": [1] }] });
    let answer = service
        .post("/v2/models/m/versions/stable/infer", infer.to_string())
        .await;
    assert_eq!(answer.ok()["model_version"], "2");
    service.get("/v2/models/m/versions/3/ready").await.refusal(503);
    let why = "version 4 of model `m` is not available: it is END: broken";
    for path in ["", "/ready", "/config", "/stats"] {
        let answer = service.get(&format!("/v2/models/m/versions/4{path}")).await;
        assert_eq!(answer.refusal(404), why, "{path}");
    }
    let answer = service.post("/v2/models/m/versions/4/infer", infer.to_string()).await;
    assert_eq!(answer.refusal(404), why);
    service.change(|catalog| {
        let servable = catalog.models.get_mut("m").expect("inserted");
        servable.versions.retain(|version| version.number == 4);
    });
    let answer = service.post("/v2/models/m/infer", infer.to_string()).await;
    assert_eq!(answer.refusal(404), "no version of model `m` is available: broken");
}

#[tokio::test]
async fn models_are_not_loaded_and_unloaded_where_they_are_asked() {
    let service = Service::half_plus_two();
    for verb in ["load", "unload"] {
        let answer = service
            .post(&format!("/v2/repository/models/half_plus_two/{verb}"), "{}")
            .await;
        let problem = "models are loaded and unloaded at the admin listener (ADMIN_ADDRESS), not here";
        assert_eq!(answer.refusal(403), problem);
    }
    service.get("/v2/repository/models/m/load").await.refusal(405);
    assert_eq!(service.get("/status.json").await.status, 404);
}
