//! What one worker's requests read: the settings they came under, and the worker's own side of every cluster.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use shared::config::Secret;

use crate::metrics::{Metrics, NONE, RouteMetrics};
use crate::route::RouteTable;
use crate::snapshot::Snapshot;
use crate::upstream::{Cluster, ClusterWorker};

/// What one worker's requests read. It stays on its thread, so nothing in it needs a lock.
pub(crate) struct Worker {
    pub(crate) routes: Arc<RouteTable>,
    /// In the order of the configuration, as routes refer to them.
    pub(crate) clusters: Vec<Rc<ClusterWorker>>,
    pub(crate) metrics: Metrics,
    /// The metrics of requests that no route takes.
    pub(crate) unrouted: RouteMetrics,
    pub(crate) access_log: bool,
    pub(crate) max_body_bytes: u64,
    pub(crate) tunnel_idle_timeout: Duration,
    pub(crate) api_keys: Vec<Secret>,
}

impl Worker {
    /// A worker with these settings. It takes over from `before` what those did not change.
    pub(crate) fn new(settings: &Snapshot, metrics: &Metrics, before: Option<&Self>) -> Self {
        let cluster_worker = |cluster: &Arc<Cluster>| {
            let known = before.into_iter().flat_map(|before| &before.clusters);
            let same =
                |known: &&Rc<ClusterWorker>| Arc::ptr_eq(&known.cluster, cluster) && known.limits == settings.upstream;
            match known.into_iter().find(same) {
                Some(known) => Rc::clone(known),
                None => Rc::new(ClusterWorker::new(Arc::clone(cluster), settings.upstream)),
            }
        };
        Self {
            routes: Arc::clone(&settings.routes),
            clusters: settings.clusters.iter().map(cluster_worker).collect(),
            metrics: metrics.clone(),
            unrouted: metrics.route(NONE, NONE),
            access_log: settings.access_log,
            max_body_bytes: settings.max_body_bytes,
            tunnel_idle_timeout: settings.tunnel_idle_timeout,
            api_keys: settings.api_keys.clone(),
        }
    }
}

/// The worker that new requests get; those in flight keep theirs.
pub(crate) struct CurrentWorker(RefCell<Rc<Worker>>);

impl CurrentWorker {
    pub(crate) fn new(worker: Worker) -> Rc<Self> {
        Rc::new(Self(RefCell::new(Rc::new(worker))))
    }

    pub(crate) fn get(&self) -> Rc<Worker> {
        Rc::clone(&self.0.borrow())
    }

    pub(crate) fn set(&self, worker: Worker) {
        let worker = Rc::new(worker);
        let before = self.0.replace(Rc::clone(&worker));
        // A request that lasts, such as a tunnel, keeps its settings; it must not keep idle connections open.
        let goes_on = |old: &&Rc<ClusterWorker>| worker.clusters.iter().any(|cluster| Rc::ptr_eq(cluster, old));
        before
            .clusters
            .iter()
            .filter(|old| !goes_on(old))
            .for_each(|old| old.retire());
    }
}
