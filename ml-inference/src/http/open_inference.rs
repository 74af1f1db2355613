//! Answers what is asked in the Open Inference Protocol.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Response};
use http_body::Body;

use super::answer::{Answer, answered_by, json, written_bytes};
use super::error::RequestError;
use super::offload::aside;
use super::state::State;
use super::{body, probes};
use crate::catalog::{Choice, Servable};
use crate::engine::LoadedModel;
use crate::protocol::model_ref::{Place, Target};
use crate::protocol::open_inference::{self as protocol, Call, Counted, Error as ProtocolError, Signed};

const HEADER_LENGTH: HeaderName = HeaderName::from_static(protocol::HEADER_LENGTH);
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Answers a call that is made with the right method.
pub(super) async fn answer<B>(
    state: &State,
    call: Call<'_>,
    head: &Parts,
    body: B,
) -> Result<Response<Answer>, RequestError>
where
    B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
{
    match call {
        Call::Server => Ok(server(state, false)),
        Call::Live => Ok(json(protocol::live())),
        Call::Ready => probes::readyz(state).map(|_ready| json(protocol::ready())),
        Call::Model(place) => metadata(state, &target(place)?),
        Call::ModelReady(place) => model_ready(state, &target(place)?),
        Call::Statistics(place) => statistics(state, place.map(target).transpose()?.as_ref()),
        Call::Infer(place) => infer(state, &target(place)?, head, body).await,
        Call::Config(place) => config(state, &target(place)?),
        Call::Index => index(state, head, body).await,
        Call::Load(_) | Call::Unload(_) => Err(RequestError::AtAdminListener),
        Call::Unknown => Err(RequestError::UnknownPath),
    }
}

pub(super) fn server(state: &State, is_admin: bool) -> Response<Answer> {
    json(protocol::server(
        &state.service_name,
        env!("CARGO_PKG_VERSION"),
        is_admin,
    ))
}

pub(super) fn target(place: Place<'_>) -> Result<Target, RequestError> {
    place.target().map_err(|_broken| ProtocolError::Path.into())
}

fn metadata(state: &State, target: &Target) -> Result<Response<Answer>, RequestError> {
    let loaded = state.find(target)?;
    let catalog = state.catalog.load();
    let servable = catalog.model(&target.model).map_err(RequestError::Find)?;
    let described = protocol::metadata(&target.model, servable, loaded.model.runtime.as_ref());
    Ok(answered_by(&loaded, json(described)))
}

fn config(state: &State, target: &Target) -> Result<Response<Answer>, RequestError> {
    let loaded = state.find(target)?;
    let catalog = state.catalog.load();
    let servable = catalog.model(&target.model).map_err(RequestError::Find)?;
    let described = protocol::config(&target.model, servable, loaded.model.runtime.as_ref());
    Ok(answered_by(&loaded, json(described)))
}

fn model_ready(state: &State, target: &Target) -> Result<Response<Answer>, RequestError> {
    let loaded = state.find(target)?;
    Ok(answered_by(&loaded, json(protocol::model_ready(&target.model))))
}

/// Of one version, or of all that are available of one model or of all.
fn statistics(state: &State, target: Option<&Target>) -> Result<Response<Answer>, RequestError> {
    let catalog = state.catalog.load();
    let servables: Vec<&Servable> = match target {
        Some(target) if target.choice() != Choice::Latest => {
            let loaded = state.find(target)?;
            return Ok(json(protocol::statistics(&[counted(&loaded)])));
        }
        Some(target) => vec![catalog.model(&target.model).map_err(RequestError::Find)?],
        None => catalog.models.values().collect(),
    };
    let versions = servables.into_iter().flat_map(|servable| &servable.versions);
    let counted: Vec<Counted<'_>> = versions
        .filter_map(|version| version.loaded.as_deref())
        .map(counted)
        .collect();
    Ok(json(protocol::statistics(&counted)))
}

fn counted(loaded: &LoadedModel) -> Counted<'_> {
    Counted {
        model: &loaded.model.name,
        version: loaded.model.version.number(),
        statistics: &loaded.statistics,
    }
}

async fn infer<B>(state: &State, target: &Target, head: &Parts, body: B) -> Result<Response<Answer>, RequestError>
where
    B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
{
    let limits = **state.limits.load();
    let text = body::read_decoded(&head.headers, body, limits.into()).await?;
    let loaded = state.find(target)?;
    let started = Instant::now();
    // A value that is no ASCII is no length either.
    let header_length = head
        .headers
        .get(HEADER_LENGTH)
        .map(|value| value.to_str().unwrap_or_default());
    let (length, parsing, header_length) = (text.len(), Arc::clone(&loaded), header_length.map(str::to_owned));
    let parse = move || {
        let signature = parsing.model.runtime.signature();
        protocol::parse_infer(&text, header_length.as_deref(), signature, limits.max_body_bytes)
    };
    let question = aside(length, parse).await?;
    loaded.statistics.input.add(started.elapsed());
    let outputs = state.run(&loaded, question.inputs).await?;
    let (started, writing, bytes) = (Instant::now(), Arc::clone(&loaded), written_bytes(&outputs));
    let write = move || {
        let model = &writing.model;
        let signed = Signed {
            model: &model.name,
            version: model.version.number(),
            id: question.id.as_deref(),
        };
        protocol::answer(signed, &outputs, model.runtime.signature(), &question.outputs)
    };
    let answer = aside(bytes, write).await?;
    loaded.statistics.output.add(started.elapsed());
    let mut response = json(answer.body);
    if let Some(length) = answer.json_length {
        response.headers_mut().insert(HEADER_LENGTH, HeaderValue::from(length));
        response.headers_mut().insert(CONTENT_TYPE, OCTETS);
    }
    Ok(answered_by(&loaded, response))
}

async fn index<B>(state: &State, head: &Parts, body: B) -> Result<Response<Answer>, RequestError>
where
    B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
{
    let limits = **state.limits.load();
    let text = body::read_decoded(&head.headers, body, limits.into()).await?;
    let only_ready = protocol::parse_index(&text)?;
    Ok(json(protocol::index(&state.catalog.load(), only_ready)))
}
