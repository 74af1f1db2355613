//! The service with a registry: its settings, its Secret, its log and its metrics.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use shared::http_client;
use shared::test_util::{DEADLINE, Mount, Process, Scratch, Signal, eventually};

use crate::follower::versions;
use crate::server::{Access, PASSWORD, Registry, Shelf, USER, bytes};

const BINARY: &str = env!("CARGO_BIN_EXE_ml-inference");
const MODEL: &str = "iris";

fn start(models: &Path, uri: &str, more: &[(&str, &str)]) -> Process {
    let usual = [
        ("BIND_ADDRESS", "127.0.0.1"),
        ("SERVICE_PORT", "0"),
        ("ADMIN_ADDRESS", "127.0.0.1:0"),
        ("DRAIN_WINDOW", "0"),
        ("RELOAD_INTERVAL", "0.05"),
        ("REGISTRY_INTERVAL", "0.1"),
        ("MODELS_DIR", models.to_str().expect("a UTF-8 path")),
        ("MODEL_NAME", MODEL),
        ("MODEL_URI", uri),
    ];
    Process::start(BINARY, usual.iter().chain(more).copied())
}

/// The service with models that it can load, looked at as rarely as can be unless `more` says otherwise.
struct Scene {
    registry: Registry,
    models: Scratch,
    process: Process,
    address: SocketAddr,
    admin: SocketAddr,
    client: reqwest::Client,
}

impl Scene {
    async fn start(files: &[(&str, &[u8])], more: &[(&str, &str)]) -> Self {
        let registry = Registry::start(Shelf::with(MODEL, files)).await;
        let models = Scratch::new("models");
        let usual = [("MODELS_INTERVAL", "3600")];
        let more: Vec<(&str, &str)> = usual.iter().chain(more).copied().collect();
        let process = start(models.path(), &registry.url(MODEL), &more);
        Self {
            address: process.listening().await,
            admin: process.address_of("admin listening").await,
            client: http_client::client(DEADLINE).expect("a client"),
            registry,
            models,
            process,
        }
    }

    fn publish(&self, files: &[(&str, &[u8])]) {
        self.registry.shelf().publish(MODEL, files);
    }

    fn versions(&self) -> Vec<String> {
        versions(&self.models.path().join(MODEL)).into_iter().collect()
    }

    async fn text(&self, address: SocketAddr, path: &str) -> String {
        let answer = self.client.get(format!("http://{address}{path}")).send().await;
        answer.expect("it answers").text().await.expect("it is text")
    }

    async fn status(&self) -> Value {
        serde_json::from_str(&self.text(self.admin, "/status.json").await).expect("JSON")
    }

    /// Which version answers; every answer must be one.
    async fn serving(&self) -> String {
        let url = format!("http://{}/predict", self.address);
        let answer = self.client.post(url).body(ROW).send().await.expect("it answers");
        assert_eq!(answer.status(), 200, "{}", self.process.output());
        let version = answer.headers()["x-model-version"].to_str();
        version.expect("is text").to_owned()
    }

    async fn until_serving(&self, version: &str) {
        eventually(&format!("version {version} serves"), DEADLINE, async || {
            self.serving().await == version
        })
        .await;
    }

    async fn until_ready(&self) {
        eventually("it is ready", DEADLINE, async || {
            self.text(self.address, "/readyz").await == "ok\n"
        })
        .await;
    }
}

const ROW: &str = r#"{"instances": [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]]}"#;
const GOOD: &[u8] = include_bytes!("../zoo/small/linear_regression.onnx");
const BETTER: &[u8] = include_bytes!("../zoo/small/boosting_regressor.onnx");

#[tokio::test]
async fn what_is_pulled_is_loaded_at_once_and_what_is_in_nobodys_way_stays() {
    let scene = Scene::start(&[("1/model.onnx", GOOD)], &[]).await;
    scene.until_ready().await;
    scene.publish(&[("1/model.onnx", GOOD), ("2/model.onnx", BETTER)]);
    scene.until_serving("2").await;
    scene.publish(&[("1/model.onnx", GOOD), ("2/model.onnx", BETTER), ("3/model.onnx", GOOD)]);
    scene.until_serving("3").await;
    eventually("the oldest is gone", DEADLINE, async || scene.versions() == ["2", "3"]).await;

    let status = scene.status().await["registry"].clone();
    assert_eq!(status["location"], scene.registry.url(MODEL));
    assert_eq!(status["problem"], Value::Null);
    assert_eq!(status["progress"], Value::Null);
    let last_success = status["last_success"].as_str().expect("is text");
    assert!(
        last_success.starts_with("20") && last_success.ends_with('Z'),
        "{status}"
    );
}

#[tokio::test]
async fn a_version_that_is_withdrawn_makes_way_for_the_one_before_and_no_request_fails() {
    let (one, two) = (("1/model.onnx", GOOD), ("2/model.onnx", BETTER));
    let scene = Scene::start(&[one, two], &[]).await;
    scene.until_ready().await;
    assert_eq!(scene.serving().await, "2");
    scene.publish(&[one]);
    scene.until_serving("1").await;
    eventually("it is gone", DEADLINE, async || scene.versions() == ["1"]).await;
    assert_eq!(scene.serving().await, "1");
}

#[tokio::test]
async fn the_last_version_that_works_is_not_removed_though_the_registry_has_it_no_more() {
    let scene = Scene::start(&[("1/model.onnx", GOOD)], &[("REGISTRY_KEEP_VERSIONS", "0")]).await;
    scene.until_ready().await;
    scene.publish(&[("2/model.onnx", b"no model")]);
    scene
        .process
        .log_line("model rejected; keeping the loaded version")
        .await;
    let asked = scene.registry.asked_for("/SHA256SUMS").len();
    eventually("it was looked at again", DEADLINE, async || {
        scene.registry.asked_for("/SHA256SUMS").len() > asked + 2
    })
    .await;
    assert_eq!(scene.versions(), ["1", "2"]);
    assert_eq!(scene.serving().await, "1");

    // Nor is it while nothing serves.
    let url = format!("http://{}/v2/repository/models/{MODEL}/unload", scene.admin);
    let unloaded = scene.client.post(url).send().await.expect("it answers");
    assert_eq!(unloaded.status(), 200);
    let asked = scene.registry.asked_for("/SHA256SUMS").len();
    eventually("it was looked at again", DEADLINE, async || {
        scene.registry.asked_for("/SHA256SUMS").len() > asked + 2
    })
    .await;
    assert_eq!(scene.versions(), ["1", "2"]);
    let url = format!("http://{}/v2/repository/models/{MODEL}/load", scene.admin);
    let refused = scene.client.post(url).send().await.expect("it answers");
    assert_eq!(refused.status(), 400, "version 2 is the newest that is wanted");
    assert_eq!(scene.serving().await, "1", "but what works serves");
    scene.publish(&[("2/model.onnx", b"no model"), ("3/model.onnx", BETTER)]);
    scene.until_serving("3").await;
    eventually("there is no need for the others", DEADLINE, async || {
        scene.versions() == ["3"]
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_the_registry_is_in_the_status_and_counted_by_its_kind() {
    let mut shelf = Shelf::with(MODEL, &[("1/model.onnx", GOOD)]);
    shelf.access = Access::Basic { password: PASSWORD };
    let registry = Registry::start(shelf).await;
    let models = Scratch::new("models");
    let process = start(models.path(), &registry.url(MODEL), &[("MODELS_INTERVAL", "3600")]);
    let address = process.listening().await;
    let admin = process.address_of("admin listening").await;
    let client = http_client::client(DEADLINE).expect("a client");
    let text = async |address: SocketAddr, path: &str| {
        let answer = client.get(format!("http://{address}{path}")).send().await;
        answer.expect("it answers").text().await.expect("it is text")
    };
    let line = process.log_line("registry pull failed; retrying").await;
    let status = async || -> Value { serde_json::from_str(&text(admin, "/status.json").await).expect("JSON") };
    eventually("it waits", DEADLINE, async || {
        status().await["registry"]["state"] == "failing"
    })
    .await;
    let status = status().await;
    assert_eq!(status["registry"]["problem"], line["problem"]);
    assert_eq!(status["registry"]["last_success"], Value::Null);
    assert_eq!(status["ready"], false);
    let metrics = text(address, "/metrics").await;
    assert!(
        metrics.contains("ml_inference_registry_errors_total{kind=\"credentials\"} "),
        "{metrics}"
    );
}

async fn has(path: &Path, bytes: &[u8]) {
    let what = path.display().to_string();
    eventually(&what, DEADLINE, async || {
        fs::read(path).is_ok_and(|found| found == bytes)
    })
    .await;
}

#[tokio::test]
async fn a_rotated_secret_is_taken_up_and_no_problem_is_told_twice() {
    let mut shelf = Shelf::with("iris", &[("1/model.onnx", b"one")]);
    shelf.access = Access::Basic { password: PASSWORD };
    let registry = Registry::start(shelf).await;
    let models = Scratch::new("models");
    let mut secret = Mount::new(
        "secret",
        &[("REGISTRY_USER", USER), ("REGISTRY_PASSWORD", "yesterday's")],
    );
    let directory = secret.path().to_str().expect("a UTF-8 path").to_owned();
    let process = start(models.path(), &registry.url("iris"), &[("SECRET_DIRS", &directory)]);
    let refused = "registry pull failed; retrying";
    let line = process.log_line(refused).await;
    let problem = line["problem"].as_str().expect("is text");
    assert!(
        problem.contains("refuses these credentials (REGISTRY_USER reader"),
        "{problem}"
    );
    eventually("it was asked again and again", DEADLINE, async || {
        registry.shelf().asked.len() > 4
    })
    .await;
    assert_eq!(
        process.log().iter().filter(|line| line["message"] == refused).count(),
        1
    );

    secret.publish(&[("REGISTRY_USER", USER), ("REGISTRY_PASSWORD", PASSWORD)]);
    has(&models.path().join(MODEL).join("1/model.onnx"), b"one").await;
    process.log_line("registry pull succeeded again").await;
    let warned = process
        .log()
        .into_iter()
        .filter(|line| line["message"].as_str().is_some_and(|text| text.contains("http://")));
    assert_eq!(warned.count(), 1, "a password over http:// is worth one warning");
    let output = process.output();
    assert!(
        !output.contains(PASSWORD) && !output.contains("yesterday's"),
        "{output}"
    );
}

#[tokio::test]
async fn a_killed_process_leaves_what_the_next_one_goes_on_with() {
    const LARGE: usize = 9 << 20;
    let large = bytes(LARGE);
    let mut shelf = Shelf::with("iris", &[("1/model.onnx", &large)]);
    shelf.stall_after = Some(5 << 20);
    let registry = Registry::start(shelf).await;
    let models = Scratch::new("models");
    let model = models.path().join(MODEL);
    let mut process = start(models.path(), &registry.url("iris"), &[]);
    eventually("much of it is on the disk", DEADLINE, async || {
        let parts = fs::read_dir(model.join(".registry/parts"))
            .into_iter()
            .flatten()
            .flatten();
        parts
            .filter_map(|part| part.metadata().ok())
            .any(|part| part.len() >= 4 << 20)
    })
    .await;
    process.signal(Signal::KILL);
    assert_eq!(process.wait_exit(DEADLINE).await.code, 128 + 9);
    assert!(!model.join("1").exists());

    registry.shelf().stall_after = None;
    let process = start(models.path(), &registry.url("iris"), &[]);
    has(&model.join("1/model.onnx"), &large).await;
    process.log_line("resuming the download").await;
    assert_eq!(registry.asked_for("/1/model.onnx")[1].status, 206);
}

#[tokio::test]
async fn a_registry_that_is_down_does_not_end_the_process_and_shows_in_its_metrics() {
    let registry = Registry::start(Shelf::with("iris", &[("1/model.onnx", b"one")])).await;
    let url = registry.url("iris");
    let down = registry.down();
    let models = Scratch::new("models");
    let mut process = start(models.path(), &url, &[]);
    let address = process.listening().await;
    let client = http_client::client(DEADLINE).expect("a client");
    let metrics = async || {
        let answer = client
            .get(format!("http://{address}/metrics"))
            .send()
            .await
            .expect("it answers");
        answer.text().await.expect("it is text")
    };
    let value = |metrics: &str, series: &str| -> f64 {
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |number| number.parse().expect("a number"))
    };
    eventually("it failed twice", DEADLINE, async || {
        value(&metrics().await, "ml_inference_registry_pulls_total{result=\"failed\"}") >= 2.0
    })
    .await;
    assert!(process.is_running());
    let _registry = down.up().await;
    has(&models.path().join(MODEL).join("1/model.onnx"), b"one").await;
    eventually("it looked again", DEADLINE, async || {
        value(
            &metrics().await,
            "ml_inference_registry_pulls_total{result=\"unchanged\"}",
        ) >= 1.0
    })
    .await;
    let metrics = metrics().await;
    assert_eq!(
        value(&metrics, "ml_inference_registry_pulls_total{result=\"pulled\"}"),
        1.0
    );
    assert_eq!(value(&metrics, "ml_inference_registry_bytes_total"), 3.0);
    assert!(value(&metrics, "ml_inference_registry_last_success_timestamp_seconds") > 1.7e9);

    process.signal(Signal::TERM);
    assert_eq!(process.wait_exit(DEADLINE).await.code, 0);
}

#[tokio::test]
async fn a_pod_without_its_model_is_alive_and_becomes_ready_with_it() {
    let model = include_bytes!("../zoo/small/ridge_two_targets.onnx");
    let registry = Registry::start(Shelf::with("iris", &[("1/model.onnx", model)])).await;
    let url = registry.url("iris");
    let down = registry.down();
    let models = Scratch::new("models");
    let process = start(models.path(), &url, &[("MODELS_INTERVAL", "0.05")]);
    let address = process.listening().await;
    let client = http_client::client(DEADLINE).expect("a client");
    let status = async |path: &str| {
        let answer = client.get(format!("http://{address}{path}")).send().await;
        answer.expect("it answers").status().as_u16()
    };
    process.log_line("registry pull failed; retrying").await;
    assert_eq!((status("/livez").await, status("/readyz").await), (200, 503));
    let registry = down.up().await;
    eventually("it is ready", DEADLINE, async || status("/readyz").await == 200).await;

    let down = registry.down();
    drop(process);
    let process = start(models.path(), &url, &[("MODELS_INTERVAL", "0.05")]);
    let address = process.listening().await;
    eventually("it is ready with what it has", DEADLINE, async || {
        let answer = client.get(format!("http://{address}/readyz")).send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    drop(down);
}

#[tokio::test]
async fn settings_that_cannot_stand_are_refused_at_the_start() {
    for (name, value, problem) in [
        (
            "MODEL_URI",
            "ftp://host/iris",
            "MODEL_URI (environment): expected https://HOST/PATH",
        ),
        (
            "MODEL_URI",
            "https://u:hunter2@host/iris",
            "MODEL_URI (environment): has credentials in it",
        ),
        ("MODELS_DIR", "", "MODEL_URI (environment): needs a MODELS_DIR"),
        (
            "MODEL_NAME",
            "sum",
            "MODEL_URI (environment): needs the model's name in MODEL_NAME",
        ),
        (
            "MODEL_NAME",
            "..",
            "MODEL_NAME (environment): expected the name of a model",
        ),
        (
            "REGISTRY_INTERVAL",
            "-1",
            "REGISTRY_INTERVAL (environment): expected seconds from 0",
        ),
        (
            "REGISTRY_KEEP_VERSIONS",
            "all",
            "REGISTRY_KEEP_VERSIONS (environment): expected a whole number from 0 to 1024",
        ),
        (
            "REGISTRY_TIMEOUT",
            "0",
            "REGISTRY_TIMEOUT (environment): expected seconds from 0.001",
        ),
        (
            "MAX_MODEL_BYTES",
            "4GB",
            "MAX_MODEL_BYTES (environment): expected bytes from 1",
        ),
        (
            "AWS_ENDPOINT_URL",
            "minio:9000",
            "AWS_ENDPOINT_URL (environment): expected https://HOST",
        ),
        ("AWS_REGION", "a b", "AWS_REGION (environment): expected a name"),
    ] {
        let mut process = start(Path::new("/models"), "https://models.example/iris", &[(name, value)]);
        let refused = process.wait_exit(DEADLINE).await;
        assert_eq!(refused.code, 78, "{name}={value}");
        assert!(refused.stderr.contains(problem), "{}", refused.stderr);
        assert!(!refused.stderr.contains("hunter2"), "{}", refused.stderr);
    }
}
