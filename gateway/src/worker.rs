//! The state that one worker's requests read: the settings they were accepted under, and the worker's side of every cluster.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::metrics::{Metrics, NONE, RouteMetrics};
use crate::route::{Forward, Respond, RouteId, Target};
use crate::snapshot::Snapshot;
use crate::upstream::{Cluster, ClusterWorker};

/// State that one worker's requests read. It stays on its thread, so nothing in it needs a lock.
pub(crate) struct Worker {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) clusters: Vec<Rc<ClusterWorker>>,
    /// For each route of the snapshot's table, the worker's side of the cluster that it forwards to.
    by_route: Vec<Option<Rc<ClusterWorker>>>,
    pub(crate) metrics: Metrics,
    /// The metrics of requests that no route takes.
    pub(crate) unrouted: RouteMetrics,
}

/// Target of a route, with this worker's side of the cluster.
pub(crate) enum WorkerTarget<'a> {
    Forward(&'a Forward, &'a ClusterWorker),
    Respond(&'a Respond),
}

impl Worker {
    /// A worker with these settings. It takes over from `before` what those did not change.
    pub(crate) fn new(snapshot: Arc<Snapshot>, metrics: &Metrics, before: Option<&Self>) -> Self {
        let limits = snapshot.live.upstream;
        let cluster_worker = |cluster: &Arc<Cluster>| {
            let known = before.into_iter().flat_map(|before| &before.clusters);
            let same = |known: &&Rc<ClusterWorker>| Arc::ptr_eq(&known.shared, cluster) && known.limits == limits;
            match known.into_iter().find(same) {
                Some(known) => Rc::clone(known),
                None => Rc::new(ClusterWorker::new(Arc::clone(cluster), limits)),
            }
        };
        let clusters: Vec<Rc<ClusterWorker>> = snapshot.clusters.iter().map(cluster_worker).collect();
        let of_target = |target: &Target| match target {
            Target::Forward(forward) => {
                let own = |worker: &&Rc<ClusterWorker>| Arc::ptr_eq(&worker.shared, &forward.cluster);
                clusters.iter().find(own).map(Rc::clone)
            }
            Target::Respond(_) => None,
        };
        Self {
            by_route: snapshot.routes.iter().map(|route| of_target(&route.target)).collect(),
            clusters,
            metrics: metrics.clone(),
            unrouted: metrics.route(NONE, NONE),
            snapshot,
        }
    }

    pub(crate) fn target(&self, route: RouteId) -> WorkerTarget<'_> {
        match &self.snapshot.routes.get(route).target {
            Target::Forward(forward) => {
                let cluster = self.by_route[route.index()].as_deref();
                WorkerTarget::Forward(forward, cluster.expect("a snapshot has the clusters of its routes"))
            }
            Target::Respond(respond) => WorkerTarget::Respond(respond),
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
