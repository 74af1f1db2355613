//! State that all handlers share: the models, the limits, and the phase of the process.

use std::sync::Arc;

use arc_swap::ArcSwap;
use model_runtime::tensor::Tensor;
use shared::lifecycle::PhaseWatch;

use super::error::RequestError;
use crate::catalog::{Catalog, Choice, FindError, Published, VersionState};
use crate::config::{Config, Limits};
use crate::engine::{Engine, LoadedModel, Ran};
use crate::metrics::Metrics;
use crate::model::BuiltIn;
use crate::protocol::model_ref::ModelRef;

/// State that the workers share. It changes by atomics only.
#[derive(Debug)]
pub struct ServiceState {
    pub metrics: Arc<Metrics>,
    /// `1.0`, as headers and log lines name it.
    pub model_version: String,
    pub(super) catalog: Arc<Published>,
    engine: Engine,
    /// Name of the model that answers the lab's protocol.
    served: String,
    pub(super) phase: PhaseWatch,
    pub(super) service_name: String,
    pub(super) limits: ArcSwap<Limits>,
}

impl ServiceState {
    pub fn new(
        config: &Config,
        phase: PhaseWatch,
        metrics: Arc<Metrics>,
        catalog: Arc<Published>,
        engine: Engine,
    ) -> Self {
        Self {
            metrics,
            model_version: config.model_version.as_str().to_owned(),
            catalog,
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

    pub fn served_name(&self) -> &str {
        &self.served
    }

    /// True if the model that MODEL_NAME names is loaded.
    pub fn is_loaded(&self) -> bool {
        self.served().is_ok()
    }

    /// The model that MODEL_NAME names, or why it answers nothing.
    pub(super) fn served(&self) -> Result<Arc<LoadedModel>, RequestError> {
        let catalog = self.catalog.load();
        let found = catalog.find(&self.served, Choice::Latest).cloned();
        found.map_err(|error| {
            let model = || self.served.clone();
            if catalog.model(&self.served).is_ok_and(|served| served.unloaded) {
                RequestError::Unloaded { model: model() }
            } else if is_on_its_way(&catalog, &error) {
                RequestError::Loading
            } else {
                RequestError::NotServed(error)
            }
        })
    }

    /// The lesson's `features` contract is always answered by this one.
    pub(super) fn sum(&self) -> Result<Arc<LoadedModel>, RequestError> {
        let found = self.catalog.load().find(BuiltIn::Sum.name(), Choice::Latest).cloned();
        found.map_err(|_not_yet| RequestError::Loading)
    }

    /// The model that a path names.
    pub(super) fn find(&self, model: &ModelRef) -> Result<Arc<LoadedModel>, RequestError> {
        let catalog = self.catalog.load();
        let found = catalog.find(&model.model, model.choice());
        found.cloned().map_err(|error| match is_on_its_way(&catalog, &error) {
            true => RequestError::Loading,
            false => RequestError::Find(error),
        })
    }

    pub(super) async fn run(&self, loaded: &Arc<LoadedModel>, inputs: Vec<Tensor>) -> Result<Ran, RequestError> {
        let limits = self.limits.load().run;
        Ok(self.engine.run(loaded, inputs, limits).await?)
    }
}

/// True if the missing version is still being loaded.
fn is_on_its_way(catalog: &Catalog, error: &FindError) -> bool {
    let is_loading = |state: &VersionState| matches!(state, VersionState::Start | VersionState::Loading);
    match error {
        FindError::NotAvailable { state, .. } => is_loading(state),
        FindError::NoneAvailable { model, .. } => {
            let versions = catalog.model(model).map(|servable| servable.versions.as_slice());
            let mut versions = versions.unwrap_or_default().iter();
            versions.any(|version| is_loading(&version.state))
        }
        FindError::NoModel { .. } => is_starting(catalog),
        FindError::NoVersion { .. } | FindError::NoLabel { .. } => false,
    }
}

/// True until the first scan has ended. Before the built-in models are published there is nothing at all.
pub(super) fn is_starting(catalog: &Catalog) -> bool {
    catalog.is_scanning || catalog.models.is_empty()
}
