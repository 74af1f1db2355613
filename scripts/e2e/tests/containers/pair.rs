//! The pair on one network: found by DNS, asked through the gateway, replaced one by one under load.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use e2e::binary;
use shared::test_util::{Process, Signal};

use crate::engine::Engine;

const REPLICAS: usize = 3;
const ALIAS: &str = "ml-inference-service";
/// Published on 127.0.0.1; no other test takes them.
const PORT: u16 = 31600;
const ADMIN_PORT: u16 = 31610;
/// Options of the load, which ends at SIGTERM.
const LOAD: &str = "--rate 100 --connections 16 --duration 20m --timeout 5s --quiet";
const LOAD_ENDS_WITHIN: Duration = Duration::from_secs(30);

/// The images of one run, by tags of its own.
struct Images {
    gateway: String,
    old: String,
    new: String,
}

/// The pod and the version of an answer.
struct Answer {
    pod: String,
    version: String,
}

#[tokio::test]
async fn no_request_fails_while_replicas_are_replaced_by_another_image() {
    let Some(engine) = Engine::find() else {
        return;
    };
    let images = build(&engine);
    check_images(&engine, &images);
    start_pair(&engine, &images).await;
    check_answers(&engine).await;
    roll_under_load(&engine, &images).await;
    assert_eq!(engine.stop_container("gateway"), "0", "the gateway's exit status");
}

fn build(engine: &Engine) -> Images {
    let (old, new) = (format!("{}-1.0", engine.run), format!("{}-2.0", engine.run));
    let build = |image, tag, version| engine.build_image(image, &engine.binaries, tag, &["--model-version", version]);
    build("api-gateway", &old, "1.0");
    build("ml-inference", &old, "1.0");
    build("ml-inference", &new, "2.0");
    Images {
        gateway: format!("api-gateway:{old}"),
        old: format!("ml-inference:{old}"),
        new: format!("ml-inference:{new}"),
    }
}

fn check_images(engine: &Engine, images: &Images) {
    for (image, program) in [(&images.gateway, "gateway"), (&images.old, "ml-inference")] {
        assert_eq!(engine.image_config(image, ".Config.User"), "65532:65532", "{image}");
        assert_eq!(
            engine.image_config(image, ".Config.Entrypoint"),
            format!("[/{program}]"),
            "{image}"
        );
    }
    let environment = engine.image_config(&images.new, ".Config.Env");
    assert!(
        environment.contains("MODEL_VERSION=2.0"),
        "the image is not stamped with its version: {environment}"
    );
}

/// Starts the gateway first, when its backend's name does not resolve yet, and then the replicas.
async fn start_pair(engine: &Engine, images: &Images) {
    engine.create_network();
    let publish = [format!("127.0.0.1:{PORT}:8080"), format!("127.0.0.1:{ADMIN_PORT}:9090")];
    let options = ["--publish", &publish[0], "--publish", &publish[1]];
    engine.start_container("gateway", &options, &images.gateway);
    engine
        .answers_200(&format!("http://127.0.0.1:{ADMIN_PORT}/readyz"), "gateway")
        .await;
    assert_eq!(get(engine, "/health").await, "Gateway OK\n");
    check_process(engine);
    for number in 1..=REPLICAS {
        start_replica(engine, &format!("ml-inference-{number}"), &images.old);
    }
    engine.answers_200(&url("/predict"), "gateway").await;
    for number in 1..=REPLICAS {
        answered_by(engine, &format!("ml-inference-{number}")).await;
    }
}

/// The gateway's user and capabilities; where the engine lives in a virtual machine, its process cannot be seen from here.
fn check_process(engine: &Engine) {
    let status = Path::new("/proc")
        .join(engine.inspect("gateway", ".State.Pid"))
        .join("status");
    let Ok(status) = fs::read_to_string(status) else {
        return;
    };
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()).unwrap_or_default()
    };
    if field("Name:") != "gateway" {
        return;
    }
    assert_eq!(field("CapBnd:"), "0000000000000000", "the gateway has capabilities");
    // Without root, the engine maps the user to another one.
    if field_of_self("Uid:") == "0" {
        assert_eq!(field("Uid:"), "65532", "the gateway's user");
    }
}

fn field_of_self(name: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap_or_default();
    line.split_whitespace().next().unwrap_or_default().to_owned()
}

fn start_replica(engine: &Engine, name: &str, image: &str) {
    engine.start_container(name, &["--network-alias", ALIAS], image);
}

async fn check_answers(engine: &Engine) {
    let line = "{\"predictions\": [2.5, 3.0, 4.5], \"model\": \"half_plus_two\", \"version\": \"1.0\"}\n";
    assert_eq!(get(engine, "/predict").await, line);
    assert_eq!(get(engine, "/health").await, "Gateway OK\n");
    assert_eq!(
        get(engine, "/status").await,
        "API Gateway v1.0\nBackend: ml-inference-service:5000\n"
    );
    let pods: BTreeSet<String> = answers(engine, 60).await.into_iter().map(|answer| answer.pod).collect();
    assert_eq!(
        pods.into_iter().collect::<Vec<_>>(),
        ["ml-inference-1", "ml-inference-2", "ml-inference-3"]
    );
}

async fn roll_under_load(engine: &Engine, images: &Images) {
    let url = url("/predict");
    let mut arguments = vec!["--url", &url];
    arguments.extend(LOAD.split_whitespace());
    let mut load = Process::start_with(binary("load-test"), &arguments, [("NO_COLOR", "1")]);
    replace_all(engine, &images.new, "", "-v2").await;
    assert_eq!(versions(engine).await, ["2.0"], "after the update");
    replace_all(engine, &images.old, "-v2", "-back").await;
    assert_eq!(versions(engine).await, ["1.0"], "after the way back");
    load.signal(Signal::TERM);
    let load = load.wait_exit(LOAD_ENDS_WITHIN).await;
    assert_eq!(
        load.code,
        0,
        "{}{}\n{}",
        load.stdout,
        load.stderr,
        engine.logs("gateway")
    );
}

/// Replaces the replicas one by one, the new one answering before the old one goes. Their names end in these suffixes.
async fn replace_all(engine: &Engine, image: &str, old: &str, new: &str) {
    for number in 1..=REPLICAS {
        let (old, new) = (
            format!("ml-inference-{number}{old}"),
            format!("ml-inference-{number}{new}"),
        );
        start_replica(engine, &new, image);
        answered_by(engine, &new).await;
        assert_eq!(engine.stop_container(&old), "0", "the exit status of {old}");
    }
}

async fn answered_by(engine: &Engine, pod: &str) {
    let answered = async || answer(engine).await.is_some_and(|answer| answer.pod == pod);
    engine
        .wait_for(&format!("{pod} answers, found by DNS"), "gateway", answered)
        .await;
}

async fn versions(engine: &Engine) -> Vec<String> {
    let versions: BTreeSet<String> = answers(engine, 30)
        .await
        .into_iter()
        .map(|answer| answer.version)
        .collect();
    versions.into_iter().collect()
}

async fn answers(engine: &Engine, count: usize) -> Vec<Answer> {
    let mut seen = Vec::new();
    for _ in 0..count {
        seen.extend(answer(engine).await);
    }
    seen
}

async fn answer(engine: &Engine) -> Option<Answer> {
    let response = engine.client.get(url("/predict")).send().await.ok()?;
    let header = |name| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
    Some(Answer {
        pod: header("x-served-by")?,
        version: header("x-model-version")?,
    })
}

async fn get(engine: &Engine, path: &str) -> String {
    let response = engine.client.get(url(path)).send().await.expect("an answer");
    response.text().await.expect("a body")
}

fn url(path: &str) -> String {
    format!("http://127.0.0.1:{PORT}{path}")
}
