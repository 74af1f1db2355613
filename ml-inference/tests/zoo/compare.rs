//! Holds what models answer against what Python's onnxruntime did.

use std::path::{Path, PathBuf};

use model_runtime::onnx::{self, TensorProto};
use model_runtime::tensor::{Data, Tensor};
use model_runtime::{LoadError, ModelRuntime, TensorSpec, probe_row_independence};

/// Makes a model of a file's content.
type Open<'a> = &'a dyn Fn(&[u8]) -> Result<Box<dyn ModelRuntime>, LoadError>;

/// The models that are checked in.
pub(crate) fn small() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/zoo/small")
}

const TOLERANCE: f64 = 1e-5;
/// A number that is what large ones leave of each other is no more exact than they were: this part of the largest result
/// is the least that the tolerance is of.
const SMALLEST_PART: f64 = 1e-2;
/// Of a neural network, whose results are such remainders layer after layer.
const SMALLEST_PART_NEURAL: f64 = 1e-1;
const NEURAL: &str = "neural_";
/// Models whose rows have to do with each other; those of all others stand alone.
const TOGETHER: &str = "together_";

pub(crate) fn models(of: &Path) -> Vec<PathBuf> {
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
fn compare(path: &Path, open: Open<'_>) -> Result<(), String> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| error.to_string());
    let runtime = open(&read(path)?).map_err(|error| error.to_string())?;
    let signature = runtime.signature();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let rows_independent = probe_row_independence(&*runtime, &[]);
    if signature.has_free_rows() && rows_independent == name.starts_with(TOGETHER) {
        return Err(format!("rows_independent is {rows_independent}"));
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
    let outputs = runtime.run(&inputs).map_err(|error| error.to_string())?;
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

pub(crate) fn compare_all(of: &Path, open: Open<'_>) {
    let models = models(of);
    assert!(!models.is_empty(), "{} has no models", of.display());
    let compared = models.iter().map(|path| (path, compare(path, open)));
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
