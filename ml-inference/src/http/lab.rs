//! Answers what is asked in the lab's protocol, and the probes beside it.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};
use http_body::Body;
use model_runtime::tensor::Tensor;

use super::answer::{Answer, answered_by, json, written_bytes};
use super::error::{RequestError, check};
use super::offload::aside;
use super::state::State;
use super::{body, probes};
use crate::engine::{EngineError, LoadedModel};
use crate::protocol::lab;
use crate::route::Route;

/// Answers one request.
pub(super) async fn answer<B>(
    state: &State,
    route: Route,
    head: &Parts,
    body: B,
) -> Result<Response<Answer>, RequestError>
where
    B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
{
    if route == Route::Status {
        return Err(RequestError::UnknownPath);
    }
    check(route, &head.method)?;
    match route {
        Route::Root | Route::Predict if head.method == Method::POST => predict(state, head, body).await,
        Route::Root | Route::Predict => show(state).await,
        Route::Health => Ok(probes::health(state)),
        Route::Livez => Ok(probes::livez()),
        Route::Readyz => probes::readyz(state),
        Route::Metrics => probes::scrape(state),
        _ => Err(RequestError::UnknownPath),
    }
}

/// GET: the model run on its example inputs.
async fn show(state: &State) -> Result<Response<Answer>, RequestError> {
    let served = state.served()?;
    let example = served.model.example.clone();
    predictions(state, &served, example).await
}

/// POST: the model run on what the client sent, whatever its Content-Type says (`curl -d` says a form).
async fn predict<B>(state: &State, head: &Parts, body: B) -> Result<Response<Answer>, RequestError>
where
    B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
{
    let limits = **state.limits.load();
    let text = body::read(&head.headers, body, limits.into()).await?;
    // A number takes 8 bytes in memory and as few as two in the text.
    let most_numbers = (limits.max_body_bytes / size_of::<f64>()).max(1);
    let question = aside(text.len(), move || lab::parse(&text, most_numbers)).await?;
    match question {
        lab::Question::Instances(instances) => {
            let served = state.served()?;
            let input = lab::model_input(instances, served.model.runtime.signature())?;
            predictions(state, &served, vec![input]).await
        }
        lab::Question::Features(row) => {
            let output = run(state, &state.sum()?, vec![row]).await?;
            Ok(json(lab::prediction(&output, &state.model_label)?))
        }
    }
}

async fn predictions(
    state: &State,
    served: &Arc<LoadedModel>,
    inputs: Vec<Tensor>,
) -> Result<Response<Answer>, RequestError> {
    let output = run(state, served, inputs).await?;
    let (bytes, writing) = (written_bytes(std::slice::from_ref(&output)), Arc::clone(served));
    let write = move || lab::predictions(&output, &writing.model);
    Ok(answered_by(served, json(aside(bytes, write).await?)))
}

/// The first output of a run.
async fn run(state: &State, model: &Arc<LoadedModel>, inputs: Vec<Tensor>) -> Result<Tensor, RequestError> {
    let outputs = state.run(model, inputs).await?;
    Ok(outputs.into_iter().next().ok_or(EngineError::BadOutput)?)
}
