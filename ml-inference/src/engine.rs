//! Runs models on tensors: validated input in, validated output out.
//!
//! A large request is cut into batches of at most `BATCH_SIZE` rows, so that one call of a runtime has a
//! bounded cost. Requests do not wait for one another yet; a queue would stand right here.

use std::time::Instant;

use prometheus::Histogram;

use crate::metrics::Metrics;
use crate::model::{BuiltIn, Model};
use crate::runtime::RuntimeError;
use crate::tensor::Tensor;
use crate::version::ModelVersion;

#[derive(Debug)]
pub struct Engine {
    /// The model that MODEL_NAME names.
    pub served: LoadedModel,
    /// The lesson's `features` contract is always answered by this one.
    pub sum: LoadedModel,
}

#[derive(Debug)]
pub struct LoadedModel {
    pub model: Model,
    duration: Histogram,
}

#[derive(Debug, PartialEq, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error("the model gave a result of the wrong shape or with a number that is not finite")]
    BadOutput,
}

impl Engine {
    pub fn load(served: BuiltIn, version: &ModelVersion, metrics: &Metrics) -> Self {
        let load = |built_in| LoadedModel {
            model: Model::built_in(built_in, version.clone()),
            duration: metrics.inference_duration(BuiltIn::name(built_in)),
        };
        Self {
            served: load(served),
            sum: load(BuiltIn::Sum),
        }
    }

    pub fn run(&self, loaded: &LoadedModel, input: &Tensor, batch_size: usize) -> Result<Tensor, EngineError> {
        let runtime = &loaded.model.runtime;
        let started = Instant::now();
        let mut shape = vec![input.rows()];
        shape.extend(runtime.output_row(input.row_shape()));
        let mut output = Vec::with_capacity(shape.iter().product());
        for (index, batch) in input.batches(batch_size).enumerate() {
            runtime.run(batch, &mut output).map_err(|error| match error {
                RuntimeError::Overflow { row } => RuntimeError::Overflow {
                    row: index * batch_size + row,
                },
            })?;
        }
        loaded.duration.observe(started.elapsed().as_secs_f64());
        Tensor::new(shape, output).ok_or(EngineError::BadOutput)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::runtime::ModelRuntime;
    use crate::tensor::Batch;

    fn engine() -> Engine {
        let metrics = Metrics::new().expect("registers");
        let version = ModelVersion::parse("1.0").expect("a version");
        Engine::load(BuiltIn::HalfPlusTwo, &version, &metrics)
    }

    fn tensor(shape: &[usize], values: &[f64]) -> Tensor {
        Tensor::new(shape.to_vec(), values.to_vec()).expect("a tensor")
    }

    #[test]
    fn half_plus_two_keeps_the_shape() {
        let engine = engine();
        let output = engine.run(&engine.served, &tensor(&[2, 2], &[0.0, 1.0, 2.0, -5.0]), 32);
        assert_eq!(output, Ok(tensor(&[2, 2], &[2.0, 2.5, 3.0, -0.5])));
    }

    #[test]
    fn sum_gives_one_number_a_row() {
        let engine = engine();
        let output = engine.run(&engine.sum, &tensor(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), 32);
        assert_eq!(output, Ok(tensor(&[2], &[6.0, 15.0])));
    }

    #[test]
    fn an_overflow_names_the_row_of_the_request_and_not_of_the_batch() {
        let engine = engine();
        let mut values = vec![1.0; 8];
        values[6..].fill(f64::MAX);
        let output = engine.run(&engine.sum, &tensor(&[4, 2], &values), 2);
        assert_eq!(output, Err(RuntimeError::Overflow { row: 3 }.into()));
    }

    /// Notes the rows of every call, and gives back what it got.
    #[derive(Debug, Default)]
    struct Recorder {
        calls: Arc<Mutex<Vec<usize>>>,
    }

    impl ModelRuntime for Recorder {
        fn output_row(&self, input_row: &[usize]) -> Vec<usize> {
            input_row.to_vec()
        }

        fn run(&self, batch: Batch<'_>, output: &mut Vec<f64>) -> Result<(), RuntimeError> {
            self.calls.lock().unwrap().push(batch.rows().count());
            output.extend_from_slice(batch.values());
            Ok(())
        }
    }

    #[test]
    fn no_call_of_the_runtime_sees_more_rows_than_the_batch_size() {
        let mut engine = engine();
        let recorder = Recorder::default();
        let calls = Arc::clone(&recorder.calls);
        engine.served.model.runtime = Box::new(recorder);
        let input = tensor(&[100], &[1.5; 100]);
        assert_eq!(engine.run(&engine.served, &input, 32), Ok(input));
        assert_eq!(*calls.lock().unwrap(), [32, 32, 32, 4]);
    }

    /// A runtime that breaks its word must not get an infinity into a JSON answer.
    #[derive(Debug)]
    struct Careless;

    impl ModelRuntime for Careless {
        fn output_row(&self, input_row: &[usize]) -> Vec<usize> {
            input_row.to_vec()
        }

        fn run(&self, _batch: Batch<'_>, output: &mut Vec<f64>) -> Result<(), RuntimeError> {
            output.push(f64::INFINITY);
            Ok(())
        }
    }

    #[test]
    fn a_careless_runtime_is_an_error() {
        let mut engine = engine();
        engine.served.model.runtime = Box::new(Careless);
        let output = engine.run(&engine.served, &tensor(&[1], &[1.0]), 32);
        assert_eq!(output, Err(EngineError::BadOutput));
    }
}
