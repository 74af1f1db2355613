//! Runs models on tensors: validated input in, validated output out.
//!
//! A large request is split into batches of at most `BATCH_SIZE` rows, so that one call of a runtime has a
//! bounded cost, unless the model's rows have to do with each other. Models that take longer than the way to another
//! thread run on the compute threads, behind their queue; requests do not share a run yet.

mod compute;
mod loaded_model;
mod statistics;

use std::sync::Arc;
use std::time::Instant;

use model_runtime::Cost;
use model_runtime::tensor::Tensor;
use tokio::sync::oneshot;

pub use compute::Compute;
use compute::Job;
pub use loaded_model::{EngineError, LoadedModel, Ran, RunLimits};
pub use statistics::{Answered, Statistics, Total, Totals};

#[derive(Debug)]
pub struct Engine {
    compute: Compute,
}

impl Engine {
    pub fn new(compute: Compute) -> Self {
        Self { compute }
    }

    /// Runs `loaded` on inputs in its signature's order. Dropping the future abandons the run.
    pub async fn run(
        &self,
        loaded: &Arc<LoadedModel>,
        inputs: Vec<Tensor>,
        limits: RunLimits,
    ) -> Result<Ran, EngineError> {
        loaded.model.runtime.signature().check(&inputs)?;
        match loaded.model.runtime.cost() {
            Cost::Inline => loaded.run(inputs, limits, || false),
            Cost::Compute => {
                let (answer, outcome) = oneshot::channel();
                let job = Job {
                    model: Arc::clone(loaded),
                    inputs,
                    limits,
                    queued: Instant::now(),
                    answer,
                };
                self.compute.submit(job, limits.most_waiting)?;
                outcome.await.unwrap_or(Err(EngineError::Abandoned))
            }
        }
    }
}

#[cfg(test)]
mod tests;
