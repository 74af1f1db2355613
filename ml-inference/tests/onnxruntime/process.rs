//! The service with onnxruntime's library, and with what is none.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use shared::test_util::{DEADLINE, Process, Scratch, eventually};

use crate::compare::small;
use crate::server::{BINARY, Server};
use crate::{library, only_onnxruntime};

const MATRICES: &str = r#"{"instances": [[[1, 0, 0], [0, 2, 0], [0, 0, 3]], [[0, 1, 0], [1, 0, 0], [0, 0, 1]]]}"#;
const IMAGES: &str = r#"{"instances": [[[[0.5]]]]}"#;

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// A server with one model.
async fn serve(models: &Scratch, name: &str, file: &Path) -> Server {
    let directory = models.path().join(name).join("1");
    fs::create_dir_all(&directory).expect("makes directories");
    fs::copy(file, directory.join("model.onnx")).expect("copies");
    let settings = [
        ("MODELS_DIR", text(models.path())),
        ("MODELS_INTERVAL", "0.05"),
        ("ORT_DYLIB_PATH", text(&library())),
        ("LOG_LEVEL", "debug"),
    ]
    .map(|(name, value)| (name, value.to_owned()));
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Server::start(&settings).await
}

async fn state(server: &Server, model: &str) -> Value {
    let status = server.get(&format!("/v1/models/{model}")).await.json();
    status["model_version_status"][0].clone()
}

#[tokio::test]
async fn a_model_that_rten_lacks_is_served_and_the_log_stays_json() {
    let models = Scratch::new("onnxruntime");
    let server = serve(&models, "determinant", &only_onnxruntime().join("determinant.onnx")).await;
    let line = server.process.log_line("onnxruntime loaded").await;
    assert_eq!(line["path"], text(&library()));
    let line = server
        .process
        .log_line_where("the model is loaded", |line| {
            line["message"] == "model loaded" && line["model"] == "determinant"
        })
        .await;
    assert_eq!(line["runtime"], "onnxruntime");
    let answer = server.post("/v1/models/determinant:predict", MATRICES).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json(), json!({ "predictions": [6.0, -1.0] }));
    let metadata = server.get("/v2/models/determinant").await.json();
    assert_eq!(
        metadata["inputs"],
        json!([{ "name": "matrix", "datatype": "FP32", "shape": [-1, 3, 3] }])
    );
    let output = server.process.output();
    let lines = output.lines().filter(|line| !line.starts_with("---"));
    let other: Vec<&str> = lines
        .filter(|line| serde_json::from_str::<Value>(line).is_err())
        .collect();
    assert_eq!(other, [""; 0], "these lines are no JSON");
}

#[tokio::test]
async fn the_librarys_telemetry_is_off() {
    let models = Scratch::new("onnxruntime");
    let server = serve(&models, "determinant", &only_onnxruntime().join("determinant.onnx")).await;
    let environment = fs::read(format!("/proc/{}/environ", server.process.id())).expect("it runs");
    let mut variables = environment.split(|byte| *byte == 0);
    assert!(variables.any(|variable| variable == b"ORT_DISABLE_TELEMETRY=1"));
    server.process.log_line("onnxruntime loaded").await;
    let output = server.process.output();
    let told = output.lines().find(|line| line.contains("telemetry"));
    assert_eq!(told, None);
}

#[tokio::test]
async fn a_request_that_onnxruntime_refuses_is_the_clients_mistake() {
    let models = Scratch::new("onnxruntime");
    let server = serve(&models, "words", &small().join("neural_transformer.onnx")).await;
    let ask = async |id: u64| {
        let body = json!({ "inputs": { "input_ids": [[1, id]], "attention_mask": [[1, 1]] } });
        server.post("/v1/models/words:predict", body.to_string()).await
    };
    let refused = ask(1 << 40).await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    let problem = refused.json()["error"].to_string();
    assert!(problem.contains("Gather"), "{problem}");
    assert_eq!(ask(2).await.status, 200);
    let errors = server.process.log();
    let errors = errors
        .iter()
        .filter(|line| line["level"] == "ERROR" || line["level"] == "WARN");
    assert_eq!(errors.count(), 0, "{}", server.process.output());
}

#[tokio::test]
async fn the_configuration_of_a_model_chooses_its_runtime_while_it_serves() {
    let models = Scratch::new("onnxruntime");
    let server = serve(&models, "images", &small().join("neural_cnn.onnx")).await;
    let configure = |content: &str| {
        let new = models.path().join("images/.new");
        fs::write(&new, content).expect("writes");
        fs::rename(new, models.path().join("images/config.yaml")).expect("renames");
    };
    let runs = async |runtime: &str| {
        let is_loaded = |line: &Value| line["message"] == "model loaded" && line["runtime"] == runtime;
        server.process.log_line_where(runtime, is_loaded).await;
    };
    runs("onnxruntime").await;
    configure("runtime: rten\n");
    runs("rten").await;
    // It cannot run convolutions, so rten goes on.
    configure("runtime: onnx_ml\n");
    eventually("it says why not", DEADLINE, async || {
        let message = state(&server, "images").await["status"]["error_message"].to_string();
        message.contains("Conv")
    })
    .await;
    assert_eq!(state(&server, "images").await["state"], "AVAILABLE");
    let answer = server.post("/v1/models/images:predict", IMAGES).await;
    assert_eq!(
        answer.status, 400,
        "not an image of 12 by 12, but asked: {}",
        answer.body
    );
}

/// Starts the service with `path` as the library and gives what it says when it ends.
async fn start_with(path: &Path) -> String {
    let models = Scratch::new("onnxruntime");
    let settings = [
        ("BIND_ADDRESS", "127.0.0.1"),
        ("SERVICE_PORT", "0"),
        ("MODELS_DIR", text(models.path())),
        ("ORT_DYLIB_PATH", text(path)),
    ];
    let mut process = Process::start(BINARY, settings);
    let finished = process.wait_exit(DEADLINE).await;
    assert_eq!(finished.code, 1, "{}", process.output());
    let line = process.log_line("cannot run").await;
    line["error"].as_str().expect("is text").to_owned()
}

#[tokio::test]
async fn a_library_that_is_not_there_ends_the_start() {
    let problem = start_with(Path::new("/nowhere/libonnxruntime.so")).await;
    let named = "ORT_DYLIB_PATH: /nowhere/libonnxruntime.so cannot be loaded as onnxruntime: ";
    assert!(problem.starts_with(named), "{problem}");
    assert!(problem.contains("No such file"), "{problem}");
}

#[tokio::test]
async fn a_file_that_is_no_library_ends_the_start() {
    let scratch = Scratch::new("library");
    let problem = start_with(&scratch.file("libonnxruntime.so", "not a library")).await;
    assert!(problem.starts_with("ORT_DYLIB_PATH: "), "{problem}");
    assert!(problem.contains("libonnxruntime.so"), "{problem}");
}

/// A library that says it is that version of onnxruntime, and has nothing else.
const OLD: &str = r#"
    static const char *version(void) { return "1.10.0"; }
    static const void *api(unsigned int version) { return 0; }
    static const struct { const void *(*api)(unsigned int); const char *(*version)(void); } base = { api, version };
    const void *OrtGetApiBase(void) { return &base; }
"#;

fn compile(scratch: &Scratch, source: &str) -> std::path::PathBuf {
    let source = scratch.file("library.c", source);
    let library = scratch.path().join("libonnxruntime.so");
    let compiler = Command::new("cc")
        .args(["-shared", "-fPIC", "-o", text(&library), text(&source)])
        .output()
        .expect("a C compiler, which links the tests too");
    assert!(
        compiler.status.success(),
        "{}",
        String::from_utf8_lossy(&compiler.stderr)
    );
    library
}

#[tokio::test]
async fn another_library_and_one_that_is_too_old_end_the_start() {
    let scratch = Scratch::new("library");
    let problem = start_with(&compile(&scratch, OLD)).await;
    assert!(
        problem.contains(">= '1.17.x'") && problem.contains("1.10.0"),
        "{problem}"
    );
    let problem = start_with(&compile(&scratch, "int nothing;")).await;
    assert!(problem.contains("does not export `OrtGetApiBase`"), "{problem}");
}
