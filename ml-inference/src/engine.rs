//! Runs models on tensors: validated input in, validated output out.
//!
//! A large request is cut into batches of at most `BATCH_SIZE` rows, so that one call of a runtime has a
//! bounded cost, unless the model's rows have to do with each other. Models that take longer than the way to another thread run on the compute threads, behind their queue;
//! requests do not share a run yet.

mod statistics;

use std::sync::Arc;
use std::time::Instant;

use arc_swap::{ArcSwap, Guard};
use prometheus::Histogram;
use tokio::sync::oneshot;

use crate::compute::{Compute, Job};
use crate::metrics::Metrics;
use crate::model::Model;
use crate::repository::Catalog;
use crate::runtime::{Cost, Misfit, RuntimeError};
use crate::tensor::Tensor;

pub use statistics::{Statistics, Total};

#[derive(Debug)]
pub struct Engine {
    catalog: ArcSwap<Catalog>,
    compute: Compute,
}

#[derive(Debug)]
pub struct LoadedModel {
    pub model: Model,
    pub statistics: Statistics,
    duration: Histogram,
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
    Input(#[from] Misfit),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error("the model gave a result that is not what its signature says")]
    BadOutput,
    #[error("{limit} requests wait for a model already")]
    Busy { limit: usize },
    #[error("the answer takes more than the limit of {limit} bytes in memory (MAX_RESPONSE_BYTES); ask for fewer rows")]
    TooLarge { limit: usize },
    #[error("the model failed at this request")]
    Panicked,
    /// Nobody is told: who could be has left.
    #[error("the client has left")]
    Abandoned,
}

impl Engine {
    /// Without any model yet.
    pub fn new(compute: Compute) -> Self {
        Self {
            catalog: ArcSwap::default(),
            compute,
        }
    }

    /// The models there are now. What is found in it may be run as long as it is held.
    pub fn catalog(&self) -> Guard<Arc<Catalog>> {
        self.catalog.load()
    }

    /// From here on requests find these models. Gives back those before.
    pub fn publish(&self, catalog: Catalog) -> Arc<Catalog> {
        self.catalog.swap(Arc::new(catalog))
    }

    /// Runs `loaded` on inputs in its signature's order. Dropping the future abandons the run.
    pub async fn run(
        &self,
        loaded: &Arc<LoadedModel>,
        inputs: Vec<Tensor>,
        limits: RunLimits,
    ) -> Result<Vec<Tensor>, EngineError> {
        let started = Instant::now();
        let outcome = self.run_where_it_belongs(loaded, inputs, limits).await;
        let total = match outcome {
            Ok(_) => &loaded.statistics.success,
            Err(_) => &loaded.statistics.fail,
        };
        total.add(started.elapsed());
        outcome
    }

    async fn run_where_it_belongs(
        &self,
        loaded: &Arc<LoadedModel>,
        inputs: Vec<Tensor>,
        limits: RunLimits,
    ) -> Result<Vec<Tensor>, EngineError> {
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

impl LoadedModel {
    pub fn new(model: Model, metrics: &Metrics) -> Self {
        let duration = metrics.inference_duration(&model.name);
        Self {
            model,
            statistics: Statistics::default(),
            duration,
        }
    }

    /// Runs the model here, batch after batch, on inputs that fit its signature, until `abandoned` says that nobody waits.
    pub(crate) fn run(
        &self,
        inputs: Vec<Tensor>,
        limits: RunLimits,
        abandoned: impl Fn() -> bool,
    ) -> Result<Vec<Tensor>, EngineError> {
        let started = Instant::now();
        let outputs = self.compute(&inputs, limits, abandoned)?;
        let took = started.elapsed();
        self.duration.observe(took.as_secs_f64());
        let (rows, runs) = self.rows_and_runs(&inputs, limits.batch_size);
        self.statistics.ran(rows, runs, took);
        Ok(outputs)
    }

    /// A run that no client asked for, of any size: nothing counts it.
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
        let outputs = match self.rows_to_cut(inputs, batch_size) {
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

    /// The number of rows, when they are too many for one call and may be cut.
    fn rows_to_cut(&self, inputs: &[Tensor], batch_size: usize) -> Option<usize> {
        if !self.model.rows_stand_alone {
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
        match (self.rows_to_cut(inputs, batch_size), inputs.first()) {
            (Some(rows), _) => (rows, rows.div_ceil(batch_size)),
            (None, Some(first)) if self.model.runtime.signature().has_free_rows() => (first.rows(), 1),
            (None, _) => (1, 1),
        }
    }

    /// A runtime that breaks its word must not reach a client.
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

/// What tensors take in memory.
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use shared::test_util::{DEADLINE, eventually};

    use super::*;
    use crate::model::BuiltIn;
    use crate::runtime::{Dim, ModelRuntime, Signature, TensorSpec};
    use crate::tensor::{DataType, Element};
    use crate::version::ModelVersion;

    const LIMITS: RunLimits = RunLimits {
        batch_size: 32,
        most_waiting: 1,
        most_response_bytes: 1 << 20,
    };

    fn engine() -> Engine {
        let metrics = Metrics::new().expect("registers");
        Engine::new(Compute::start(1, 1, metrics.waiting.clone()).expect("starts"))
    }

    fn tensor<T: Element>(shape: &[usize], values: &[T]) -> Tensor {
        Tensor::of(shape.to_vec(), values.to_vec()).expect("a tensor")
    }

    fn built_in(built_in: BuiltIn) -> Model {
        Model::built_in(built_in, ModelVersion::parse("1.0").expect("a version"))
    }

    fn load(model: Model) -> Arc<LoadedModel> {
        Arc::new(LoadedModel::new(model, &Metrics::new().expect("registers")))
    }

    fn loaded(runtime: impl ModelRuntime + 'static) -> Arc<LoadedModel> {
        let mut model = built_in(BuiltIn::HalfPlusTwo);
        model.runtime = Box::new(runtime);
        load(model)
    }

    fn rows(input: DataType, output: DataType) -> Signature {
        let rows = || vec![Dim::Free(None)];
        Signature {
            inputs: vec![TensorSpec::new("x", input, rows())],
            outputs: vec![TensorSpec::new("y", output, rows())],
        }
    }

    #[tokio::test]
    async fn half_plus_two_keeps_the_shape_and_the_type() {
        let (engine, model) = (engine(), load(built_in(BuiltIn::HalfPlusTwo)));
        let run = async |input: Tensor| engine.run(&model, vec![input], LIMITS).await;
        assert_eq!(
            run(tensor(&[2, 2], &[0.0_f64, 1.0, 2.0, -5.0])).await,
            Ok(vec![tensor(&[2, 2], &[2.0_f64, 2.5, 3.0, -0.5])])
        );
        assert_eq!(run(tensor(&[], &[1.0_f32])).await, Ok(vec![tensor(&[], &[2.5_f32])]));
        let refused = run(tensor(&[1], &[1_i64])).await.expect_err("no float");
        assert_eq!(refused.to_string(), "x: expected FP32[-1,1], found INT64[1]");
    }

    #[tokio::test]
    async fn sum_gives_one_number_a_row() {
        let (engine, sum) = (engine(), load(built_in(BuiltIn::Sum)));
        let input = tensor(&[2, 3], &[1.0_f64, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let output = engine.run(&sum, vec![input], LIMITS).await;
        assert_eq!(output, Ok(vec![tensor(&[2], &[6.0_f64, 15.0])]));
        let nothing = engine.run(&sum, vec![tensor::<f32>(&[2, 0], &[])], LIMITS).await;
        assert_eq!(nothing, Ok(vec![tensor(&[2], &[0.0_f32, 0.0])]));
    }

    /// Notes the rows of every call, and gives back what it got.
    #[derive(Debug)]
    struct Recorder {
        signature: Signature,
        calls: Arc<Mutex<Vec<usize>>>,
    }

    impl ModelRuntime for Recorder {
        fn signature(&self) -> &Signature {
            &self.signature
        }

        fn cost(&self) -> Cost {
            Cost::Compute
        }

        fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
            self.calls.lock().unwrap().push(inputs[0].rows());
            Ok(inputs.to_vec())
        }
    }

    /// A recorder as a model, and what it notes.
    fn recording(rows_stand_alone: bool) -> (Arc<LoadedModel>, Arc<Mutex<Vec<usize>>>) {
        let calls = Arc::default();
        let mut model = built_in(BuiltIn::HalfPlusTwo);
        model.runtime = Box::new(Recorder {
            signature: rows(DataType::Fp32, DataType::Fp32),
            calls: Arc::clone(&calls),
        });
        model.rows_stand_alone = rows_stand_alone;
        (load(model), calls)
    }

    async fn calls(signature: Signature) -> Vec<usize> {
        let engine = engine();
        let calls = Arc::default();
        let recorder = Recorder {
            signature,
            calls: Arc::clone(&calls),
        };
        let input = tensor(&[100], &[1.5_f32; 100]);
        let output = engine.run(&loaded(recorder), vec![input.clone()], LIMITS).await;
        assert_eq!(output, Ok(vec![input]));
        let calls = calls.lock().unwrap();
        calls.clone()
    }

    #[tokio::test]
    async fn no_call_of_the_runtime_sees_more_rows_than_the_batch_size() {
        assert_eq!(calls(rows(DataType::Fp32, DataType::Fp32)).await, [32, 32, 32, 4]);
    }

    #[tokio::test]
    async fn an_answer_has_a_limit_that_is_seen_with_the_first_batch() {
        let limits = |most_response_bytes| RunLimits {
            most_response_bytes,
            ..LIMITS
        };
        let input = tensor(&[100], &[1.0_f32; 100]);
        for (rows_stand_alone, seen) in [(true, [32].as_slice()), (false, &[100])] {
            let (engine, (model, calls)) = (engine(), recording(rows_stand_alone));
            let run = async |limit| engine.run(&model, vec![input.clone()], limits(limit)).await;
            assert_eq!(run(399).await, Err(EngineError::TooLarge { limit: 399 }));
            assert_eq!(*calls.lock().unwrap(), seen);
            assert!(run(400).await.is_ok());
        }
    }

    #[tokio::test]
    async fn a_fixed_number_of_rows_is_not_cut() {
        let mut signature = rows(DataType::Fp32, DataType::Fp32);
        signature.inputs[0].shape = vec![Dim::Fixed(100)];
        assert_eq!(calls(signature).await, [100]);
    }

    #[tokio::test]
    async fn rows_that_have_to_do_with_each_other_stay_together() {
        let (engine, (model, calls)) = (engine(), recording(false));
        let input = tensor(&[100], &[1.5_f32; 100]);
        let output = engine.run(&model, vec![input.clone()], LIMITS).await;
        assert_eq!(output, Ok(vec![input]));
        assert_eq!(*calls.lock().unwrap(), [100]);
    }

    #[tokio::test]
    async fn a_runtime_that_breaks_its_word_is_an_error() {
        let engine = engine();
        let recorder = Recorder {
            signature: rows(DataType::Fp32, DataType::Int64),
            calls: Arc::default(),
        };
        let output = engine
            .run(&loaded(recorder), vec![tensor(&[1], &[1.0_f32])], LIMITS)
            .await;
        assert_eq!(output, Err(EngineError::BadOutput));
    }

    /// Tells when it is called, and then waits to be let go; a negative number makes it panic.
    #[derive(Debug)]
    struct Gate {
        signature: Signature,
        entered: SyncSender<f32>,
        open: Mutex<Receiver<()>>,
    }

    impl ModelRuntime for Gate {
        fn signature(&self) -> &Signature {
            &self.signature
        }

        fn cost(&self) -> Cost {
            Cost::Compute
        }

        fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
            let first = inputs[0].values::<f32>().expect("by the signature")[0];
            self.entered.send(first).expect("the test listens");
            self.open.lock().unwrap().recv().expect("the test opens");
            assert!(first >= 0.0, "poison");
            Ok(inputs.to_vec())
        }
    }

    fn gate() -> (Arc<LoadedModel>, Receiver<f32>, SyncSender<()>) {
        let (entered, entries) = sync_channel(16);
        let (opener, open) = sync_channel(16);
        let gate = Gate {
            signature: rows(DataType::Fp32, DataType::Fp32),
            entered,
            open: Mutex::new(open),
        };
        (loaded(gate), entries, opener)
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_a_client_that_left_makes_room() {
        let engine = Arc::new(engine());
        let (model, entries, open) = gate();
        let start = |number: f32| {
            let (engine, model) = (Arc::clone(&engine), Arc::clone(&model));
            let input = tensor(&[1], &[number]);
            tokio::spawn(async move { engine.run(&model, vec![input], LIMITS).await })
        };
        let first = start(1.0);
        eventually("the first runs", DEADLINE, async || entries.try_recv() == Ok(1.0)).await;
        let second = start(2.0);
        eventually("the second waits", DEADLINE, async || engine.compute.waiting() == 1).await;
        assert_eq!(start(3.0).await.expect("ends"), Err(EngineError::Busy { limit: 1 }));

        second.abort();
        assert!(second.await.expect_err("aborted").is_cancelled());
        let fourth = start(4.0);
        tokio::task::yield_now().await;
        open.send(()).expect("the first waits");
        open.send(()).expect("the fourth will wait");
        assert_eq!(first.await.expect("ends"), Ok(vec![tensor(&[1], &[1.0_f32])]));
        assert_eq!(fourth.await.expect("ends"), Ok(vec![tensor(&[1], &[4.0_f32])]));
        assert_eq!(
            entries.try_iter().collect::<Vec<f32>>(),
            [4.0],
            "the second was never run"
        );
        assert_eq!(engine.compute.waiting(), 0);
    }

    #[tokio::test]
    async fn a_panic_is_one_requests_error() {
        let engine = engine();
        let (model, _entries, open) = gate();
        open.send(()).expect("there is room");
        open.send(()).expect("there is room");
        let run = async |number: f32| engine.run(&model, vec![tensor(&[1], &[number])], LIMITS).await;
        assert_eq!(run(-1.0).await, Err(EngineError::Panicked));
        assert_eq!(run(1.0).await, Ok(vec![tensor(&[1], &[1.0_f32])]));
    }
}
