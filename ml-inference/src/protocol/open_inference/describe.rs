//! What is told about the server and its models.

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::has_unknown_rank;
use crate::engine::{Statistics, Total};
use crate::repository::{Catalog, Servable, State, Version};
use crate::runtime::{Signature, TensorSpec};

/// The extensions of the protocol that there are here.
const EXTENSIONS: [&str; 2] = ["binary_tensor_data", "statistics"];

/// What runs the models, as far as clients need to know.
const PLATFORM: &str = "ml-inference";

pub fn server(name: &str, version: &str) -> Bytes {
    line(&json!({ "name": name, "version": version, "extensions": EXTENSIONS }))
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

/// What a model takes and gives, and which of its versions can be asked.
pub fn metadata(name: &str, servable: &Servable, signature: &Signature) -> Bytes {
    let available = servable.versions.iter().filter(|version| version.loaded.is_some());
    let versions: Vec<String> = available.map(|version| version.number.to_string()).collect();
    line(&json!({
        "name": name,
        "versions": versions,
        "platform": PLATFORM,
        "inputs": tensors(&signature.inputs),
        "outputs": tensors(&signature.outputs),
    }))
}

fn tensors(specs: &[TensorSpec]) -> Vec<Value> {
    let described = specs.iter().map(|spec| {
        // The protocol has no word for a shape of which nothing is known; none at all would be a single element.
        let shape: Vec<i64> = match has_unknown_rank(spec) {
            true => vec![-1],
            false => spec.shape.iter().map(|dim| dim.length()).collect(),
        };
        json!({ "name": spec.name, "datatype": spec.data_type.name(), "shape": shape })
    });
    described.collect()
}

/// Every version of every model.
pub fn index(catalog: &Catalog, only_ready: bool) -> Bytes {
    let mut told = Vec::new();
    for (name, servable) in &catalog.models {
        for version in &servable.versions {
            if version.state == State::Available || !only_ready {
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
        State::Available => "READY",
        State::Start | State::Loading => "LOADING",
        State::Unloading => "UNLOADING",
        State::End => "UNAVAILABLE",
    }
}

/// A version of a model whose requests were counted.
#[derive(Debug, Clone, Copy)]
pub struct Counted<'a> {
    pub model: &'a str,
    pub version: u64,
    pub statistics: &'a Statistics,
}

pub fn statistics(counted: &[Counted<'_>]) -> Bytes {
    let told: Vec<Value> = counted.iter().map(model_statistics).collect();
    line(&json!({ "model_stats": told }))
}

fn model_statistics(counted: &Counted<'_>) -> Value {
    let statistics = counted.statistics;
    json!({
        "name": counted.model,
        "version": counted.version.to_string(),
        "last_inference": statistics.last_milliseconds(),
        "inference_count": statistics.rows(),
        "execution_count": statistics.runs(),
        "inference_stats": {
            "success": total(&statistics.success),
            "fail": total(&statistics.fail),
            "queue": total(&statistics.queue),
            "compute_input": total(&statistics.input),
            "compute_infer": total(&statistics.infer),
            "compute_output": total(&statistics.output),
            // There is no cache of answers.
            "cache_hit": total(&Total::default()),
            "cache_miss": total(&Total::default()),
        },
        "response_stats": {},
        "batch_stats": [],
        "memory_usage": [],
    })
}

fn total(total: &Total) -> Value {
    let (count, nanoseconds) = total.read();
    json!({ "count": count, "ns": nanoseconds })
}

fn line(value: &Value) -> Bytes {
    format!("{value}\n").into()
}
