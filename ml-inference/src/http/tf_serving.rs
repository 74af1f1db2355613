//! Answers what is asked in TensorFlow Serving's protocol.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};
use http_body::Body;
use model_runtime::tensor::Tensor;

use super::body;
use super::error::RequestError;
use super::inference::{Parsed, infer};
use super::response::{ResponseBody, answered_by, json};
use super::state::{ServiceState, is_starting};
use crate::engine::LoadedModel;
use crate::protocol::model_ref::{ModelRef, ModelRefError};
use crate::protocol::tf_serving::{self as protocol, Call, Error as ProtocolError, Task, Verb};

pub(super) async fn answer<B>(
    state: &ServiceState,
    call: Call,
    head: &Parts,
    body: B,
) -> Result<Response<ResponseBody>, RequestError>
where
    B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
{
    let is_right = match head.method {
        Method::POST => call.is_post(),
        Method::GET | Method::HEAD => !call.is_post(),
        _ => false,
    };
    let (method, path) = (head.method.as_str(), head.uri.path());
    let named = |model: Result<ModelRef, ModelRefError>| {
        model.map_err(|error| RequestError::from(ProtocolError::of_path(error, method, path)))
    };
    match call {
        Call::Run(verb, model) if is_right => run(state, verb, &named(model)?, head, body).await,
        Call::Status(model) if is_right => status(state, &named(model)?),
        Call::Metadata(model) if is_right => metadata(state, &named(model)?),
        Call::Models if is_right => Ok(json(protocol::models(&state.catalog.load()))),
        _ => Err(ProtocolError::malformed(method, path).into()),
    }
}

fn find(state: &ServiceState, model: &ModelRef) -> Result<Arc<LoadedModel>, RequestError> {
    state.find(model).map_err(|error| match error {
        RequestError::Find(error) => ProtocolError::not_found(model, &error).into(),
        other => other,
    })
}

async fn run<B>(
    state: &ServiceState,
    verb: Verb,
    model: &ModelRef,
    head: &Parts,
    body: B,
) -> Result<Response<ResponseBody>, RequestError>
where
    B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
{
    let limits = **state.limits.load();
    let body = body::read_decoded(&head.headers, body, limits.into()).await?;
    let most_bytes = limits.max_body_bytes;
    let loaded = find(state, model)?;
    let (loaded, answer) = match verb {
        Verb::Predict => {
            let parse = move |body: &Bytes| {
                let request = protocol::parse_predict(body, loaded.model.runtime.signature(), most_bytes)?;
                Ok(Parsed {
                    loaded,
                    inputs: request.inputs,
                    form: request.form,
                })
            };
            infer(state, body, parse, |form, outputs, model| {
                Ok(protocol::predictions(outputs, model.runtime.signature(), form)?)
            })
            .await?
        }
        Verb::Classify | Verb::Regress => {
            let task = Task::of(verb, loaded.model.runtime.signature())?;
            let parse = move |body: &Bytes| {
                let inputs = protocol::parse_examples(body, loaded.model.runtime.signature(), most_bytes)?;
                let examples = inputs.first().map_or(0, Tensor::rows);
                Ok(Parsed {
                    loaded,
                    inputs,
                    form: (task, examples),
                })
            };
            infer(state, body, parse, |(task, examples), outputs, model| {
                Ok(task.results(outputs, model.runtime.signature(), examples)?)
            })
            .await?
        }
    };
    Ok(answered_by(&loaded, json(answer)))
}

fn status(state: &ServiceState, model: &ModelRef) -> Result<Response<ResponseBody>, RequestError> {
    let catalog = state.catalog.load();
    let servable = catalog.models.get(&model.model);
    if servable.is_none() && is_starting(&catalog) {
        return Err(RequestError::Loading);
    }
    Ok(json(protocol::status(model, servable)?))
}

fn metadata(state: &ServiceState, model: &ModelRef) -> Result<Response<ResponseBody>, RequestError> {
    let loaded = find(state, model)?;
    let model = &loaded.model;
    let described = protocol::metadata(&model.name, model.version.number(), model.runtime.signature());
    Ok(answered_by(&loaded, json(described)))
}
