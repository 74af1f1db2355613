//! Settings that change while the gateway runs.
//!
//! ```text
//! files ─► Reloader: read, parse, check ─► Control: build ─► Snapshot ─► workers: new requests; status; metrics
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
use shared::telemetry::logging;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::level_filters::LevelFilter;
use tracing::warn;

use crate::config::{ClusterConfig, Config};
use crate::metrics::Metrics;
use crate::route::RouteTable;
use crate::snapshot::{Adoption, Snapshot};
use crate::upstream::discovery::Discoverer;
use crate::upstream::{Cluster, health_check};

/// How long new settings, and readiness at the start, wait for the endpoints of new clusters. An API
/// server that does not answer makes way for DNS within it.
const FIRST_LOOK: Duration = Duration::from_secs(3);
/// A cluster and the tasks that look after it for as long as a snapshot names it.
struct Tended {
    cluster: Arc<Cluster>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Tended {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Makes snapshots and publishes them.
pub struct Control {
    metrics: Metrics,
    discoverer: Discoverer,
    tended: Vec<Rc<Tended>>,
    level: LevelFilter,
    snapshots: watch::Sender<Arc<Snapshot>>,
    workers: usize,
    adoption: Adoption,
}

impl Control {
    /// The first settings, with everything they need started.
    pub fn start(config: &Config, metrics: &Metrics) -> Result<Self, Box<dyn Error>> {
        let mut discoverer = Discoverer::new(config);
        let tended = tend(config, metrics, &mut discoverer, &[])?;
        Ok(Self {
            metrics: metrics.clone(),
            discoverer,
            level: config.logging.level,
            snapshots: watch::Sender::new(snapshot(0, config, metrics, &tended)),
            tended,
            workers: config.workers,
            adoption: Adoption::default(),
        })
    }

    /// The snapshot that holds, and each one after it.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.subscribe()
    }

    /// Where workers note which snapshot they use.
    pub fn adoption(&self) -> Adoption {
        self.adoption.clone()
    }

    /// Returns when discovery has looked for every cluster, or has taken too long.
    pub async fn found(&self) {
        found(&self.tended).await;
    }

    /// Takes up other settings, whole or not at all. When this returns, all requests that come have them,
    /// but for those of a worker that takes longer than [`ADOPTION`].
    pub async fn apply(&mut self, config: &Config) -> Result<(), Box<dyn Error>> {
        let tended = tend(config, &self.metrics, &mut self.discoverer, &self.tended)?;
        // Requests for a new cluster would fail until there are endpoints; those before it still serve.
        found(&tended).await;
        let version = self.snapshots.borrow().version + 1;
        let snapshot = snapshot(version, config, &self.metrics, &tended);
        self.snapshots.send_replace(snapshot);
        for before in std::mem::replace(&mut self.tended, tended) {
            let cluster = &before.cluster;
            match find(&self.tended, &cluster.config.name) {
                Some(same) if Arc::ptr_eq(&same.cluster, cluster) => {}
                Some(successor) if is_kin(&successor.cluster.config, &cluster.config) => {
                    cluster.hand_over(&successor.cluster);
                }
                Some(_) => {}
                None => self.metrics.forget_cluster(&cluster.config.name),
            }
        }
        if std::mem::replace(&mut self.level, config.logging.level) != self.level {
            logging::set_level(self.level);
        }
        self.adoption.by_all(version, self.workers).await;
        Ok(())
    }
}

fn find<'a>(tended: &'a [Rc<Tended>], name: &str) -> Option<&'a Rc<Tended>> {
    tended.iter().find(|tended| tended.cluster.config.name == name)
}

/// Whether one may begin with the endpoints of the other.
fn is_kin(one: &ClusterConfig, other: &ClusterConfig) -> bool {
    one.name == other.name && one.authority == other.authority
}

async fn found(tended: &[Rc<Tended>]) {
    let all = join_all(tended.iter().map(|tended| tended.cluster.found()));
    if timeout(FIRST_LOOK, all).await.is_err() {
        warn!(
            seconds = FIRST_LOOK.as_secs(),
            "going on without the endpoints of every cluster"
        );
    }
}

/// The clusters of `config`: as they are in `before`, or new. What can fail comes first: what is known of endpoints that
/// are used already is only touched when all of it stands.
fn tend(
    config: &Config,
    metrics: &Metrics,
    discoverer: &mut Discoverer,
    before: &[Rc<Tended>],
) -> Result<Vec<Rc<Tended>>, Box<dyn Error>> {
    let mut clients = Vec::with_capacity(config.clusters.len());
    for config in &config.clusters {
        discoverer.prepare(config)?;
        let check = config.health_check.as_ref();
        clients.push(check.map(|check| http_client::client(check.timeout)).transpose()?);
    }
    let tended = config.clusters.iter().zip(clients).map(|(config, client)| {
        let known = find(before, &config.name);
        if let Some(same) = known.filter(|known| known.cluster.config == *config) {
            return Rc::clone(same);
        }
        let kin = known.filter(|known| is_kin(&known.cluster.config, config));
        let metrics = metrics.cluster(&config.name);
        let cluster = Arc::new(Cluster::after(config.clone(), metrics, kin.map(|kin| &*kin.cluster)));
        let mut tasks = Vec::from_iter(discoverer.follow(&cluster));
        if let (Some(check), Some(client)) = (&config.health_check, client) {
            let checks = health_check::run(Arc::clone(&cluster), check.clone(), client);
            tasks.push(tokio::task::spawn_local(checks));
        }
        Rc::new(Tended { cluster, tasks })
    });
    Ok(tended.collect())
}

fn snapshot(version: u64, config: &Config, metrics: &Metrics, tended: &[Rc<Tended>]) -> Arc<Snapshot> {
    let timeout = config.upstream.request_timeout;
    let routes = RouteTable::new(&config.routes, &config.clusters, timeout, metrics);
    Arc::new(Snapshot {
        version,
        routes: Arc::new(routes),
        clusters: tended.iter().map(|tended| Arc::clone(&tended.cluster)).collect(),
        upstream: config.upstream,
        access_log: config.access_log,
        max_body_bytes: config.max_body_bytes,
        tunnel_idle_timeout: config.tunnel_idle_timeout,
        api_keys: config.api_keys.clone(),
        drain: config.drain,
    })
}
