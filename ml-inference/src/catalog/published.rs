//! The catalog that requests find now: published by one thread, read by all.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::snapshot::Catalog;

/// The current catalog; empty at first.
#[derive(Debug, Default)]
pub struct Published(ArcSwap<Catalog>);

impl Published {
    /// The models there are now. What is found in it may be run as long as it is held.
    pub fn load(&self) -> Guard<Arc<Catalog>> {
        self.0.load()
    }

    /// From here on requests find these models. Gives back those before.
    pub fn publish(&self, catalog: Catalog) -> Arc<Catalog> {
        self.0.swap(Arc::new(catalog))
    }
}
