//! Answers what is asked in the Open Inference Protocol.

use std::error::Error;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::Body;

use super::error::RequestError;
use super::inference::{Parsed, infer};
use super::response::{ResponseBody, answered_by, json};
use super::state::ServiceState;
use super::{body, probes};
use crate::catalog::{Choice, Servable};
use crate::engine::LoadedModel;
use crate::protocol::model_ref::{ModelRef, ModelRefError};
use crate::protocol::open_inference::{self as protocol, Call, Error as ProtocolError, ModelStatistics, Signed};

const HEADER_LENGTH: HeaderName = HeaderName::from_static(protocol::HEADER_LENGTH);
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Answers a call that is made with the right method.
pub(super) async fn answer<B>(
    state: &ServiceState,
    call: Call,
    head: &Parts,
    body: B,
) -> Result<Response<ResponseBody>, RequestError>
where
    B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
{
    match call {
        Call::Server => Ok(server(state, false)),
        Call::Live => Ok(json(protocol::live())),
        Call::Ready => probes::readiness(state).map(|()| json(protocol::ready())),
        Call::Model(model) => metadata(state, &named(model)?),
        Call::ModelReady(model) => model_ready(state, &named(model)?),
        Call::Statistics(model) => statistics(state, model.map(named).transpose()?.as_ref()),
        Call::Infer(model) => run(state, &named(model)?, head, body).await,
        Call::Config(model) => config(state, &named(model)?),
        Call::Index => index(state, head, body).await,
        Call::Load(_) | Call::Unload(_) => Err(RequestError::AtAdminListener),
        Call::Unknown => Err(RequestError::UnknownPath),
    }
}

pub(super) fn server(state: &ServiceState, is_admin: bool) -> Response<ResponseBody> {
    json(protocol::server(
        &state.service_name,
        env!("CARGO_PKG_VERSION"),
        is_admin,
    ))
}

pub(super) fn named(model: Result<ModelRef, ModelRefError>) -> Result<ModelRef, RequestError> {
    model.map_err(|_broken| ProtocolError::Path.into())
}

fn metadata(state: &ServiceState, model: &ModelRef) -> Result<Response<ResponseBody>, RequestError> {
    let loaded = state.find(model)?;
    let catalog = state.catalog.load();
    let servable = catalog.model(&model.model).map_err(RequestError::Find)?;
    let described = protocol::metadata(&model.model, servable, loaded.model.runtime.as_ref());
    Ok(answered_by(&loaded, json(described)))
}

fn config(state: &ServiceState, model: &ModelRef) -> Result<Response<ResponseBody>, RequestError> {
    let loaded = state.find(model)?;
    let catalog = state.catalog.load();
    let servable = catalog.model(&model.model).map_err(RequestError::Find)?;
    let described = protocol::config(&model.model, servable, loaded.model.runtime.as_ref());
    Ok(answered_by(&loaded, json(described)))
}

fn model_ready(state: &ServiceState, model: &ModelRef) -> Result<Response<ResponseBody>, RequestError> {
    let loaded = state.find(model)?;
    Ok(answered_by(&loaded, json(protocol::model_ready(&model.model))))
}

/// Statistics of one version, or of all available versions of one model or of all models.
fn statistics(state: &ServiceState, model: Option<&ModelRef>) -> Result<Response<ResponseBody>, RequestError> {
    let catalog = state.catalog.load();
    let servables: Vec<&Servable> = match model {
        Some(model) if model.choice() != Choice::Latest => {
            let loaded = state.find(model)?;
            return Ok(json(protocol::statistics(&[counted(&loaded)])));
        }
        Some(model) => vec![catalog.model(&model.model).map_err(RequestError::Find)?],
        None => catalog.models.values().collect(),
    };
    let versions = servables.into_iter().flat_map(|servable| &servable.versions);
    let counted: Vec<ModelStatistics<'_>> = versions
        .filter_map(|version| version.loaded.as_deref())
        .map(counted)
        .collect();
    Ok(json(protocol::statistics(&counted)))
}

fn counted(loaded: &LoadedModel) -> ModelStatistics<'_> {
    ModelStatistics {
        model: &loaded.model.name,
        version: loaded.model.version.number(),
        statistics: &loaded.statistics,
    }
}

async fn run<B>(
    state: &ServiceState,
    model: &ModelRef,
    head: &Parts,
    body: B,
) -> Result<Response<ResponseBody>, RequestError>
where
    B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
{
    let limits = **state.limits.load();
    let body = body::read_decoded(&head.headers, body, limits.into()).await?;
    let loaded = state.find(model)?;
    let header_length = header_length(&head.headers)?;
    let most_bytes = limits.max_body_bytes;
    let parse = move |body: &Bytes| {
        let signature = loaded.model.runtime.signature();
        let request = protocol::parse_infer(body, header_length.as_deref(), signature, most_bytes)?;
        Ok(Parsed {
            loaded,
            inputs: request.inputs,
            form: (request.id, request.outputs),
        })
    };
    let (loaded, answer) = infer(state, body, parse, |(id, requested), outputs, model| {
        let signed = Signed {
            model: &model.name,
            version: model.version.number(),
            id: id.as_deref(),
        };
        Ok(protocol::answer(
            signed,
            outputs,
            model.runtime.signature(),
            &requested,
        )?)
    })
    .await?;
    let mut response = json(answer.body);
    if let Some(length) = answer.json_length {
        response.headers_mut().insert(HEADER_LENGTH, HeaderValue::from(length));
        response.headers_mut().insert(CONTENT_TYPE, OCTETS);
    }
    Ok(answered_by(&loaded, response))
}

/// The one value of `Inference-Header-Content-Length`: with two of them a body would have two meanings.
fn header_length(headers: &HeaderMap) -> Result<Option<String>, ProtocolError> {
    let mut values = headers.get_all(HEADER_LENGTH).iter();
    // A value that is no ASCII is no length either.
    let first = values.next().map(|value| value.to_str().unwrap_or_default().to_owned());
    match values.next() {
        None => Ok(first),
        Some(_second) => Err(ProtocolError::SeveralHeaderLengths),
    }
}

async fn index<B>(state: &ServiceState, head: &Parts, body: B) -> Result<Response<ResponseBody>, RequestError>
where
    B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
{
    let limits = **state.limits.load();
    let text = body::read_decoded(&head.headers, body, limits.into()).await?;
    let only_ready = protocol::parse_index(&text)?;
    Ok(json(protocol::index(&state.catalog.load(), only_ready)))
}
