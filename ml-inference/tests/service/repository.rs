//! Models out of a directory: a file is put there and is served, a better one takes its place, a bad one does not.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use shared::test_util::{DEADLINE, Scratch, eventually};

use super::server::{Answer, Server};

/// What a scikit-learn model was exported to.
pub(crate) fn zoo(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/zoo/small")
        .join(format!("{name}.onnx"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A directory of models, and a server that watches it.
struct Scene {
    scratch: Scratch,
    server: Server,
}

impl Scene {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let scratch = Scratch::new("models");
        let server = serve(&scratch, settings).await;
        Self { scratch, server }
    }

    /// Whole from the beginning: written beside, then renamed.
    fn put(&self, path: &str, content: &[u8]) {
        put(self.scratch.path(), path, content);
    }

    async fn predict(&self, path: &str) -> Answer {
        self.server.post(path, ROW).await
    }

    async fn state(&self, model: &str, version: &str) -> Value {
        let status = self.server.get(&format!("/v1/models/{model}")).await.json();
        let versions = status["model_version_status"].as_array().cloned().unwrap_or_default();
        let found = versions.into_iter().find(|known| known["version"] == version);
        found.unwrap_or_default()
    }

    async fn until(&self, model: &str, version: &str, state: &str) -> Value {
        eventually(
            &format!("version {version} of {model} is {state}"),
            DEADLINE,
            async || self.state(model, version).await["state"] == state,
        )
        .await;
        self.state(model, version).await
    }
}

/// What the regressors take, and what `decision_tree` does.
pub(crate) const ROW: &str = r#"{"instances": [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]]}"#;
const FLOWER: &str = r#"{"instances": [[5.1, 3.5, 1.4, 0.2]]}"#;

pub(crate) fn put(root: &Path, path: &str, content: &[u8]) {
    let new = root.join(".new");
    fs::write(&new, content).expect("writes");
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("below the root")).expect("makes directories");
    fs::rename(new, path).expect("renames");
}

async fn serve(scratch: &Scratch, settings: &[(&str, &str)]) -> Server {
    let directory = scratch.path().to_str().expect("a path");
    let usual = [("MODELS_DIR", directory), ("MODELS_INTERVAL", "0.05")];
    let settings: Vec<(&str, &str)> = usual.iter().chain(settings).copied().collect();
    Server::start_unready(&settings).await
}

#[tokio::test]
async fn a_file_that_is_dropped_into_the_directory_is_served() {
    let scene = Scene::start(&[]).await;
    // 503 until the first look is over.
    eventually("there is no such model", DEADLINE, async || {
        scene.predict("/v1/models/tree:predict").await.status == 404
    })
    .await;
    scene.put("tree.onnx", &zoo("decision_tree"));
    scene.until("tree", "1", "AVAILABLE").await;
    let asked =
        async || scene.server.get("/v2/models/tree/stats").await.json()["model_stats"][0]["inference_count"].clone();
    assert_eq!(asked().await, 0, "a warm-up is no request");
    let answer = scene.server.post("/v1/models/tree:predict", FLOWER).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("x-model-version"), "1");
    assert_eq!(asked().await, 1);
    let expected = json!({ "output_label": "setosa", "output_probability": [1.0, 0.0, 0.0] });
    assert_eq!(answer.json()["predictions"], json!([expected]));
    let metrics = scene.server.metrics().await;
    assert!(
        metrics.contains("ml_inference_model_loaded{model=\"tree\",version=\"1\"} 1"),
        "{metrics}"
    );
    assert!(metrics.contains("ml_inference_model_loads_total{model=\"tree\",result=\"loaded\"} 1"));
}

/// A thread of the server as `proc_pid_stat(5)` shows it.
#[derive(Debug, PartialEq)]
struct Thread {
    name: String,
    nice: i32,
    /// Of the class that runs only where a processor is idle.
    is_idle_class: bool,
}

fn threads(server: &Server) -> Vec<Thread> {
    const SCHED_IDLE: &str = "5";
    let tasks = fs::read_dir(format!("/proc/{}/task", server.process.id())).expect("threads");
    // One that has ended since has no state.
    let stats = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("stat")).ok());
    let thread = |stat: String| {
        let (head, fields) = stat.rsplit_once(") ").expect("a name");
        // From the third field on.
        let fields: Vec<&str> = fields.split_whitespace().collect();
        Thread {
            name: head.split_once('(').expect("a name").1.to_owned(),
            nice: fields[19 - 3].parse().expect("a number"),
            is_idle_class: fields[41 - 3] == SCHED_IDLE,
        }
    };
    stats.map(thread).collect()
}

#[tokio::test]
async fn a_thread_that_loads_models_gives_way_to_those_that_answer() {
    let scene = Scene::start(&[]).await;
    eventually("the first look is over", DEADLINE, async || {
        scene.server.get("/readyz").await.status == 200
    })
    .await;
    let quiet = threads(&scene.server);
    assert!(quiet.iter().all(|thread| !thread.is_idle_class), "{quiet:?}");
    assert!(quiet.iter().any(|thread| thread.nice == 10), "{quiet:?}");

    let pipe = pipe(&scene.scratch, "slow/1/model.onnx");
    eventually("a thread that gives way reads it", DEADLINE, async || {
        threads(&scene.server).iter().any(|thread| thread.is_idle_class)
    })
    .await;
    let loading = threads(&scene.server);
    for prefix in ["worker-", "compute-"] {
        let mut found = loading
            .iter()
            .filter(|thread| thread.name.starts_with(prefix))
            .peekable();
        assert!(found.peek().is_some(), "{loading:?}");
        assert!(
            found.all(|thread| thread.nice == 0 && !thread.is_idle_class),
            "{loading:?}"
        );
    }

    // A file takes the pipe's place before the load that reads the pipe is over.
    let mut writer = File::options().write(true).open(&pipe).expect("it is being read");
    scene.put("slow/1/model.onnx", &zoo("linear_regression"));
    writer.write_all(&zoo("linear_regression")).expect("writes");
    drop(writer);
    scene.until("slow", "1", "AVAILABLE").await;
    eventually("the thread has ended", DEADLINE, async || {
        threads(&scene.server).iter().all(|thread| !thread.is_idle_class)
    })
    .await;
}

/// A model's file that is not there to the end before the test says so: who opens it waits for who writes it.
pub(crate) fn pipe(scratch: &Scratch, path: &str) -> PathBuf {
    let path = scratch.path().join(path);
    fs::create_dir_all(path.parent().expect("below the root")).expect("makes directories");
    let made = Command::new("mkfifo").arg(&path).status();
    assert!(made.expect("mkfifo is there").success());
    path
}

#[tokio::test]
async fn the_lab_asks_the_model_that_is_named_and_waits_until_it_is_there() {
    let scene = Scene::start(&[("MODEL_NAME", "wine")]).await;
    eventually("it says what is missing", DEADLINE, async || {
        scene
            .server
            .process
            .output()
            .contains("no version of the MODEL_NAME model is loaded")
    })
    .await;
    assert_eq!(scene.server.get("/readyz").await.status, 503);
    assert_eq!(scene.predict("/predict").await.status, 503);
    assert_eq!(scene.server.get("/livez").await.status, 200);

    scene.put("wine/7/model.onnx", &zoo("linear_regression"));
    eventually("it is ready", DEADLINE, async || {
        scene.server.get("/readyz").await.status == 200
    })
    .await;
    let answer = scene.predict("/predict").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["model"], "wine");
    assert_eq!(answer.json()["version"], "7");
    assert_eq!(answer.header("x-model-version"), "7");
}

#[tokio::test]
async fn a_new_version_takes_over_and_a_bad_one_does_not() {
    let scene = Scene::start(&[]).await;
    scene.put("m/1/model.onnx", &zoo("linear_regression"));
    scene.until("m", "1", "AVAILABLE").await;
    let first = scene.predict("/v1/models/m:predict").await.body;

    let mut corrupt = zoo("linear_regression");
    corrupt.truncate(corrupt.len() / 2);
    scene.put("m/2/model.onnx", &corrupt);
    let status = scene.until("m", "2", "END").await;
    let problem = status["status"]["error_message"].as_str().unwrap_or_default();
    assert!(problem.contains("no ONNX model"), "{status}");
    assert_eq!(scene.predict("/v1/models/m:predict").await.body, first);
    let metrics = scene.server.metrics().await;
    assert!(
        metrics.contains("ml_inference_model_loads_total{model=\"m\",result=\"refused\"} 1"),
        "{metrics}"
    );
    assert!(
        scene
            .server
            .process
            .output()
            .contains("model rejected; keeping the loaded version")
    );

    scene.put("m/3/model.onnx", &zoo("boosting_regressor"));
    scene.until("m", "3", "AVAILABLE").await;
    eventually("the first is let go", DEADLINE, async || {
        scene.state("m", "1").await["state"] != "AVAILABLE"
    })
    .await;
    let third = scene.predict("/v1/models/m:predict").await;
    assert_eq!(third.header("x-model-version"), "3");
    assert_ne!(third.body, first);
    assert_eq!(scene.predict("/v1/models/m/versions/1:predict").await.status, 404);
    let left_out = scene.until("m", "1", "END").await;
    assert_eq!(
        left_out["status"]["error_message"],
        "not selected by the version policy"
    );
    scene.put("m/4/model.onnx", b"");
    let empty = scene.until("m", "4", "END").await;
    assert_eq!(empty["status"]["error_message"], "the file is empty");
}

#[tokio::test]
async fn a_golden_request_that_is_answered_otherwise_keeps_a_version_out() {
    let scene = Scene::start(&[]).await;
    scene.put("m/1/model.onnx", &zoo("linear_regression"));
    scene.until("m", "1", "AVAILABLE").await;
    let right = scene.predict("/v1/models/m:predict").await.json()["predictions"].clone();
    let golden = |response: &Value| {
        let response = json!({ "predictions": response }).to_string();
        format!(
            "version_policy: all\nlabels: {{stable: 1}}\ngolden:\n  - request: '{ROW}'\n    response: '{response}'\n"
        )
    };
    scene.put("m/config.yaml", golden(&right).as_bytes());
    scene.put("m/2/model.onnx", &zoo("linear_regression"));
    scene.until("m", "2", "AVAILABLE").await;
    scene.put("m/3/model.onnx", &zoo("boosting_regressor"));
    let status = scene.until("m", "3", "END").await;
    let problem = status["status"]["error_message"].as_str().unwrap_or_default();
    assert!(
        problem.starts_with("golden request 0: the answer differs: predictions[0]"),
        "{problem}"
    );
    assert_eq!(
        scene
            .predict("/v1/models/m/labels/stable:predict")
            .await
            .header("x-model-version"),
        "1"
    );
    assert_eq!(
        scene.predict("/v1/models/m:predict").await.header("x-model-version"),
        "2"
    );
}

#[tokio::test]
async fn a_configuration_with_faults_is_told_with_its_place_and_the_one_before_holds() {
    let scene = Scene::start(&[]).await;
    scene.put("m/config.yaml", b"labels: {stable: 1}\n");
    scene.put("m/1/model.onnx", &zoo("linear_regression"));
    scene.until("m", "1", "AVAILABLE").await;
    scene.put("m/config.yaml", b"labels:\n  stable: first\n");
    eventually("it is told", DEADLINE, async || {
        scene
            .server
            .process
            .output()
            .contains("m/config.yaml:2:11: labels.stable: expected a whole number")
    })
    .await;
    assert_eq!(scene.predict("/v1/models/m/labels/stable:predict").await.status, 200);
}

#[tokio::test]
async fn a_name_of_the_programs_own_and_what_is_no_model_are_told() {
    let scratch = Scratch::new("models");
    put(scratch.path(), "half_plus_two/5/model.onnx", &zoo("linear_regression"));
    put(scratch.path(), "m/new/model.onnx", &zoo("linear_regression"));
    let server = serve(&scratch, &[]).await;
    eventually("it is ready", DEADLINE, async || {
        server.get("/readyz").await.status == 200
    })
    .await;
    let log = server.process.output();
    assert!(
        log.contains("half_plus_two: a model of this name is part of the program"),
        "{log}"
    );
    assert!(
        log.contains("m/new: neither config.yaml nor a version such as 1"),
        "{log}"
    );
    let answer = server.post("/predict", r#"{"instances": [1.0]}"#).await;
    assert_eq!(answer.json()["predictions"], json!([2.5]));
}

#[tokio::test]
async fn an_unsupported_operator_is_named() {
    let scene = Scene::start(&[]).await;
    // The name stands in the file as it is, as the node's too; another of the same length keeps the file whole.
    let mut file = zoo("linear_regression");
    let name = b"LinearRegressor";
    while let Some(at) = file.windows(name.len()).position(|part| part == name) {
        file[at..at + name.len()].copy_from_slice(b"LinearRegretter");
    }
    scene.put("m/1/model.onnx", &file);
    let status = scene.until("m", "1", "END").await;
    let problem = status["status"]["error_message"].as_str().unwrap_or_default();
    assert!(problem.contains("LinearRegretter"), "{status}");
}

#[tokio::test]
async fn versions_come_and_go_under_load_without_a_failed_request() {
    let scene = Scene::start(&[]).await;
    scene.put("m/1/model.onnx", &zoo("linear_regression"));
    scene.until("m", "1", "AVAILABLE").await;
    let mut asked = 0_usize;
    for version in 2..=6_u64 {
        let model = if version % 2 == 0 {
            "boosting_regressor"
        } else {
            "linear_regression"
        };
        scene.put(&format!("m/{version}/model.onnx"), &zoo(model));
        if version == 4 {
            scene.put("m/100/model.onnx", b"broken");
        }
        loop {
            let answer = scene.predict("/v1/models/m:predict").await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            asked += 1;
            if answer.header("x-model-version") == version.to_string() {
                break;
            }
        }
    }
    assert!(asked > 5, "some were answered by the version before");
}

/// The encoder has 50 words, so that 999 is none of them.
#[tokio::test]
async fn an_input_that_a_model_fails_at_fails_alone() {
    let scene = Scene::start(&[("MAX_QUEUE", "64")]).await;
    scene.put("words/1/model.onnx", &zoo("neural_transformer"));
    scene.put("rows/1/model.onnx", &zoo("linear_regression"));
    scene.until("words", "1", "AVAILABLE").await;
    scene.until("rows", "1", "AVAILABLE").await;
    let words = |id: i64| json!({ "instances": [{ "input_ids": [1, id], "attention_mask": [1, 1] }] }).to_string();
    let (path, good, bad) = ("/v1/models/words:predict", words(49), words(999));
    let ask = async |count: usize| {
        let asked = (0..count).map(async |at| match at % 3 {
            0 => (400, scene.server.post(path, bad.clone()).await),
            1 => (200, scene.server.post(path, good.clone()).await),
            _ => (200, scene.predict("/v1/models/rows:predict").await),
        });
        futures_util::future::join_all(asked).await
    };
    let expected = scene.server.post(path, good.clone()).await.json();
    for (status, answer) in ask(30).await {
        assert_eq!(answer.status, status, "{}", answer.body);
        if status == 400 {
            let error = answer.json()["error"].as_str().unwrap_or_default().to_owned();
            assert!(error.contains("the model cannot take this input"), "{error}");
        }
    }
    assert_eq!(scene.server.post(path, good).await.json(), expected);
}
