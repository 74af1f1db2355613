//! Probes of orchestrators and scrapers: health, liveness, readiness, metrics.

use http::{HeaderValue, Response};
use jiff::Timestamp;
use serde::Serialize;
use shared::telemetry::metrics;

use super::error::RequestError;
use super::path::Probe;
use super::response::{ResponseBody, answer_with, json};
use super::state::ServiceState;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const EXPOSITION: HeaderValue = HeaderValue::from_static(metrics::CONTENT_TYPE);

/// The lab's Lab 6 body, member by member.
#[derive(Debug, Serialize)]
struct Health<'a> {
    status: &'a str,
    service: &'a str,
    timestamp: String,
    monitoring: &'a str,
}

/// Answers one of them.
pub(super) fn answer(state: &ServiceState, probe: Probe) -> Result<Response<ResponseBody>, RequestError> {
    match probe {
        Probe::Health => Ok(health(state)),
        Probe::Livez => Ok(livez()),
        Probe::Readyz => readyz(state),
        Probe::Metrics => scrape(state),
    }
}

/// The service's self-portrait. It stays healthy while it drains: that is readiness's business.
fn health(state: &ServiceState) -> Response<ResponseBody> {
    let health = Health {
        status: "healthy",
        service: &state.service_name,
        timestamp: format!("{:.6}", Timestamp::now()),
        monitoring: "prometheus",
    };
    // Four strings always serialize.
    let mut body = serde_json::to_vec(&health).unwrap_or_default();
    body.push(b'\n');
    json(body)
}

/// Alive as long as a worker can say so.
fn livez() -> Response<ResponseBody> {
    answer_with(TEXT, "ok\n")
}

pub(super) fn readyz(state: &ServiceState) -> Result<Response<ResponseBody>, RequestError> {
    if state.phase.is_draining() {
        return Err(RequestError::Draining);
    }
    if !state.phase.is_serving() {
        return Err(RequestError::Loading);
    }
    match state.is_unloaded() {
        true => Err(state.unloaded()),
        false => Ok(answer_with(TEXT, "ok\n")),
    }
}

pub(super) fn is_ready(state: &ServiceState) -> bool {
    state.phase.is_serving() && !state.is_unloaded()
}

fn scrape(state: &ServiceState) -> Result<Response<ResponseBody>, RequestError> {
    let text = metrics::render(&state.metrics.registry).map_err(RequestError::Metrics)?;
    Ok(answer_with(EXPOSITION, text))
}
