//! One inference, whatever the protocol: a body becomes tensors, the model runs, its outputs become an answer.
//!
//! ```text
//! body ─► parse ─► engine ─► write ─► answer      parse and write go to another thread when they are long
//! ```

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use model_runtime::tensor::Tensor;

use super::error::RequestError;
use super::offload::offload_if_large;
use super::response::written_bytes;
use super::state::ServiceState;
use crate::engine::LoadedModel;
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
    loaded.statistics.input.add(started.elapsed());
    let outputs = state.run(&loaded, inputs).await?;
    let (started, writing) = (Instant::now(), Arc::clone(&loaded));
    let bytes = written_bytes(&outputs);
    let answer = offload_if_large(bytes, move || write(form, &outputs, &writing.model)).await?;
    loaded.statistics.output.add(started.elapsed());
    Ok((loaded, answer))
}
