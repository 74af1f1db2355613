//! Descriptions of the server and its models.

use bytes::Bytes;
use model_runtime::tensor::DataType;
use model_runtime::{ModelRuntime, TensorSpec};
use serde_json::{Value, json};

use crate::catalog::{Catalog, Servable, Version, VersionPolicy, VersionState};
use crate::engine::{Statistics, Total};

/// The extensions of the protocol that there are here.
const EXTENSIONS: [&str; 3] = ["binary_tensor_data", "model_configuration", "statistics"];
/// And the one that only the admin listener has all of.
const ADMIN_EXTENSION: &str = "model_repository";

pub fn server(name: &str, version: &str, is_admin: bool) -> Bytes {
    let mut extensions = EXTENSIONS.to_vec();
    extensions.extend(is_admin.then_some(ADMIN_EXTENSION));
    line(&json!({ "name": name, "version": version, "extensions": extensions }))
}

pub fn live() -> Bytes {
    line(&json!({ "live": true }))
}

/// The specification calls the member `live`, which is `ready` everywhere else.
pub fn ready() -> Bytes {
    line(&json!({ "live": true, "ready": true }))
}

pub fn model_ready(name: &str) -> Bytes {
    line(&json!({ "name": name, "ready": true }))
}

/// Metadata: a model's inputs and outputs, and its available versions.
pub fn metadata(name: &str, servable: &Servable, runtime: &dyn ModelRuntime) -> Bytes {
    let signature = runtime.signature();
    let available = servable.versions.iter().filter(|version| version.loaded.is_some());
    let versions: Vec<String> = available.map(|version| version.number.to_string()).collect();
    line(&json!({
        "name": name,
        "versions": versions,
        "platform": platform(runtime),
        "inputs": tensors(&signature.inputs),
        "outputs": tensors(&signature.outputs),
    }))
}

/// The runtime's name, except where Triton has a word for the runtime and the kind of file together.
fn platform(runtime: &dyn ModelRuntime) -> &'static str {
    match runtime.name() {
        "onnxruntime" => "onnxruntime_onnx",
        name => name,
    }
}

fn tensors(specs: &[TensorSpec]) -> Vec<Value> {
    let described = specs
        .iter()
        .map(|spec| json!({ "name": spec.name, "datatype": spec.data_type.name(), "shape": shape(spec) }));
    described.collect()
}

/// The protocol has no word for a shape of which nothing is known; none at all would be a single element.
fn shape(spec: &TensorSpec) -> Vec<i64> {
    match spec.has_unknown_rank() {
        true => vec![-1],
        false => spec.shape.iter().map(|dim| dim.length()).collect(),
    }
}

/// The same as Triton's model configuration. `max_batch_size` 0 says that the dimensions are all of them, rows included.
pub fn config(name: &str, servable: &Servable, runtime: &dyn ModelRuntime) -> Bytes {
    let signature = runtime.signature();
    line(&json!({
        "name": name,
        "platform": platform(runtime),
        "backend": runtime.name(),
        "version_policy": version_policy(&servable.policy),
        "max_batch_size": 0,
        "input": configured(&signature.inputs),
        "output": configured(&signature.outputs),
    }))
}

fn version_policy(policy: &VersionPolicy) -> Value {
    match policy {
        VersionPolicy::Latest(count) => json!({ "latest": { "num_versions": count } }),
        VersionPolicy::All => json!({ "all": {} }),
        VersionPolicy::Specific(versions) => json!({ "specific": { "versions": versions } }),
    }
}

fn configured(specs: &[TensorSpec]) -> Vec<Value> {
    let described = specs
        .iter()
        .map(|spec| json!({ "name": spec.name, "data_type": type_name(spec.data_type), "dims": shape(spec) }));
    described.collect()
}

fn type_name(data_type: DataType) -> String {
    match data_type {
        DataType::Bytes => "TYPE_STRING".to_owned(),
        other => format!("TYPE_{}", other.name()),
    }
}

/// Every version of every model.
pub fn index(catalog: &Catalog, only_ready: bool) -> Bytes {
    let mut told = Vec::new();
    for (name, servable) in &catalog.models {
        for version in &servable.versions {
            if version.state == VersionState::Available || !only_ready {
                told.push(json!({
                    "name": name,
                    "version": version.number.to_string(),
                    "state": state_name(version),
                    "reason": version.problem.as_deref().unwrap_or_default(),
                }));
            }
        }
    }
    line(&Value::from(told))
}

fn state_name(version: &Version) -> &'static str {
    match version.state {
        VersionState::Available => "READY",
        VersionState::Loading => "LOADING",
        VersionState::Unloading => "UNLOADING",
        // The version policy may never want one that is not begun with.
        VersionState::Start | VersionState::End => "UNAVAILABLE",
    }
}

/// A version of a model whose requests were counted.
#[derive(Debug, Clone, Copy)]
pub struct ModelStatistics<'a> {
    pub model: &'a str,
    pub version: u64,
    pub statistics: &'a Statistics,
}

pub fn statistics(counted: &[ModelStatistics<'_>]) -> Bytes {
    let told: Vec<Value> = counted.iter().map(model_statistics).collect();
    line(&json!({ "model_stats": told }))
}

fn model_statistics(counted: &ModelStatistics<'_>) -> Value {
    let totals = counted.statistics.totals();
    json!({
        "name": counted.model,
        "version": counted.version.to_string(),
        "last_inference": totals.last_milliseconds,
        "inference_count": totals.rows,
        "execution_count": totals.runs,
        "inference_stats": {
            "success": total(totals.success),
            "fail": total(totals.fail),
            "queue": total(totals.queue),
            "compute_input": total(totals.input),
            "compute_infer": total(totals.infer),
            "compute_output": total(totals.output),
            // There is no cache of answers.
            "cache_hit": total(Total::default()),
            "cache_miss": total(Total::default()),
        },
        "response_stats": {},
        "batch_stats": [],
        "memory_usage": [],
    })
}

fn total(total: Total) -> Value {
    json!({ "count": total.count, "ns": total.nanoseconds })
}

fn line(value: &Value) -> Bytes {
    format!("{value}\n").into()
}
