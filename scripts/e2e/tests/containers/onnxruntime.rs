//! A model that nothing but onnxruntime runs, out of a mounted directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use e2e::{is_left_out, repository};

use crate::engine::{Engine, named_by};

/// Published on 127.0.0.1; no other test takes it.
const PORT: u16 = 31650;

#[tokio::test]
async fn a_container_with_onnxruntime_answers() {
    let Some(engine) = Engine::find() else {
        return;
    };
    let program = named_by("CONTAINER_ONNXRUNTIME");
    if is_left_out(program.is_none(), "CONTAINER_ONNXRUNTIME names no program") {
        return;
    }
    let directory = |name: &str| {
        let path = engine.scratch.path().join(name);
        fs::create_dir(&path).expect("writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own");
        path
    };
    let (prebuilt, models) = (directory("onnxruntime"), directory("models"));
    fs::copy(program.expect("it is named"), prebuilt.join("ml-inference")).expect("the program");
    let model = repository().join("ml-inference/tests/zoo/only_onnxruntime/determinant.onnx");
    let mounted = models.join("determinant.onnx");
    fs::copy(model, &mounted).expect("the model");
    fs::set_permissions(&mounted, fs::Permissions::from_mode(0o644)).expect("our own");

    let tag = format!("{}-onnxruntime", engine.run);
    engine.build_image("ml-inference", &prebuilt, &tag, &["--onnxruntime"]);
    engine.create_network();
    let (publish, volume) = (
        format!("127.0.0.1:{PORT}:5000"),
        format!("{}:/models:ro", models.display()),
    );
    let options = [
        "--publish",
        &publish,
        "--env",
        "MODELS_DIR=/models",
        "--volume",
        &volume,
    ];
    engine.start_container("onnxruntime", &options, &format!("ml-inference:{tag}"));
    let url = format!("http://127.0.0.1:{PORT}");
    engine
        .answers_200(&format!("{url}/v2/models/determinant/ready"), "onnxruntime")
        .await;
    let predict = format!("{url}/v1/models/determinant:predict");
    let rows = "{\"instances\": [[[1, 0, 0], [0, 2, 0], [0, 0, 3]]]}";
    let response = engine.client.post(predict).body(rows).send().await.expect("an answer");
    assert_eq!(response.text().await.expect("a body"), "{\"predictions\":[6.0]}\n");
}
