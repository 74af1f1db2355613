//! Settings that change while the gateway runs.
//!
//! ```text
//! files ─► Reloader: read, parse, check ─► SnapshotPublisher: build ─► Snapshot ─► workers: new requests; status; metrics
//!                     └─ refused: one log line, a metric, /status.json; the snapshot before stays
//! ```
//!
//! A snapshot is published whole. A request keeps the one it began with to the end of its answer. A cluster whose
//! settings stayed is the same object in both, with its endpoints, its connections and what is known of them; one whose
//! settings changed begins with the endpoints of the one before.

use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use shared::http_client;
use shared::lifecycle::DrainTimes;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::warn;

use crate::config::{ClusterConfig, Config};
use crate::metrics::Metrics;
use crate::route::RouteTable;
use crate::snapshot::{Snapshot, WorkerAcks};
use crate::upstream::discovery::Discoverer;
use crate::upstream::{Cluster, health_check};

/// Longest wait of new settings, and of readiness at the start, for the endpoints of new clusters. An API server that does
/// not answer makes way for DNS within it.
const FIRST_DISCOVERY: Duration = Duration::from_secs(3);

/// A cluster and the tasks that look after it for as long as a snapshot names it.
struct ManagedCluster {
    cluster: Arc<Cluster>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for ManagedCluster {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Makes snapshots of settings and publishes them.
pub struct SnapshotPublisher {
    metrics: Metrics,
    discoverer: Discoverer,
    managed: Vec<Rc<ManagedCluster>>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    drain_times: watch::Sender<DrainTimes>,
    workers: usize,
    acks: WorkerAcks,
}

impl SnapshotPublisher {
    /// Publishes the first settings, with everything they need started.
    pub fn start(config: &Config, metrics: &Metrics) -> Result<Self, Box<dyn Error>> {
        let mut discoverer = Discoverer::new(config);
        let managed = build_clusters(config, metrics, &mut discoverer, &[])?;
        Ok(Self {
            metrics: metrics.clone(),
            discoverer,
            snapshots: watch::Sender::new(snapshot(0, config, metrics, &managed)),
            drain_times: watch::Sender::new(config.service.drain),
            managed,
            workers: config.workers,
            acks: WorkerAcks::default(),
        })
    }

    /// The snapshot that applies now, and each one after it.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.subscribe()
    }

    /// The drain times that apply now.
    pub fn drain_times(&self) -> watch::Receiver<DrainTimes> {
        self.drain_times.subscribe()
    }

    /// Acknowledgements of the workers that have applied a snapshot.
    pub fn acks(&self) -> WorkerAcks {
        self.acks.clone()
    }

    /// Returns when discovery has had an answer for every cluster, or has taken too long.
    pub async fn first_discovery(&self) {
        first_discovery(&self.managed).await;
    }

    /// Applies other settings, whole or not at all. When this returns, all requests that are accepted have them, but for
    /// those of a worker that takes longer than [`WorkerAcks::by_all_workers`] waits.
    pub async fn apply(&mut self, config: &Config) -> Result<(), Box<dyn Error>> {
        let managed = build_clusters(config, &self.metrics, &mut self.discoverer, &self.managed)?;
        // Requests for a new cluster would fail until there are endpoints; the clusters before it still serve.
        first_discovery(&managed).await;
        let version = self.snapshots.borrow().version + 1;
        let snapshot = snapshot(version, config, &self.metrics, &managed);
        self.snapshots.send_replace(snapshot);
        self.drain_times.send_replace(config.service.drain);
        for before in std::mem::replace(&mut self.managed, managed) {
            let cluster = &before.cluster;
            match find(&self.managed, &cluster.config.name) {
                Some(same) if Arc::ptr_eq(&same.cluster, cluster) => {}
                Some(successor) if can_inherit_endpoints(&successor.cluster.config, &cluster.config) => {
                    cluster.hand_over(&successor.cluster);
                }
                Some(_) => {}
                None => self.metrics.forget_cluster(&cluster.config.name),
            }
        }
        self.acks.by_all_workers(version, self.workers).await;
        Ok(())
    }
}

fn find<'a>(managed: &'a [Rc<ManagedCluster>], name: &str) -> Option<&'a Rc<ManagedCluster>> {
    managed.iter().find(|managed| managed.cluster.config.name == name)
}

/// Tells whether a cluster with the settings `one` may begin with the endpoints of `other`.
fn can_inherit_endpoints(one: &ClusterConfig, other: &ClusterConfig) -> bool {
    one.name == other.name && one.authority == other.authority
}

async fn first_discovery(managed: &[Rc<ManagedCluster>]) {
    let all = join_all(managed.iter().map(|managed| managed.cluster.resolved()));
    if timeout(FIRST_DISCOVERY, all).await.is_err() {
        warn!(
            seconds = FIRST_DISCOVERY.as_secs(),
            "starting before all clusters resolved"
        );
    }
}

/// The clusters of `config`: as they are in `before`, or new. What can fail comes first: what is known of endpoints that
/// are used already is only touched when the whole change is valid.
fn build_clusters(
    config: &Config,
    metrics: &Metrics,
    discoverer: &mut Discoverer,
    before: &[Rc<ManagedCluster>],
) -> Result<Vec<Rc<ManagedCluster>>, Box<dyn Error>> {
    let mut prepared = Vec::with_capacity(config.clusters.len());
    for config in &config.clusters {
        let discovery = discoverer.prepare(&config.discovery)?;
        let check = config.health_check.as_ref();
        let client = check.map(|check| http_client::client(check.timeout)).transpose()?;
        prepared.push((discovery, client));
    }
    let managed = config
        .clusters
        .iter()
        .zip(prepared)
        .map(|(config, (discovery, client))| {
            let known = find(before, &config.name);
            if let Some(same) = known.filter(|known| known.cluster.config == *config) {
                return Rc::clone(same);
            }
            let ancestor = known.filter(|known| can_inherit_endpoints(&known.cluster.config, config));
            let ancestor = ancestor.map(|ancestor| &*ancestor.cluster);
            let metrics = metrics.cluster(&config.name);
            let cluster = Arc::new(Cluster::after(config.clone(), metrics, ancestor));
            let mut tasks = Vec::from_iter(discovery.map(|follow| follow(Arc::clone(&cluster))));
            if let (Some(check), Some(client)) = (&config.health_check, client) {
                let checks = health_check::run(Arc::clone(&cluster), check.clone(), client);
                tasks.push(tokio::task::spawn_local(checks));
            }
            Rc::new(ManagedCluster { cluster, tasks })
        });
    Ok(managed.collect())
}

fn snapshot(version: u64, config: &Config, metrics: &Metrics, managed: &[Rc<ManagedCluster>]) -> Arc<Snapshot> {
    let clusters: Vec<Arc<Cluster>> = managed.iter().map(|managed| Arc::clone(&managed.cluster)).collect();
    let timeout = config.live.upstream.request_timeout;
    Arc::new(Snapshot {
        version,
        live: config.live.clone(),
        routes: RouteTable::new(&config.routes, &clusters, timeout, metrics),
        clusters,
    })
}
