//! One inference, whatever the protocol: a body becomes tensors, the model runs, its outputs become an answer.
//!
//! ```text
//! body ─► parse ─► engine ─► write ─► answer      parse and write go to another thread when they are long
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use model_runtime::tensor::Tensor;

use super::error::RequestError;
use super::offload::offload_if_large;
use super::response::written_bytes;
use super::state::ServiceState;
use crate::engine::{Answered, LoadedModel, Ran};
use crate::model::Model;

/// A request as a protocol has read it.
pub(super) struct Parsed<F> {
    pub(super) loaded: Arc<LoadedModel>,
    /// In the order of the model's signature.
    pub(super) inputs: Vec<Tensor>,
    /// Form of the request, for the writing of the answer.
    pub(super) form: F,
}

/// Reads `body` with `parse`, runs the model that it is for, and writes the outputs with `write`. Gives the model back too.
pub(super) async fn infer<F, A>(
    state: &ServiceState,
    body: Bytes,
    parse: impl FnOnce(&Bytes) -> Result<Parsed<F>, RequestError> + Send + 'static,
    write: impl FnOnce(F, &[Tensor], &Model) -> Result<A, RequestError> + Send + 'static,
) -> Result<(Arc<LoadedModel>, A), RequestError>
where
    F: Send + 'static,
    A: Send + 'static,
{
    let started = Instant::now();
    let Parsed { loaded, inputs, form } = offload_if_large(body.len(), move || parse(&body)).await?;
    let input = started.elapsed();
    let answered = run_and_write(state, &loaded, inputs, |outputs, model| write(form, outputs, model)).await;
    match answered {
        Ok((answer, ran, output)) => {
            loaded.statistics.answered(Answered {
                whole: started.elapsed(),
                input,
                queue: ran.queue,
                infer: ran.infer,
                output,
                rows: ran.rows,
                runs: ran.runs,
            });
            Ok((loaded, answer))
        }
        Err(error) => {
            loaded.statistics.failed(started.elapsed());
            Err(error)
        }
    }
}

/// The answer, the run without its outputs, and how long the writing took.
async fn run_and_write<A: Send + 'static>(
    state: &ServiceState,
    loaded: &Arc<LoadedModel>,
    inputs: Vec<Tensor>,
    write: impl FnOnce(&[Tensor], &Model) -> Result<A, RequestError> + Send + 'static,
) -> Result<(A, Ran, Duration), RequestError> {
    let mut ran = state.run(loaded, inputs).await?;
    let (started, writing) = (Instant::now(), Arc::clone(loaded));
    let outputs = std::mem::take(&mut ran.outputs);
    let bytes = written_bytes(&outputs);
    let answer = offload_if_large(bytes, move || write(&outputs, &writing.model)).await?;
    Ok((answer, ran, started.elapsed()))
}
