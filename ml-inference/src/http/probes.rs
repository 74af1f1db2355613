//! Probes of orchestrators and scrapers: health, liveness, readiness, metrics.

use http::Response;
use jiff::Timestamp;
use serde::Serialize;
use shared::admin::{live, scrape};

use super::error::RequestError;
use super::path::Probe;
use super::response::{ResponseBody, json};
use super::state::ServiceState;

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
        Probe::Livez => Ok(live()),
        Probe::Readyz => readiness(state).map(|()| live()),
        Probe::Metrics => Ok(scrape(&state.metrics.registry)),
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

/// The reason for which the service wants no requests, if there is one. Once it has been ready, that is the reason for which
/// `/predict` would not be answered.
pub(super) fn readiness(state: &ServiceState) -> Result<(), RequestError> {
    if state.phase.is_draining() {
        return Err(RequestError::Draining);
    }
    let served = state.served().map(|_answers| ());
    if !state.phase.is_serving() {
        // The model may be there and others not tried yet.
        return served.and(Err(RequestError::Loading));
    }
    served
}
