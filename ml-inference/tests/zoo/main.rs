//! The zoo: models that `make.py` made, which must answer as Python's onnxruntime did.
//!
//! Those of `small` are checked in. Larger ones are compared too when ZOO_DIR names a directory of them.

use std::path::{Path, PathBuf};

use ml_inference::model::Model;
use ml_inference::onnx::{self, TensorProto};
use ml_inference::runtime::TensorSpec;
use ml_inference::tensor::{Data, Tensor};
use ml_inference::version::ModelVersion;

const TOLERANCE: f64 = 1e-5;
/// A number that is what large ones leave of each other is no more exact than they were: this part of the largest result
/// is the least that the tolerance is of.
const SMALLEST_PART: f64 = 1e-2;

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
fn difference(ours: &Tensor, theirs: &Tensor) -> Option<String> {
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
    let close = |a: f64, b: f64| (a - b).abs() <= TOLERANCE * b.abs().max(largest * SMALLEST_PART);
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
    let answers = read(&path.with_extension("answers.onnx"))?;
    let answers = onnx::parse(&answers)
        .map_err(|error| error.to_string())?
        .graph
        .initializers;
    let inputs = tensors(&signature.inputs, &answers);
    signature.check(&inputs).map_err(|error| error.to_string())?;
    let outputs = model.runtime.run(&inputs).map_err(|error| error.to_string())?;
    let expected = tensors(&signature.outputs, &answers);
    assert_eq!(outputs.len(), expected.len());
    let named = outputs.iter().zip(&expected).zip(&signature.outputs);
    let differences: Vec<String> = named
        .filter_map(|((output, expected), spec)| Some(format!("{}: {}", spec.name, difference(output, expected)?)))
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
