//! The one writer of the catalog that requests read, and of the metric that says what is loaded.

use std::sync::Arc;

use crate::catalog::{Catalog, Published};
use crate::metrics::Metrics;

#[derive(Debug, Clone)]
pub struct Publisher {
    published: Arc<Published>,
    metrics: Arc<Metrics>,
}

impl Publisher {
    pub fn new(published: Arc<Published>, metrics: Arc<Metrics>) -> Self {
        Self { published, metrics }
    }

    /// From here on requests find these models.
    pub fn publish(&self, catalog: Catalog) {
        for loaded in catalog.loaded() {
            self.metrics.loaded(&loaded.model);
        }
        let before = self.published.publish(catalog);
        let now = self.published.load();
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
}
