//! A model as onnxruntime runs it.
//!
//! onnxruntime's `Run` may be called by many threads at once, but its Rust binding does not rely on that and takes a session for
//! itself as long as a run lasts. So that runs need not wait for each other, a model has a session for each run that may be
//! under way: each has the weights in memory.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::builder::SessionBuilder;
use ort::session::{RunOptions, Session as OrtSession, SessionInputValue};

use super::values;
use crate::error::LoadError;
use crate::graph_signature::graph_signature;
use crate::interface::{Cost, ModelRuntime, RuntimeError};
use crate::onnx::OnnxModel;
use crate::signature::{Dim, Signature, TensorSpec};
use crate::tensor::Tensor;

/// A loaded model.
pub(super) struct Session {
    signature: Signature,
    /// At least one.
    sessions: Vec<Mutex<OrtSession>>,
    run_options: RunOptions,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Session")
            .field("signature", &self.signature)
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn open(
        environment: &Environment,
        file: &[u8],
        model: &OnnxModel<'_>,
        runs: usize,
    ) -> Result<Self, LoadError> {
        // onnxruntime would look for them relative to the working directory.
        for tensor in &model.graph.initializers {
            tensor.check_inside()?;
        }
        let signature = graph_signature(&model.graph)?;
        let mut builder = builder(environment, &signature).map_err(refused)?;
        let mut sessions = Vec::new();
        for _ in 0..runs.max(1) {
            let session = builder.commit_from_memory(file).map_err(refused)?;
            check_names(&session, &signature)?;
            sessions.push(Mutex::new(session));
        }
        let mut run_options = RunOptions::new().map_err(refused)?;
        // A run that fails says why; its log line would be one for each bad request.
        run_options.set_log_level(LogLevel::Fatal).map_err(refused)?;
        let mut model = Self {
            signature,
            sessions,
            run_options,
        };
        model.try_out();
        Ok(model)
    }

    /// One run of each session on zeros. It allocates what later runs have ready, and shows what the outputs are where the file
    /// says otherwise, which exporters do. A model may refuse zeros.
    fn try_out(&mut self) {
        let Ok(zeros) = self.signature.zeros(1) else { return };
        let mut shown = None;
        for session in &self.sessions {
            let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
            shown = self.run_on(&mut session, &zeros).ok();
        }
        for (spec, output) in self.signature.outputs.iter_mut().zip(shown.iter().flatten()) {
            correct(spec, output);
        }
    }

    /// A session that nobody uses. There are as many as compute threads, so that nobody waits for one.
    fn session(&self) -> MutexGuard<'_, OrtSession> {
        let mut free = self.sessions.iter().filter_map(|session| match session.try_lock() {
            Ok(free) => Some(free),
            // A run that panicked leaves nothing half done in the library.
            Err(TryLockError::Poisoned(left)) => Some(left.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        });
        let free = free.next();
        free.unwrap_or_else(|| self.sessions[0].lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn run_on(&self, session: &mut OrtSession, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
        let named = self.signature.inputs.iter().zip(inputs);
        let values: Result<Vec<SessionInputValue<'_>>, String> =
            named.map(|(spec, input)| values::input(&spec.name, input)).collect();
        let values = values.map_err(|problem| RuntimeError::Refused { problem })?;
        let outputs = session
            .run_with_options::<_, 0>(values.as_slice(), &self.run_options)
            .map_err(|error| RuntimeError::Refused {
                problem: error.to_string(),
            })?;
        let named = self.signature.outputs.iter().zip(outputs.values());
        let tensors: Result<Vec<Tensor>, String> = named
            .map(|(spec, value)| {
                values::output(spec, &value).map_err(|problem| format!("the output `{}`: {problem}", spec.name))
            })
            .collect();
        tensors.map_err(|problem| RuntimeError::Refused { problem })
    }
}

impl ModelRuntime for Session {
    fn name(&self) -> &'static str {
        "onnxruntime"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn cost(&self) -> Cost {
        Cost::Compute
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
        self.run_on(&mut self.session(), inputs)
    }
}

fn builder(environment: &Environment, signature: &Signature) -> ort::Result<SessionBuilder> {
    let builder = OrtSession::builder(environment)?
        .with_parallel_execution(false)?
        // The arena grows by doubling: weights in it would take up to twice their size.
        .with_device_allocated_initializers()?
        // It remembers a pattern for each combination of shapes, for ever.
        .with_memory_pattern(only_rows_are_free(signature))?
        .with_log_level(LogLevel::Warning)?;
    Ok(builder)
}

/// True if only the number of rows varies in the shapes of the inputs.
fn only_rows_are_free(signature: &Signature) -> bool {
    let is_fixed = |dim: &Dim| matches!(dim, Dim::Fixed(_));
    let mut inputs = signature.inputs.iter();
    inputs.all(|spec| !spec.any_shape && spec.shape.iter().skip(1).all(is_fixed))
}

/// Values are handed over by their order.
fn check_names(session: &OrtSession, signature: &Signature) -> Result<(), LoadError> {
    let is_same = |outlets: &[ort::value::Outlet], specs: &[TensorSpec]| {
        outlets
            .iter()
            .map(ort::value::Outlet::name)
            .eq(specs.iter().map(|spec| spec.name.as_str()))
    };
    if is_same(session.inputs(), &signature.inputs) && is_same(session.outputs(), &signature.outputs) {
        return Ok(());
    }
    let problem = "onnxruntime sees other inputs and outputs than the file declares";
    Err(LoadError::Graph(problem.to_owned()))
}

/// Makes `spec` what the output is, but for the number of rows and lengths that are free.
fn correct(spec: &mut TensorSpec, output: &Tensor) {
    if spec.any_shape {
        return;
    }
    if spec.shape.len() != output.shape().len() {
        spec.shape = vec![Dim::Free(None); output.shape().len()];
        return;
    }
    for (said, length) in spec.shape.iter_mut().zip(output.shape()).skip(1) {
        if matches!(said, Dim::Fixed(_)) {
            *said = Dim::Fixed(*length);
        }
    }
}

fn refused<R>(error: ort::Error<R>) -> LoadError {
    LoadError::Graph(format!("onnxruntime: {error}"))
}
