//! Descriptions of a model: the state of its versions, its inputs and outputs.

use bytes::Bytes;
use model_runtime::{Signature, TensorSpec};
use serde_json::{Map, Value, json};

use super::super::model_ref::ModelRef;
use super::document::SIGNATURE;
use super::error::Error;
use crate::catalog::{Catalog, Choice, Servable, Version};

/// State of the requested versions of a model, the newest first; `name` and `ready` are KServe's, which uses the same path.
pub fn status(target: &ModelRef, servable: Option<&Servable>) -> Result<Bytes, Error> {
    let model = &target.model;
    let no_versions = || Error::NoVersions { model: model.clone() };
    let servable = servable
        .filter(|servable| !servable.versions.is_empty())
        .ok_or_else(no_versions)?;
    let wanted = match target.choice() {
        Choice::Latest => None,
        Choice::Number(number) => Some(number),
        Choice::Label(label) => {
            let number = servable.labels.get(label).copied();
            let label = label.to_owned();
            Some(number.ok_or(Error::NoLabel { label })?)
        }
    };
    let is_wanted = |version: &&Version| wanted.is_none_or(|wanted| version.number == wanted);
    let told: Vec<Value> = servable
        .versions
        .iter()
        .rev()
        .filter(is_wanted)
        .map(version_status)
        .collect();
    match wanted {
        Some(version) if told.is_empty() => {
            let model = model.clone();
            Err(Error::NoVersion { model, version })
        }
        _ => {
            let is_ready = servable
                .versions
                .iter()
                .filter(is_wanted)
                .any(|version| version.loaded.is_some());
            Ok(line(
                &json!({ "name": model, "ready": is_ready, "model_version_status": told }),
            ))
        }
    }
}

/// Names of all models, as KServe lists them.
pub fn models(catalog: &Catalog) -> Bytes {
    let names: Vec<&String> = catalog.models.keys().collect();
    line(&json!({ "models": names }))
}

fn version_status(version: &Version) -> Value {
    let (code, message) = match &version.problem {
        None => ("OK", ""),
        Some(problem) => ("UNKNOWN", problem.as_str()),
    };
    json!({
        "version": version.number.to_string(),
        "state": version.state.name(),
        "status": { "error_code": code, "error_message": message },
    })
}

/// Metadata: the model's inputs and outputs.
pub fn metadata(name: &str, version: u64, signature: &Signature) -> Bytes {
    let described = json!({
        "inputs": tensors(&signature.inputs),
        "outputs": tensors(&signature.outputs),
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    });
    line(&json!({
        "model_spec": { "name": name, "signature_name": "", "version": version.to_string() },
        "metadata": { "signature_def": { "signature_def": { SIGNATURE: described } } },
    }))
}

fn tensors(specs: &[TensorSpec]) -> Map<String, Value> {
    let described = specs.iter().map(|spec| {
        let lengths = spec.shape.iter().map(|dim| dim.length().to_string());
        let dims: Vec<Value> = lengths.map(|length| json!({ "size": length, "name": "" })).collect();
        let described = json!({
            "dtype": spec.data_type.tensorflow_name(),
            "tensor_shape": { "dim": dims, "unknown_rank": spec.has_unknown_rank() },
            "name": format!("{}:0", spec.name),
        });
        (spec.name.clone(), described)
    });
    described.collect()
}

fn line(value: &Value) -> Bytes {
    format!("{value}\n").into()
}
