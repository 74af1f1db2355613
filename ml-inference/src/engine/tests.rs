use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use model_runtime::tensor::{DataType, Element};
use model_runtime::{Dim, ModelRuntime, RuntimeError, Signature, TensorSpec};
use shared::test_util::{DEADLINE, eventually};

use super::*;
use crate::metrics::Metrics;
use crate::model::{BuiltIn, Model, ModelVersion};

const LIMITS: RunLimits = RunLimits {
    batch_size: 32,
    most_waiting: 1,
    most_response_bytes: 1 << 20,
};

fn engine() -> Engine {
    let metrics = Metrics::new().expect("registers");
    Engine::new(Compute::start(1, 1, metrics.waiting.clone()).expect("starts"))
}

async fn outputs(
    engine: &Engine,
    model: &Arc<LoadedModel>,
    inputs: Vec<Tensor>,
    limits: RunLimits,
) -> Result<Vec<Tensor>, EngineError> {
    Ok(engine.run(model, inputs, limits).await?.outputs)
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
    let run = async |input: Tensor| outputs(&engine, &model, vec![input], LIMITS).await;
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
    let output = outputs(&engine, &sum, vec![input], LIMITS).await;
    assert_eq!(output, Ok(vec![tensor(&[2], &[6.0_f64, 15.0])]));
    let nothing = outputs(&engine, &sum, vec![tensor::<f32>(&[2, 0], &[])], LIMITS).await;
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
fn recording(rows_independent: bool) -> (Arc<LoadedModel>, Arc<Mutex<Vec<usize>>>) {
    let calls = Arc::default();
    let mut model = built_in(BuiltIn::HalfPlusTwo);
    model.runtime = Box::new(Recorder {
        signature: rows(DataType::Fp32, DataType::Fp32),
        calls: Arc::clone(&calls),
    });
    model.rows_independent = rows_independent;
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
    let output = outputs(&engine, &loaded(recorder), vec![input.clone()], LIMITS).await;
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
    for (rows_independent, seen) in [(true, [32].as_slice()), (false, &[100])] {
        let (engine, (model, calls)) = (engine(), recording(rows_independent));
        let run = async |limit| outputs(&engine, &model, vec![input.clone()], limits(limit)).await;
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
    let output = outputs(&engine, &model, vec![input.clone()], LIMITS).await;
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
    let output = outputs(&engine, &loaded(recorder), vec![tensor(&[1], &[1.0_f32])], LIMITS).await;
    assert_eq!(output, Err(EngineError::BadOutput));
}

/// A runtime that reports each call and waits to be released; a negative number makes it panic.
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
        tokio::spawn(async move { outputs(&engine, &model, vec![input], LIMITS).await })
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
    let run = async |number: f32| outputs(&engine, &model, vec![tensor(&[1], &[number])], LIMITS).await;
    assert_eq!(run(-1.0).await, Err(EngineError::Panicked));
    assert_eq!(run(1.0).await, Ok(vec![tensor(&[1], &[1.0_f32])]));
}

#[tokio::test]
async fn the_wait_for_a_compute_thread_is_counted_when_it_is_over() {
    let metrics = Metrics::new().expect("registers");
    let (model, entries, open) = gate();
    let model = Arc::into_inner(model).expect("nobody else has it").model;
    let queue = metrics.queue_duration(&model.name);
    let (engine, model) = (Arc::new(engine()), Arc::new(LoadedModel::new(model, &metrics)));
    let start = |number: f32| {
        let (engine, model) = (Arc::clone(&engine), Arc::clone(&model));
        tokio::spawn(async move { engine.run(&model, vec![tensor(&[1], &[number])], LIMITS).await })
    };
    let first = start(1.0);
    eventually("the first runs", DEADLINE, async || entries.try_recv() == Ok(1.0)).await;
    let second = start(2.0);
    eventually("the second waits", DEADLINE, async || engine.compute.waiting() == 1).await;
    assert_eq!(queue.get_sample_count(), 1, "the second still waits");
    open.send(()).expect("the first waits");
    open.send(()).expect("the second will wait");
    let mut waited = Duration::ZERO;
    for run in [first, second] {
        waited += run.await.expect("ends").expect("runs").queue;
    }
    assert_eq!(queue.get_sample_count(), 2);
    let difference = queue.get_sample_sum() - waited.as_secs_f64();
    assert!(difference.abs() < 1e-9, "{difference} s");

    let inline = Arc::new(LoadedModel::new(built_in(BuiltIn::Sum), &metrics));
    let queue = metrics.queue_duration(&inline.model.name);
    let ran = engine.run(&inline, vec![tensor(&[1, 1], &[1.0_f32])], LIMITS).await;
    ran.expect("runs");
    assert_eq!(queue.get_sample_count(), 0, "it needs no compute thread");
}
