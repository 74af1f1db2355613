//! Models whose files go while they serve: a directory that is deleted, cannot be read, or is another one. What serves goes on
//! from memory, and readiness is whether `/predict` is answered.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::Value;
use shared::test_util::{DEADLINE, eventually};

use super::control::{OFTEN, Scene, assert_done, refusal};
use super::repository::{ROW, zoo};

const GONE: &str = "served from memory: its file is gone";
const GONE_LOG: &str = "model file is gone; the version serves from memory until another one serves or it is unloaded";

async fn wine() -> Scene {
    let models = [("wine/1/model.onnx", "linear_regression")];
    let settings = [("MODEL_NAME", "wine"), ("MODELS_INTERVAL", OFTEN)];
    Scene::start(&models, &settings).await.ready().await
}

/// Waits until the state of the version says this, and checks that the model answers and the service is ready.
async fn serves(scene: &Scene, version: &str, problem: &str) {
    let mut status = Value::Null;
    eventually(&format!("version {version} says {problem:?}"), DEADLINE, async || {
        let versions = scene.server.get("/v1/models/wine").await.json()["model_version_status"].clone();
        let versions = versions.as_array().cloned().unwrap_or_default();
        let found = versions.into_iter().find(|known| known["version"] == version);
        status = found.unwrap_or_default();
        let message = status["status"]["error_message"].as_str();
        let is_said =
            message.is_some_and(|message| message.contains(problem) && message.is_empty() == problem.is_empty());
        is_said && status["state"] == "AVAILABLE"
    })
    .await;
    let answer = scene.server.post("/predict", ROW).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("x-model-version"), version);
    for path in ["/readyz", "/v2/health/ready", "/v2/models/wine/ready"] {
        assert_eq!(scene.server.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_model_whose_directory_is_deleted_goes_on_until_it_is_unloaded() {
    let scene = wine().await;
    fs::remove_dir_all(scene.scratch.path().join("wine")).expect("removes");
    serves(&scene, "1", GONE).await;
    let line = scene.server.process.log_line(GONE_LOG).await;
    assert_eq!((&line["model"], &line["version"]), (&"wine".into(), &1.into()));
    let status = scene.ask("GET", "/status.json", "").await.json();
    assert_eq!(status["ready"], true);
    let models = status["models"].as_array().expect("a list").iter();
    let wine: Vec<&Value> = models.filter(|model| model["name"] == "wine").collect();
    assert_eq!(wine[0]["versions"][0]["problem"], GONE);

    scene.put("other/1/model.onnx", &zoo("linear_regression"));
    eventually("the next looks are over", DEADLINE, async || {
        scene.predict("other").await.status == 200
    })
    .await;
    let log = scene.server.process.output();
    assert_eq!(log.matches(GONE_LOG).count(), 1, "once");

    assert_done(&scene.unload("wine").await);
    let problem = "not ready: the model `wine` was unloaded at the admin listener; load it there";
    assert_eq!(scene.server.get("/readyz").await.problem(503)["detail"], problem);
    assert_eq!(scene.server.post("/predict", ROW).await.problem(503)["detail"], problem);
    assert_eq!(refusal(&scene.server.get("/v2/health/ready").await, 503), problem);
    assert_eq!(scene.predict("wine").await.status, 404);
    let metrics = scene.server.metrics().await;
    assert!(
        !metrics.contains("ml_inference_model_loaded{model=\"wine\""),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_directory_that_takes_the_place_of_one_that_was_deleted_is_loaded() {
    let scene = wine().await;
    fs::remove_dir_all(scene.scratch.path().join("wine")).expect("removes");
    serves(&scene, "1", GONE).await;
    scene.put("wine/1/model.onnx", &zoo("boosting_regressor"));
    serves(&scene, "1", "").await;
    fs::remove_dir_all(scene.scratch.path().join("wine")).expect("removes");
    serves(&scene, "1", GONE).await;
    scene.put("wine/2/model.onnx", &zoo("linear_regression"));
    serves(&scene, "2", "").await;
    eventually("the first is let go", DEADLINE, async || {
        scene.server.get("/v1/models/wine/versions/1").await.status == 404
    })
    .await;
}

#[tokio::test]
async fn the_whole_directory_may_vanish_and_come_back() {
    let scene = wine().await;
    let (here, away) = (
        scene.scratch.path().to_owned(),
        scene.scratch.path().with_extension("away"),
    );
    fs::rename(&here, &away).expect("renames");
    serves(&scene, "1", "served from memory: ").await;
    fs::create_dir(&here).expect("makes directories");
    serves(&scene, "1", GONE).await;
    fs::remove_dir(&here).expect("removes");
    fs::rename(&away, &here).expect("renames");
    serves(&scene, "1", "").await;
    let metrics = scene.server.metrics().await;
    let loads = "ml_inference_model_loads_total{model=\"wine\",result=\"loaded\"} 1";
    assert!(metrics.contains(loads), "the same file is not loaded again\n{metrics}");
}

#[tokio::test]
async fn a_directory_that_cannot_be_read_is_named_and_what_serves_goes_on() {
    let scene = wine().await;
    let first = scene.scratch.path().join("wine/1");
    // A link to itself cannot be read by anyone; permissions do not hold for root.
    symlink("2", scene.scratch.path().join("wine/2")).expect("links");
    fs::set_permissions(&first, Permissions::from_mode(0o000)).expect("is ours");
    serves(&scene, "1", "wine/").await;
    let problem = "cannot read a model; keeping its loaded versions";
    let line = scene.server.process.log_line(problem).await;
    assert!(line["problem"].to_string().contains("wine/"), "{line}");
    fs::set_permissions(&first, Permissions::from_mode(0o755)).expect("is ours");
    fs::remove_file(scene.scratch.path().join("wine/2")).expect("removes");
    serves(&scene, "1", "").await;
}

#[tokio::test]
async fn two_directories_of_one_version_are_named_and_the_loaded_one_serves() {
    let scene = wine().await;
    scene.put("wine/001/model.onnx", &zoo("boosting_regressor"));
    serves(&scene, "1", "wine/1/model.onnx are both version 1; remove one of them").await;
    fs::remove_dir_all(scene.scratch.path().join("wine/1")).expect("removes");
    serves(&scene, "1", "").await;

    for number in ["7", "007"] {
        scene.put(&format!("twice/{number}/model.onnx"), &zoo("linear_regression"));
    }
    eventually("the model says so", DEADLINE, async || {
        let answer = scene.server.get("/v2/models/twice").await;
        answer.status == 404 && answer.body.contains("are both version 7")
    })
    .await;
}

#[tokio::test]
async fn a_model_that_never_was_there_is_said_to_be_missing_and_not_to_load() {
    let scene = Scene::start(&[], &[("MODEL_NAME", "wine"), ("MODELS_INTERVAL", OFTEN)]).await;
    let missing = async |problem: &str| {
        eventually(problem, DEADLINE, async || {
            let ready = scene.server.get("/readyz").await;
            ready.status == 503 && ready.body.contains(problem)
        })
        .await;
        let answer = scene.server.post("/predict", ROW).await.problem(503);
        assert!(answer["detail"].to_string().contains(problem), "{answer}");
    };
    missing("not ready: there is no model `wine`").await;
    scene.put("wine/1/model.onnx", b"no model");
    missing("not ready: no version of model `wine` is available: ").await;
    scene.put("wine/1/model.onnx", &zoo("linear_regression"));
    serves(&scene, "1", "").await;
}
