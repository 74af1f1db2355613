//! The zoo: models that `make.py` made, which must answer as Python's onnxruntime did.
//!
//! Those of `small` are checked in. Larger ones are compared too when ZOO_DIR names a directory of them. What onnxruntime itself
//! makes of them here is the business of `tests/onnxruntime`.

mod compare;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ml_inference::engine::Compute;
use ml_inference::engine::{Engine, LoadedModel, RunLimits};
use ml_inference::metrics::Metrics;
use ml_inference::model::Model;
use ml_inference::model::ModelVersion;
use ml_inference::protocol::lab::{self, PredictRequest};
use model_runtime::{LoadError, ModelRuntime, RuntimeChoice, Runtimes};

use crate::compare::{compare_all, small};

fn open(file: &[u8]) -> Result<Box<dyn ModelRuntime>, LoadError> {
    Runtimes::default().open(file.to_vec(), RuntimeChoice::Auto)
}

#[test]
fn the_small_models_answer_as_onnxruntime_does() {
    compare_all(&small(), &open);
}

#[test]
fn the_large_models_answer_as_onnxruntime_does() {
    if let Some(directory) = std::env::var_os("ZOO_DIR") {
        compare_all(Path::new(&directory), &open);
    }
}

#[test]
fn what_would_be_counted_otherwise_is_refused() {
    let file = small().join("../only_onnxruntime/wide_constant.onnx");
    let file = std::fs::read(file).expect("is checked in");
    let refused = open(&file).expect_err("rten counts in 32 bits").to_string();
    assert!(
        refused.ends_with("has the number 5000000000, and rten computes with 32-bit integers"),
        "{refused}"
    );
}

/// A model of the zoo among those of an engine.
fn engine(name: &str) -> (Engine, Arc<LoadedModel>) {
    let metrics = Metrics::new().expect("registers");
    let version = ModelVersion::parse("1").expect("a version");
    let compute = Compute::start(1, 1, metrics.waiting.clone()).expect("starts");
    let file = std::fs::read(small().join(name).with_extension("onnx")).expect("is checked in");
    let model = Model::from_onnx(name, version, file).expect("loads");
    let loaded = Arc::new(LoadedModel::new(model, &metrics));
    (Engine::new(compute), loaded)
}

/// The body that the lab's protocol answers to this one.
async fn ask(engine: &Engine, loaded: &Arc<LoadedModel>, body: &str) -> Result<String, String> {
    let limits = RunLimits {
        batch_size: 2,
        most_waiting: 1,
        most_response_bytes: 1 << 20,
    };
    let Ok(PredictRequest::Instances(instances)) = lab::parse(&Bytes::copy_from_slice(body.as_bytes()), 1 << 20) else {
        panic!("these are no instances: {body}");
    };
    let input = lab::model_input(instances, loaded.model.runtime.signature());
    let input = input.map_err(|error| error.to_string())?;
    let ran = engine.run(loaded, vec![input], limits).await;
    let ran = ran.map_err(|error| error.to_string())?;
    let body = lab::predictions(&ran.outputs[0], &loaded.model).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(body.to_vec()).expect("UTF-8"))
}

#[tokio::test]
async fn the_labs_protocol_asks_a_model_in_batches() {
    let (engine, loaded) = engine("logistic_words");
    let body = r#"{"instances": [[5.1, 3.5, 1.4, 0.2], [6.5, 3, 5.5, 1.8], [5.7, 2.6, 3.5, 1]]}"#;
    assert_eq!(
        ask(&engine, &loaded, body).await.expect("runs"),
        "{\"predictions\": [\"setosa\", \"virginica\", \"versicolor\"], \"model\": \"logistic_words\", \"version\": \"1\"}\n"
    );
    let narrow = ask(&engine, &loaded, r#"{"instances": [[1, 2, 3]]}"#).await;
    assert_eq!(narrow, Err("X: expected FP32[-1,4], found FP32[1,3]".to_owned()));
    let huge = ask(&engine, &loaded, r#"{"instances": [[1, 2, 3, 1e300]]}"#).await;
    assert!(huge.is_err_and(|problem| problem.starts_with("instances[0][3]: ")));
}

#[tokio::test]
async fn rows_that_have_to_do_with_each_other_are_not_asked_in_batches() {
    let (engine, loaded) = engine("together_centred");
    let body = r#"{"instances": [[0, 0, 0], [3, 0, 0], [6, 9, 0]]}"#;
    assert_eq!(
        ask(&engine, &loaded, body).await.expect("runs"),
        "{\"predictions\": [[-3.0, -3.0, 0.0], [0.0, -3.0, 0.0], [3.0, 6.0, 0.0]], \"model\": \"together_centred\", \"version\": \"1\"}\n"
    );
}

#[tokio::test]
async fn a_zip_maps_classes_are_the_labels_of_its_column() {
    let (engine, loaded) = engine("logistic_words");
    let probabilities = &loaded.model.runtime.signature().outputs[1];
    assert_eq!(probabilities.labels, ["setosa", "versicolor", "virginica"]);
    assert_eq!(probabilities.to_string(), "FP32[-1,3]");
    let limits = RunLimits {
        batch_size: 32,
        most_waiting: 1,
        most_response_bytes: 1 << 20,
    };
    let ran = engine.run(&loaded, loaded.model.example.clone(), limits).await;
    assert_eq!(ran.expect("runs").outputs[1].shape(), [1, 3]);
}
