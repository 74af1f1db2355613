//! Answers what is asked in TensorFlow Serving's protocol.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};
use http_body::Body;
use model_runtime::tensor::Tensor;

use super::answer::{Answer, answered_by, json, written_bytes};
use super::body;
use super::error::RequestError;
use super::offload::aside;
use super::state::State;
use crate::engine::LoadedModel;
use crate::protocol::model_ref::{Place, Target};
use crate::protocol::tf_serving::{self as protocol, Call, Error as ProtocolError, Task, Verb};

pub(super) async fn answer<B>(
    state: &State,
    call: Call<'_>,
    head: &Parts,
    body: B,
) -> Result<Response<Answer>, RequestError>
where
    B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
{
    let is_right = match head.method {
        Method::POST => call.is_post(),
        Method::GET | Method::HEAD => !call.is_post(),
        _ => false,
    };
    let target = |place: Place<'_>| {
        let (method, path) = (head.method.as_str(), head.uri.path());
        place
            .target()
            .map_err(|error| ProtocolError::of_target(&error, method, path, &call))
    };
    match call {
        Call::Run(verb, place) if is_right => run(state, verb, &target(place)?, head, body).await,
        Call::Status(place) if is_right => status(state, &target(place)?),
        Call::Metadata(place) if is_right => metadata(state, &target(place)?),
        Call::NoModel if is_right => Err(ProtocolError::NoModelName.into()),
        _ => Err(ProtocolError::malformed(head.method.as_str(), head.uri.path()).into()),
    }
}

fn find(state: &State, target: &Target) -> Result<Arc<LoadedModel>, RequestError> {
    state.find(target).map_err(|error| match error {
        RequestError::Find(error) => ProtocolError::not_found(target, &error).into(),
        other => other,
    })
}

async fn run<B>(
    state: &State,
    verb: Verb,
    target: &Target,
    head: &Parts,
    body: B,
) -> Result<Response<Answer>, RequestError>
where
    B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
{
    let limits = **state.limits.load();
    let text = body::read_decoded(&head.headers, body, limits.into()).await?;
    let length = text.len();
    let loaded = find(state, target)?;
    let signature = loaded.model.runtime.signature();
    let statistics = &loaded.statistics;
    let started = Instant::now();
    let (answer, written) = match verb {
        Verb::Predict => {
            let parsing = Arc::clone(&loaded);
            let parse = move || {
                let signature = parsing.model.runtime.signature();
                protocol::parse_predict(&text, signature, limits.max_body_bytes)
            };
            let question = aside(length, parse).await?;
            statistics.input.add(started.elapsed());
            let outputs = state.run(&loaded, question.inputs).await?;
            let (started, writing) = (Instant::now(), Arc::clone(&loaded));
            let bytes = written_bytes(&outputs);
            let write = move || protocol::predictions(&outputs, writing.model.runtime.signature(), question.form);
            (aside(bytes, write).await?, started)
        }
        Verb::Classify | Verb::Regress => {
            let task = Task::of(verb, signature)?;
            let parsing = Arc::clone(&loaded);
            let parse = move || {
                let signature = parsing.model.runtime.signature();
                protocol::parse_examples(&text, signature, limits.max_body_bytes)
            };
            let inputs = aside(length, parse).await?;
            statistics.input.add(started.elapsed());
            let examples = inputs.first().map_or(0, Tensor::rows);
            let outputs = state.run(&loaded, inputs).await?;
            let (started, writing) = (Instant::now(), Arc::clone(&loaded));
            let bytes = written_bytes(&outputs);
            let write = move || task.results(&outputs, writing.model.runtime.signature(), examples);
            (aside(bytes, write).await?, started)
        }
    };
    statistics.output.add(written.elapsed());
    Ok(answered_by(&loaded, json(answer)))
}

fn status(state: &State, target: &Target) -> Result<Response<Answer>, RequestError> {
    let catalog = state.catalog.load();
    let servable = catalog.models.get(&target.model);
    if servable.is_none() && state.is_starting() {
        return Err(RequestError::Loading);
    }
    Ok(json(protocol::status(target, servable)?))
}

fn metadata(state: &State, target: &Target) -> Result<Response<Answer>, RequestError> {
    let loaded = find(state, target)?;
    let model = &loaded.model;
    let described = protocol::metadata(&model.name, model.version.number(), model.runtime.signature());
    Ok(answered_by(&loaded, json(described)))
}
