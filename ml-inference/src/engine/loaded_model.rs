//! A model that is loaded: run batch after batch, with what its runs are counted in.

use std::time::{Duration, Instant};

use model_runtime::tensor::Tensor;
use model_runtime::{InputMismatch, RuntimeError};
use prometheus::Histogram;

use super::statistics::Statistics;
use crate::metrics::Metrics;
use crate::model::Model;

#[derive(Debug)]
pub struct LoadedModel {
    pub model: Model,
    pub statistics: Statistics,
    duration: Histogram,
    queue: Histogram,
}

/// A run that has succeeded.
#[derive(Debug)]
pub struct Ran {
    pub outputs: Vec<Tensor>,
    /// The wait for a compute thread.
    pub queue: Duration,
    /// The model itself, all batches together.
    pub infer: Duration,
    pub rows: usize,
    /// Calls of the runtime.
    pub runs: usize,
}

/// How a request is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunLimits {
    /// Rows that one call of a runtime gets.
    pub batch_size: usize,
    /// Requests that may wait for a compute thread.
    pub most_waiting: usize,
    /// Memory that the elements of one answer may take.
    pub most_response_bytes: usize,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Input(#[from] InputMismatch),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error("the model's output does not match its signature")]
    BadOutput,
    #[error("{limit} requests are already waiting for a compute thread (MAX_QUEUE)")]
    Busy { limit: usize },
    #[error("the answer takes more than the limit of {limit} bytes in memory (MAX_RESPONSE_BYTES); ask for fewer rows")]
    TooLarge { limit: usize },
    #[error("the model failed on this request")]
    Panicked,
    /// Internal: the client disconnected, so this is never sent.
    #[error("the client has left")]
    Abandoned,
}

impl LoadedModel {
    pub fn new(model: Model, metrics: &Metrics) -> Self {
        let duration = metrics.inference_duration(&model.name);
        let queue = metrics.queue_duration(&model.name);
        Self {
            model,
            statistics: Statistics::default(),
            duration,
            queue,
        }
    }

    /// Counts a request that has waited for a compute thread and begins to run.
    pub(crate) fn has_waited(&self, waited: Duration) {
        self.queue.observe(waited.as_secs_f64());
    }

    /// Runs the model here, batch after batch, on inputs that fit its signature, until `abandoned` says that nobody waits.
    pub(crate) fn run(
        &self,
        inputs: Vec<Tensor>,
        limits: RunLimits,
        abandoned: impl Fn() -> bool,
    ) -> Result<Ran, EngineError> {
        let started = Instant::now();
        let outputs = self.compute(&inputs, limits, abandoned)?;
        let infer = started.elapsed();
        self.duration.observe(infer.as_secs_f64());
        let (rows, runs) = self.rows_and_runs(&inputs, limits.batch_size);
        Ok(Ran {
            outputs,
            queue: Duration::ZERO,
            infer,
            rows,
            runs,
        })
    }

    /// A run for warm-up and golden requests, of any size. It is not counted.
    pub(crate) fn try_out(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
        let outputs = self.model.runtime.run(inputs)?;
        self.check(inputs, &outputs)?;
        Ok(outputs)
    }

    fn compute(
        &self,
        inputs: &[Tensor],
        limits: RunLimits,
        abandoned: impl Fn() -> bool,
    ) -> Result<Vec<Tensor>, EngineError> {
        let RunLimits {
            batch_size,
            most_response_bytes: limit,
            ..
        } = limits;
        let outputs = match self.rows_to_split(inputs, batch_size) {
            None => self.model.runtime.run(inputs)?,
            Some(rows) => {
                let mut whole: Option<Vec<Tensor>> = None;
                for first in (0..rows).step_by(batch_size) {
                    if abandoned() {
                        return Err(EngineError::Abandoned);
                    }
                    let batch: Vec<Tensor> = inputs
                        .iter()
                        .map(|input| input.part(first, first + batch_size))
                        .collect();
                    let outputs = self.model.runtime.run(&batch)?;
                    match &mut whole {
                        None => {
                            // As many as the first batch has, for each that follows.
                            if bytes(&outputs).saturating_mul(rows) / batch_size > limit {
                                return Err(EngineError::TooLarge { limit });
                            }
                            whole = Some(outputs);
                        }
                        Some(whole) => append(whole, outputs)?,
                    }
                }
                whole.unwrap_or_default()
            }
        };
        if bytes(&outputs) > limit {
            return Err(EngineError::TooLarge { limit });
        }
        self.check(inputs, &outputs)?;
        Ok(outputs)
    }

    /// The number of rows, when they exceed the batch size and the request may be split into batches.
    fn rows_to_split(&self, inputs: &[Tensor], batch_size: usize) -> Option<usize> {
        if !self.model.rows_independent {
            return None;
        }
        let rows = inputs.first()?.rows();
        let alike = inputs
            .iter()
            .all(|input| !input.shape().is_empty() && input.rows() == rows);
        (rows > batch_size && alike && self.model.runtime.signature().has_free_rows()).then_some(rows)
    }

    /// How many rows a request has, and how many calls of the runtime that takes.
    fn rows_and_runs(&self, inputs: &[Tensor], batch_size: usize) -> (usize, usize) {
        match (self.rows_to_split(inputs, batch_size), inputs.first()) {
            (Some(rows), _) => (rows, rows.div_ceil(batch_size)),
            (None, Some(first)) if self.model.runtime.signature().has_free_rows() => (first.rows(), 1),
            (None, _) => (1, 1),
        }
    }

    /// Output that does not match the signature must not reach a client.
    fn check(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Result<(), EngineError> {
        let signature = self.model.runtime.signature();
        let specs = &signature.outputs;
        let typed = outputs.iter().zip(specs).all(|(output, spec)| {
            let followed = inputs.first().filter(|_| !spec.also.is_empty());
            output.data_type() == followed.map_or(spec.data_type, Tensor::data_type)
        });
        if typed && outputs.len() == specs.len() {
            Ok(())
        } else {
            Err(EngineError::BadOutput)
        }
    }
}

/// Memory that tensors take.
fn bytes(tensors: &[Tensor]) -> usize {
    let bytes = |tensor: &Tensor| tensor.data().len().saturating_mul(tensor.data_type().size_in_memory());
    tensors.iter().map(bytes).fold(0, usize::saturating_add)
}

/// Puts the outputs of one batch behind those of the batches before.
fn append(whole: &mut [Tensor], outputs: Vec<Tensor>) -> Result<(), EngineError> {
    if whole.len() != outputs.len() {
        return Err(EngineError::BadOutput);
    }
    for (whole, output) in whole.iter_mut().zip(outputs) {
        whole.append(output).map_err(|_other| EngineError::BadOutput)?;
    }
    Ok(())
}
