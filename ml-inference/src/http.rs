//! The HTTP side: which path means what, request bodies within their limits, probes.
//!
//! Connections are `shared::serve`'s business, what surrounds every request is the stack's, and what a body
//! means is the protocol's.

mod body;
mod probes;
mod router;

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use http_body_util::Full;
use shared::lifecycle::PhaseWatch;

pub use body::BodyError;
pub use router::{Route, answer};

use crate::config::{Config, Limits};
use crate::engine::Engine;
use crate::error::RequestError;
use crate::metrics::Metrics;

/// Every answer is complete before its first byte leaves.
pub type Answer = Full<Bytes>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What the workers share. All of it only ever changes by atomics.
#[derive(Debug)]
pub struct State {
    pub metrics: Arc<Metrics>,
    /// `1.0`, as headers and log lines name it.
    pub model_version: String,
    /// `v1.0`, as the lesson's answers name it.
    model_label: String,
    engine: OnceLock<Engine>,
    phase: PhaseWatch,
    service_name: String,
    limits: ArcSwap<Limits>,
}

impl State {
    pub fn new(config: &Config, phase: PhaseWatch, metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            model_version: config.model_version.as_str().to_owned(),
            model_label: config.model_version.label(),
            engine: OnceLock::new(),
            phase,
            service_name: config.service_name.clone(),
            limits: ArcSwap::from_pointee(config.limits),
        }
    }

    /// From here on requests have these limits.
    pub fn limit(&self, limits: Limits) {
        self.limits.store(Arc::new(limits));
    }

    /// From here on predictions are answered.
    pub fn publish(&self, engine: Engine) {
        for loaded in [&engine.served, &engine.sum] {
            self.metrics.loaded(&loaded.model);
        }
        // The start publishes once; a second engine has nobody to make it.
        let _already = self.engine.set(engine);
    }

    fn engine(&self) -> Result<&Engine, RequestError> {
        self.engine.get().ok_or(RequestError::Loading)
    }
}

fn json(body: impl Into<Bytes>) -> Response<Answer> {
    answer_with(JSON, body)
}

fn answer_with(content_type: HeaderValue, body: impl Into<Bytes>) -> Response<Answer> {
    let mut response = Response::new(Answer::new(body.into()));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
