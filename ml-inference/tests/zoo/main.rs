//! The zoo: models that `make.py` made, which must answer as Python's onnxruntime did.
//!
//! Those of `small` are checked in. Larger ones are compared too when ZOO_DIR names a directory of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ml_inference::compute::Compute;
use ml_inference::engine::{Engine, LoadedModel, RunLimits};
use ml_inference::metrics::Metrics;
use ml_inference::model::Model;
use ml_inference::onnx::{self, TensorProto};
use ml_inference::protocol::lab::{self, Question};
use ml_inference::runtime::TensorSpec;
use ml_inference::tensor::{Data, Tensor};
use ml_inference::version::ModelVersion;

const TOLERANCE: f64 = 1e-5;
/// A number that is what large ones leave of each other is no more exact than they were: this part of the largest result
/// is the least that the tolerance is of.
const SMALLEST_PART: f64 = 1e-2;
/// Of a neural network, whose results are such remainders layer after layer.
const SMALLEST_PART_NEURAL: f64 = 1e-1;
const NEURAL: &str = "neural_";
/// Models whose rows have to do with each other; those of all others stand alone.
const TOGETHER: &str = "together_";

fn models(of: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(of).unwrap_or_else(|error| panic!("{}: {error}", of.display()));
    let mut models: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    models.retain(|path| {
        path.extension().is_some_and(|end| end == "onnx") && path.with_extension("answers.onnx").exists()
    });
    models.sort();
    models
}

/// The tensors of a signature, by their names among the constants of a file.
fn tensors(specs: &[TensorSpec], constants: &[TensorProto<'_>]) -> Vec<Tensor> {
    let find = |spec: &TensorSpec| constants.iter().find(|tensor| tensor.name == spec.name);
    let read = |spec: &TensorSpec| find(spec).expect("it is there").read().expect("it is a tensor");
    specs.iter().map(read).collect()
}

fn floats(tensor: &Tensor) -> Option<Vec<f64>> {
    match tensor.data() {
        Data::Fp32(values) => Some(values.iter().copied().map(f64::from).collect()),
        Data::Fp64(values) => Some(values.clone()),
        _ => None,
    }
}

/// Why two tensors are not the same, if they are not.
fn difference(ours: &Tensor, theirs: &Tensor, smallest_part: f64) -> Option<String> {
    if (ours.data_type(), ours.shape()) != (theirs.data_type(), theirs.shape()) {
        return Some(format!("{} instead of {}", ours.describe(), theirs.describe()));
    }
    let (Some(a), Some(b)) = (floats(ours), floats(theirs)) else {
        return (ours != theirs).then(|| format!("{:?} instead of {:?}", ours.data(), theirs.data()));
    };
    let mut pairs = a.iter().zip(&b).enumerate();
    let largest = b
        .iter()
        .copied()
        .filter(|b| b.is_finite())
        .fold(0.0, |most: f64, b| most.max(b.abs()));
    let close = |a: f64, b: f64| (a - b).abs() <= TOLERANCE * b.abs().max(largest * smallest_part);
    let same = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan()) || close(a, b);
    let (index, (a, b)) = pairs.find(|(_, (a, b))| !same(**a, **b))?;
    Some(format!("element {index} is {a} instead of {b}"))
}

/// What is different from onnxruntime's answers.
fn compare(path: &Path) -> Result<(), String> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| error.to_string());
    let version = ModelVersion::parse("1").expect("a version");
    let model = Model::from_onnx("zoo", version, &read(path)?).map_err(|error| error.to_string())?;
    let signature = model.runtime.signature();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if signature.has_free_rows() && model.rows_stand_alone == name.starts_with(TOGETHER) {
        return Err(format!("rows_stand_alone is {}", model.rows_stand_alone));
    }
    let answers = read(&path.with_extension("answers.onnx"))?;
    let answers = onnx::parse(&answers)
        .map_err(|error| error.to_string())?
        .graph
        .initializers;
    let is_neural = name.starts_with(NEURAL);
    let smallest_part = if is_neural { SMALLEST_PART_NEURAL } else { SMALLEST_PART };
    let inputs = tensors(&signature.inputs, &answers);
    signature.check(&inputs).map_err(|error| error.to_string())?;
    let outputs = model.runtime.run(&inputs).map_err(|error| error.to_string())?;
    let expected = tensors(&signature.outputs, &answers);
    assert_eq!(outputs.len(), expected.len());
    let named = outputs.iter().zip(&expected).zip(&signature.outputs);
    let differences: Vec<String> = named
        .filter_map(|((output, expected), spec)| {
            Some(format!(
                "{}: {}",
                spec.name,
                difference(output, expected, smallest_part)?
            ))
        })
        .collect();
    match differences.is_empty() {
        true => Ok(()),
        false => Err(differences.join("\n  ")),
    }
}

fn compare_all(of: &Path) {
    let models = models(of);
    assert!(!models.is_empty(), "{} has no models", of.display());
    let compared = models.iter().map(|path| (path, compare(path)));
    let failures: Vec<String> = compared
        .filter_map(|(path, result)| Some(format!("{}:\n  {}", path.display(), result.err()?)))
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {}:\n{}",
        failures.len(),
        models.len(),
        failures.join("\n")
    );
}

#[test]
fn the_small_models_answer_as_onnxruntime_does() {
    compare_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/zoo/small"));
}

#[test]
fn the_large_models_answer_as_onnxruntime_does() {
    if let Some(directory) = std::env::var_os("ZOO_DIR") {
        compare_all(Path::new(&directory));
    }
}

/// A model of the zoo among those of an engine.
fn engine(name: &str) -> (Engine, Arc<LoadedModel>) {
    let metrics = Metrics::new().expect("registers");
    let version = ModelVersion::parse("1").expect("a version");
    let compute = Compute::start(1, 1, metrics.waiting.clone()).expect("starts");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/zoo/small").join(name);
    let file = std::fs::read(path.with_extension("onnx")).expect("is checked in");
    let model = Model::from_onnx(name, version, &file).expect("loads");
    let loaded = Arc::new(LoadedModel::new(model, &metrics));
    (Engine::new(compute), loaded)
}

/// The body that the lab's protocol answers to this one.
async fn ask(engine: &Engine, loaded: &Arc<LoadedModel>, body: &str) -> Result<String, String> {
    let limits = RunLimits {
        batch_size: 2,
        most_waiting: 1,
    };
    let Ok(Question::Instances(instances)) = lab::parse(body.as_bytes(), 1 << 20) else {
        panic!("these are no instances: {body}");
    };
    let input = lab::model_input(instances, loaded.model.runtime.signature());
    let input = input.map_err(|error| error.to_string())?;
    let outputs = engine
        .run(loaded, vec![input], limits)
        .await
        .map_err(|error| error.to_string())?;
    let body = lab::predictions(&outputs[0], &loaded.model).map_err(|error| error.to_string())?;
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
    };
    let outputs = engine
        .run(&loaded, loaded.model.example.clone(), limits)
        .await
        .expect("runs");
    assert_eq!(outputs[1].shape(), [1, 3]);
}
