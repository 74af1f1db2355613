//! From a request to an answer.
//!
//! ```text
//! POST /query                              the passages nearest to a question
//! GET  /health /livez /readyz /metrics     probes and scrapes
//! ```

mod body;
mod error;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use jiff::Timestamp;
use serde_json::json;
use shared::admin::{live, ready, scrape};
use shared::config::Secret;
use shared::lifecycle::PhaseWatch;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use tracing::warn;

pub use body::ResponseBody;
use body::read;
use error::RequestError;

use crate::embedding::{Embedder, Model};
use crate::metrics::Metrics;
use crate::query::{Form, Query, QueryLimits};
use crate::texts::{Index, Passage};

/// State that all handlers share.
#[derive(Debug)]
pub struct ServiceState {
    pub service_name: String,
    pub phase: PhaseWatch,
    pub metrics: Arc<Metrics>,
    pub limits: QueryLimits,
    pub passage_pause: Duration,
    pub request_timeout: Duration,
    pub api_key: Option<Secret>,
    /// A place for each query that may be under way.
    pub places: Arc<Semaphore>,
    /// Set once, when every text has its vector.
    pub index: OnceLock<(Model, Index)>,
}

/// The paths of this service, and one label for all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    Query,
    Health,
    Livez,
    Readyz,
    Metrics,
    Unknown,
}

impl Path {
    pub fn of(path: &str) -> Self {
        match path {
            "/query" => Self::Query,
            "/health" => Self::Health,
            "/livez" => Self::Livez,
            "/readyz" => Self::Readyz,
            "/metrics" => Self::Metrics,
            _ => Self::Unknown,
        }
    }

    /// The path as metrics name it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Query => "/query",
            Self::Health => "/health",
            Self::Livez => "/livez",
            Self::Readyz => "/readyz",
            Self::Metrics => "/metrics",
            Self::Unknown => "unknown",
        }
    }

    /// True for what an orchestrator or a scraper asks every few seconds.
    pub fn is_probe(self) -> bool {
        !matches!(self, Self::Query | Self::Unknown)
    }
}

/// Answers one request; what goes wrong is an answer too.
pub async fn answer(state: &ServiceState, embedder: &Embedder, request: Request<Incoming>) -> Response<ResponseBody> {
    let (head, body) = request.into_parts();
    let path = Path::of(head.uri.path());
    let answered = match (path, &head.method) {
        (Path::Query, &Method::POST) => query(state, embedder, &head, body).await,
        (Path::Query, _) => Err(RequestError::Method("POST")),
        (Path::Unknown, _) => Err(RequestError::UnknownPath),
        (_, &Method::GET | &Method::HEAD) => Ok(probe(state, path)),
        _ => Err(RequestError::Method("GET, HEAD")),
    };
    answered.unwrap_or_else(RequestError::into_response)
}

fn probe(state: &ServiceState, path: Path) -> Response<ResponseBody> {
    match path {
        Path::Health => health(state),
        Path::Readyz => ready(not_ready(state).map(RequestError::into_problem)),
        Path::Metrics => scrape(&state.metrics.registry),
        _ => live(),
    }
}

fn not_ready(state: &ServiceState) -> Option<RequestError> {
    if state.phase.is_draining() {
        return Some(RequestError::Draining);
    }
    (!state.phase.is_serving()).then_some(RequestError::Starting)
}

/// The service's self-portrait. It stays healthy while it drains: that is readiness's business.
fn health(state: &ServiceState) -> Response<ResponseBody> {
    let health = json!({
        "status": "healthy",
        "service": state.service_name,
        "timestamp": format!("{:.6}", Timestamp::now()),
        "texts": state.index.get().map_or(0, |(_, index)| index.len()),
    });
    with_type("application/json", ResponseBody::from(format!("{health}\n")))
}

async fn query(
    state: &ServiceState,
    embedder: &Embedder,
    head: &Parts,
    body: Incoming,
) -> Result<Response<ResponseBody>, RequestError> {
    if let Some(key) = &state.api_key {
        check_key(&head.headers, key)?;
    }
    let (model, index) = state.index.get().ok_or(RequestError::Starting)?;
    let place = Arc::clone(&state.places).try_acquire_owned();
    let place = place.map_err(|_none| RequestError::TooMany)?;
    let body = read(&head.headers, body, state.request_timeout).await?;
    let query = Query::parse(&body, state.limits)?;
    let accept = head.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let form = Form::of(&query, accept);
    let passages = nearest(state, embedder, model, index, &query).await?;
    let parts = form.write(&query, &passages);
    let body = match form {
        Form::Whole => ResponseBody::whole(parts.concat().into(), place),
        Form::Events | Form::Lines => ResponseBody::streamed(parts, state.passage_pause, place),
    };
    Ok(with_type(form.media_type(), body))
}

async fn nearest<'a>(
    state: &ServiceState,
    embedder: &Embedder,
    model: &Model,
    index: &'a Index,
    query: &Query,
) -> Result<Vec<Passage<'a>>, RequestError> {
    let started = Instant::now();
    let embedded = embedder.embed(model, &[&query.question]).await;
    state
        .metrics
        .embedding_duration
        .observe(started.elapsed().as_secs_f64());
    let vector = embedded.map(|vectors| vectors.into_iter().next().unwrap_or_default());
    match vector {
        Ok(vector) if vector.len() == index.width() => Ok(index.nearest(&vector, query.top_k)),
        Ok(vector) => {
            state.metrics.embedding_errors.inc();
            let (found, expected) = (vector.len(), index.width());
            warn!(
                found,
                expected, "the question's vector has another length than the texts'"
            );
            Err(RequestError::Model)
        }
        Err(error) => {
            state.metrics.embedding_errors.inc();
            warn!(%error, "no vector of a question");
            Err(RequestError::of(&error))
        }
    }
}

/// In constant time for keys of the same length, as the gateway's check.
fn check_key(headers: &HeaderMap, key: &Secret) -> Result<(), RequestError> {
    let bearer = || {
        let (scheme, token) = headers
            .get(AUTHORIZATION)?
            .as_bytes()
            .split_at_checked("Bearer ".len())?;
        scheme
            .eq_ignore_ascii_case(b"Bearer ")
            .then(|| token.trim_ascii_start())
    };
    let given = headers.get("x-api-key").map(HeaderValue::as_bytes).or_else(bearer);
    match given.is_some_and(|given| given.ct_eq(key.expose().as_bytes()).into()) {
        true => Ok(()),
        false => Err(RequestError::Key),
    }
}

fn with_type(media_type: &'static str, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_from_either_header_and_a_wrong_one_is_not() {
        let key = Secret::new("right");
        for (name, value, is_right) in [
            ("x-api-key", "right", true),
            ("authorization", "Bearer right", true),
            ("authorization", "bearer  right", true),
            ("x-api-key", "wrong", false),
            ("x-api-key", "", false),
            ("authorization", "Basic right", false),
            ("authorization", "right", false),
            ("accept", "right", false),
        ] {
            let headers = HeaderMap::from_iter([(name.parse().expect("a name"), HeaderValue::from_static(value))]);
            assert_eq!(check_key(&headers, &key).is_ok(), is_right, "{name}: {value}");
        }
    }
}
