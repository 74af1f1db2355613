//! The service with a registry: its settings, its Secret, its log and its metrics.

use std::fs;
use std::path::Path;

use shared::http_client;
use shared::test_util::{DEADLINE, Mount, Process, Scratch, Signal, eventually};

use crate::server::{Access, PASSWORD, Registry, Shelf, USER, bytes};

const BINARY: &str = env!("CARGO_BIN_EXE_ml-inference");
const MODEL: &str = "iris";

fn start(models: &Path, uri: &str, more: &[(&str, &str)]) -> Process {
    let usual = [
        ("BIND_ADDRESS", "127.0.0.1"),
        ("SERVICE_PORT", "0"),
        ("DRAIN_WINDOW", "0"),
        ("RELOAD_INTERVAL", "0.05"),
        ("REGISTRY_INTERVAL", "0.1"),
        ("MODELS_DIR", models.to_str().expect("a UTF-8 path")),
        ("MODEL_NAME", MODEL),
        ("MODEL_URI", uri),
    ];
    Process::start(BINARY, usual.iter().chain(more).copied())
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
    let refused = "cannot pull, and tries again";
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
    process.log_line("the registry has given what was wanted").await;
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
    process.log_line("going on where it broke off").await;
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
    process.log_line("cannot pull, and tries again").await;
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
            "MODEL_URI (environment): needs the model's name in MODEL_NAME",
        ),
        (
            "REGISTRY_INTERVAL",
            "-1",
            "REGISTRY_INTERVAL (environment): expected seconds from 0",
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
