//! The HTTP side: which path means what at which listener, request bodies within their limits, probes.
//!
//! Connections are `shared::serve`'s business, what surrounds every request is the stack's, and what a body
//! means is the protocol's.

pub mod admin;
mod aside;
mod body;
mod open_inference;
mod probes;
mod router;
mod tf_serving;

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use http_body_util::Full;
use shared::lifecycle::PhaseWatch;

pub(crate) use body::ACCEPTED_CODINGS;
pub use body::BodyError;
pub use router::{Route, answer};

use crate::config::{Config, Limits};
use crate::engine::{Engine, LoadedModel};
use crate::error::RequestError;
use crate::metrics::Metrics;
use crate::middleware::X_MODEL_VERSION;
use crate::model::BuiltIn;
use crate::protocol::target::Target;
use crate::repository::{Catalog, Choice, FindError, State as VersionState};
use crate::tensor::Tensor;

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
    engine: Engine,
    /// The model that answers the lab's questions.
    served: String,
    phase: PhaseWatch,
    service_name: String,
    limits: ArcSwap<Limits>,
}

impl State {
    pub fn new(config: &Config, phase: PhaseWatch, metrics: Arc<Metrics>, engine: Engine) -> Self {
        Self {
            metrics,
            model_version: config.model_version.as_str().to_owned(),
            model_label: config.model_version.label(),
            engine,
            served: config.served.clone(),
            phase,
            service_name: config.service_name.clone(),
            limits: ArcSwap::from_pointee(config.limits),
        }
    }

    /// From here on requests have these limits.
    pub fn limit(&self, limits: Limits) {
        self.limits.store(Arc::new(limits));
    }

    /// From here on requests find these models.
    pub fn publish(&self, catalog: Catalog) {
        for loaded in catalog.loaded() {
            self.metrics.loaded(&loaded.model);
        }
        let before = self.engine.publish(catalog);
        let now = self.engine.catalog();
        for gone in before.loaded() {
            let model = &gone.model;
            if !now
                .loaded()
                .any(|loaded| loaded.model.name == model.name && loaded.model.version == model.version)
            {
                self.metrics.unloaded(model);
            }
        }
    }

    /// The models as requests find them now.
    pub fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.engine.catalog())
    }

    pub fn served_name(&self) -> &str {
        &self.served
    }

    /// Whether the lab's questions can be answered.
    pub fn is_loaded(&self) -> bool {
        self.served().is_ok()
    }

    /// Whether the model that the lab's questions are for was unloaded on request.
    fn is_unloaded(&self) -> bool {
        let catalog = self.engine.catalog();
        catalog.model(&self.served).is_ok_and(|served| served.unloaded)
    }

    fn unloaded(&self) -> RequestError {
        let model = self.served.clone();
        RequestError::Unloaded { model }
    }

    /// The model that MODEL_NAME names.
    fn served(&self) -> Result<Arc<LoadedModel>, RequestError> {
        self.latest(&self.served).map_err(|error| match self.is_unloaded() {
            true => self.unloaded(),
            false => error,
        })
    }

    /// The lesson's `features` contract is always answered by this one.
    fn sum(&self) -> Result<Arc<LoadedModel>, RequestError> {
        self.latest(BuiltIn::Sum.name())
    }

    /// The model that a path names.
    fn find(&self, target: &Target) -> Result<Arc<LoadedModel>, RequestError> {
        let catalog = self.engine.catalog();
        let found = catalog.find(&target.model, target.choice());
        found
            .cloned()
            .map_err(|error| match self.is_on_its_way(&catalog, &error) {
                true => RequestError::Loading,
                false => RequestError::Find(error),
            })
    }

    /// Whether what cannot be found is still being loaded.
    fn is_on_its_way(&self, catalog: &Catalog, error: &FindError) -> bool {
        let is_loading = |state: &VersionState| matches!(state, VersionState::Start | VersionState::Loading);
        match error {
            FindError::NotAvailable { state, .. } => is_loading(state),
            FindError::NoneAvailable { model } => {
                let versions = catalog.model(model).map(|servable| servable.versions.as_slice());
                let mut versions = versions.unwrap_or_default().iter();
                versions.any(|version| is_loading(&version.state))
            }
            FindError::NoModel { .. } => self.is_starting(),
            FindError::NoVersion { .. } | FindError::NoLabel { .. } => false,
        }
    }

    /// Whether the models are not known yet.
    fn is_starting(&self) -> bool {
        !self.phase.is_serving() && !self.phase.is_draining()
    }

    async fn run(&self, loaded: &Arc<LoadedModel>, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, RequestError> {
        let limits = self.limits.load().run;
        Ok(self.engine.run(loaded, inputs, limits).await?)
    }

    fn latest(&self, name: &str) -> Result<Arc<LoadedModel>, RequestError> {
        let found = self.engine.catalog().find(name, Choice::Latest).cloned();
        found.map_err(|_not_yet| RequestError::Loading)
    }
}

/// Names the version that has answered.
fn answered_by(loaded: &LoadedModel, mut response: Response<Answer>) -> Response<Answer> {
    // A version is digits and points.
    if let Ok(version) = HeaderValue::from_str(loaded.model.version.as_str()) {
        response.headers_mut().insert(X_MODEL_VERSION, version);
    }
    response
}

/// About how long these are as JSON.
fn written_bytes(outputs: &[Tensor]) -> usize {
    outputs.iter().map(|output| output.data().len() * 8).sum()
}

fn json(body: impl Into<Bytes>) -> Response<Answer> {
    answer_with(JSON, body)
}

fn answer_with(content_type: HeaderValue, body: impl Into<Bytes>) -> Response<Answer> {
    let mut response = Response::new(Answer::new(body.into()));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
