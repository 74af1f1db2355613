//! From a file to a version that may serve: read, opened, warmed up, and held against its golden requests.

use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use model_runtime::tensor::Tensor;
use model_runtime::{Runtimes, probe_row_independence};
use serde_json::Value;
use shared::telemetry::logging::millis;
use tracing::{error, info};

use super::golden;
use super::model_config::{Golden, ModelConfig};
use super::tracker::Order;
use crate::background::{CancelFlag, LowPriority};
use crate::engine::{EngineError, LoadedModel};
use crate::metrics::Metrics;
use crate::model::Model;
use crate::model::ModelVersion;
use crate::protocol::tf_serving;

/// Memory limit for the tensors of a warm-up or golden request. The file with the requests has at most a megabyte.
const MOST_TENSOR_BYTES: usize = 64 * 1024 * 1024;

/// How much of a file is read at a time. Many kernels copy all that a read asks for before they let another thread have the
/// processor, and then no priority helps who waits: a megabyte takes a tenth of a millisecond.
const PIECE: u64 = 128 * 1024;

#[derive(Debug)]
pub struct Loader {
    opener: Arc<Opener>,
    /// Set once requests are served: loads then run at low priority.
    low_priority: Option<LowPriority>,
}

/// State that all loads share.
#[derive(Debug)]
struct Opener {
    metrics: Arc<Metrics>,
    /// Size limit of a model file.
    max_bytes: u64,
    runtimes: Runtimes,
}

impl Loader {
    pub fn new(metrics: Arc<Metrics>, max_bytes: u64, runtimes: Runtimes) -> Self {
        let opener = Arc::new(Opener {
            metrics,
            max_bytes,
            runtimes,
        });
        Self {
            opener,
            low_priority: None,
        }
    }

    /// Later loads run at low priority beside requests. Returns true on the first call. Loads before it run at normal priority.
    pub(super) fn defer_to_requests(&mut self) -> bool {
        let is_new = self.low_priority.is_none();
        self.low_priority.get_or_insert_default();
        is_new
    }

    /// Loads one version. The outcome is logged and counted.
    pub(super) fn load(&self, order: Order) -> Result<LoadedModel, String> {
        let (started, memory) = (Instant::now(), resident_bytes());
        let opener = Arc::clone(&self.opener);
        let ordered = order.clone();
        let outcome = match &self.low_priority {
            Some(low_priority) => {
                let loaded = low_priority.run(move |cancel| opener.load(&ordered, cancel));
                loaded.unwrap_or_else(|panicked| Err(panicked.to_string()))
            }
            None => opener.load(&ordered, &CancelFlag::default()),
        };
        let duration = started.elapsed();
        self.opener
            .metrics
            .load(&order.model, outcome.is_ok(), duration.as_secs_f64());
        let (model, version, path) = (order.model, order.version, order.path.display());
        match &outcome {
            Ok(loaded) => info!(
                model,
                version,
                runtime = loaded.model.runtime.name(),
                %path,
                duration_ms = millis(duration),
                rows_independent = loaded.model.rows_independent,
                resident_bytes_more = resident_bytes().saturating_sub(memory),
                "model loaded"
            ),
            Err(problem) => error!(
                model,
                version,
                %path,
                problem,
                "model rejected; keeping the loaded version"
            ),
        }
        outcome
    }
}

impl Opener {
    /// Opens and checks one version. Between the steps it stops if another thread was faster.
    fn load(&self, order: &Order, cancel: &CancelFlag) -> Result<LoadedModel, String> {
        let config = &order.config;
        let wanted = || match cancel.is_cancelled() {
            true => Err("another thread has loaded it".to_owned()),
            false => Ok(()),
        };
        let content = read(&order.path, self.max_bytes)?;
        wanted()?;
        let open = AssertUnwindSafe(|| self.runtimes.open(content, config.runtime));
        let runtime = match catch_unwind(open) {
            Ok(opened) => opened.map_err(|error| error.to_string())?,
            Err(_panic) => return Err("opening the model panicked".to_owned()),
        };
        wanted()?;
        runtime.signature().check_one_row()?;
        let example = runtime.signature().zeros(1).map_err(|error| error.to_string())?;
        let model = Model {
            name: order.model.clone(),
            version: ModelVersion::of_repository(order.version),
            example,
            runtime,
            rows_independent: false,
        };
        let mut loaded = LoadedModel::new(model, &self.metrics);
        let mut samples = warm_up(&loaded, config)?;
        wanted()?;
        let golden = config.golden.iter().filter(|golden| golden.is_for(order.version));
        for (at, golden) in golden.enumerate() {
            let sample = check(&loaded, golden).map_err(|problem| format!("golden request {at}: {problem}"))?;
            samples.push(sample);
        }
        let try_rows = AssertUnwindSafe(|| probe_row_independence(loaded.model.runtime.as_ref(), &samples));
        // A model that panics at two rows serves single ones; its requests are never split.
        loaded.model.rows_independent = catch_unwind(try_rows).unwrap_or(false);
        Ok(loaded)
    }
}

/// The first run allocates and fills caches; no client should wait for that. Gives back what it was run on.
fn warm_up(loaded: &LoadedModel, config: &ModelConfig) -> Result<Vec<Vec<Tensor>>, String> {
    let mut samples = Vec::new();
    for (at, body) in config.warm_up.iter().enumerate() {
        let (sample, _answer) =
            run_predict(loaded, body).map_err(|problem| format!("warm-up request {at}: {problem}"))?;
        samples.push(sample);
    }
    if config.warm_up.is_empty() {
        // Zeros may be values that the model refuses; it has been run then, too.
        let _refused = run(loaded, loaded.model.example.clone());
    }
    Ok(samples)
}

fn check(loaded: &LoadedModel, golden: &Golden) -> Result<Vec<Tensor>, String> {
    let (sample, answer) = run_predict(loaded, &golden.request)?;
    let found: Value = serde_json::from_slice(&answer).map_err(|error| format!("the answer is no JSON: {error}"))?;
    match golden::difference(&golden.response, &found, golden.tolerance) {
        None => Ok(sample),
        Some(difference) => Err(format!("the answer differs: {difference}")),
    }
}

/// Answers a body as the predict API does; and what the model was asked.
fn run_predict(loaded: &LoadedModel, body: &str) -> Result<(Vec<Tensor>, Bytes), String> {
    let signature = loaded.model.runtime.signature();
    let body = Bytes::copy_from_slice(body.as_bytes());
    let question = tf_serving::parse_predict(&body, signature, MOST_TENSOR_BYTES).map_err(|error| error.to_string())?;
    signature.check(&question.inputs).map_err(|error| error.to_string())?;
    let outputs = run(loaded, question.inputs.clone())?;
    let answer = tf_serving::predictions(&outputs, signature, question.form).map_err(|error| error.to_string())?;
    Ok((question.inputs, answer))
}

/// One run here and now. A model that panics is refused, not the end of the thread.
fn run(loaded: &LoadedModel, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, String> {
    let run = AssertUnwindSafe(|| loaded.try_out(&inputs));
    let outcome = catch_unwind(run).unwrap_or(Err(EngineError::Panicked));
    outcome.map_err(|error| error.to_string())
}

fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    let too_large = || format!("the file has more than the {max_bytes} bytes of MAX_MODEL_BYTES");
    let mut file = File::open(path).map_err(cannot)?;
    let length = file.metadata().map_err(cannot)?.len();
    if length > max_bytes {
        return Err(too_large());
    }
    let mut content = Vec::new();
    // One byte more than there should be, so that the end of the file is found without growing.
    let room = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(1);
    content
        .try_reserve_exact(room)
        .map_err(|error| format!("not enough memory for the file's {length} bytes: {error}"))?;
    while file.by_ref().take(PIECE).read_to_end(&mut content).map_err(cannot)? > 0 {
        if content.len() as u64 > max_bytes {
            return Err(too_large());
        }
    }
    if content.is_empty() {
        return Err("the file is empty".to_owned());
    }
    Ok(content)
}

/// Resident memory of the process; 0 where the kernel does not report it.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or_default() * 1024
}
