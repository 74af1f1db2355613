//! Upstreams: a cluster is a named service, an endpoint one address of it.
//!
//! ```text
//! Cluster (shared)        name, the current endpoint set, published whole by discovery
//!   └─ Endpoint (shared)  address, how it did lately
//! ClusterWorker           one worker's view: its balancer's cursor and its pool of connections
//! ```

pub mod balancer;
mod connect;
pub mod discovery;
mod endpoint;
mod pool;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::info;

pub use endpoint::Endpoint;
pub use pool::Lease;
use pool::Pool;

use crate::config::{ClusterConfig, UpstreamConfig};
use crate::error::ProxyError;
use crate::metrics::ClusterMetrics;

/// The endpoints of a cluster at one moment.
#[derive(Debug, Default)]
pub struct EndpointSet {
    /// Grows with every change, so that a worker notices one with a comparison.
    pub version: u64,
    pub endpoints: Vec<Arc<Endpoint>>,
}

#[derive(Debug)]
pub struct Cluster {
    pub config: ClusterConfig,
    pub metrics: ClusterMetrics,
    set: ArcSwap<EndpointSet>,
    /// Asks discovery to look again soon: something did not answer.
    pub look_again: Notify,
}

impl Cluster {
    pub fn new(config: ClusterConfig, metrics: ClusterMetrics) -> Self {
        let cluster = Self {
            config,
            metrics,
            set: ArcSwap::default(),
            look_again: Notify::new(),
        };
        if let Some(endpoints) = &cluster.config.endpoints {
            cluster.publish(endpoints);
        }
        cluster
    }

    pub fn endpoints(&self) -> Arc<EndpointSet> {
        self.set.load_full()
    }

    /// Replaces the endpoint set, when `addresses` differ from the current ones. An address that stays
    /// keeps its endpoint and what is known of it. Only the cluster's discovery calls this.
    pub fn publish(&self, addresses: &[SocketAddr]) {
        let current = self.set.load_full();
        let mut addresses = addresses.to_vec();
        addresses.sort_unstable();
        addresses.dedup();
        if current
            .endpoints
            .iter()
            .map(|endpoint| endpoint.address)
            .eq(addresses.iter().copied())
        {
            return;
        }
        let known = |address: &SocketAddr| current.endpoints.iter().find(|endpoint| endpoint.address == *address);
        let endpoints: Vec<Arc<Endpoint>> = addresses
            .iter()
            .map(|address| known(address).map_or_else(|| Arc::new(Endpoint::new(*address)), Arc::clone))
            .collect();
        let list: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        info!(cluster = %self.config.name, endpoints = list.join(" "), "endpoints changed");
        self.metrics.endpoints.set(endpoints.len() as i64);
        let version = current.version + 1;
        self.set.store(Arc::new(EndpointSet { version, endpoints }));
    }
}

/// One worker's side of a cluster.
pub struct ClusterWorker {
    pub cluster: Arc<Cluster>,
    pool: Rc<Pool>,
    cursor: Cell<usize>,
    pub limits: UpstreamConfig,
}

enum Choice {
    Pooled(Lease),
    Open(Arc<Endpoint>),
}

/// How one request has fared so far in getting a connection.
#[derive(Debug)]
pub struct Attempts {
    /// Endpoints not to try again while there are others.
    pub avoid: Vec<SocketAddr>,
    /// Whether a pooled connection will do: after one broke, the next is opened anew.
    pub fresh: bool,
    deadline: Instant,
    refused: usize,
}

impl Attempts {
    pub fn new(connect_timeout: Duration) -> Self {
        Self {
            avoid: Vec::new(),
            fresh: false,
            deadline: Instant::now() + connect_timeout,
            refused: 0,
        }
    }
}

impl ClusterWorker {
    pub fn new(cluster: Arc<Cluster>, limits: UpstreamConfig) -> Self {
        Self {
            pool: Rc::new(Pool::new(&cluster, limits)),
            cursor: Cell::new(fastrand::usize(..)),
            cluster,
            limits,
        }
    }

    /// A connection to one of the endpoints, from the pool or new.
    ///
    /// Nothing of a request is written before this returns, so failing to connect is retried for every
    /// method: at once on another endpoint, until each was tried, and after a timeout for as long as the
    /// connect timeout allows.
    pub async fn connection(&self, attempts: &mut Attempts) -> Result<Lease, ProxyError> {
        loop {
            let endpoint = match self.choose(attempts)? {
                Choice::Pooled(lease) => return Ok(lease),
                Choice::Open(endpoint) => endpoint,
            };
            // Few requests open a connection; the others need not carry the room for it in their futures.
            match Box::pin(self.open(&endpoint, attempts)).await {
                Ok(lease) => return Ok(lease),
                Err(failure) if self.all_tried(attempts) => return Err(failure),
                Err(_failure) => {}
            }
        }
    }

    /// The endpoint whose turn it is, with an idle connection where there is one.
    fn choose(&self, attempts: &Attempts) -> Result<Choice, ProxyError> {
        let set = self.cluster.set.load();
        self.pool.follow(&set);
        let endpoint = balancer::pick(&set.endpoints, &self.cursor, &attempts.avoid).ok_or(ProxyError::NoEndpoint)?;
        if !attempts.fresh {
            // Where a new connection just failed, one that is already there is better than another try.
            let spread = set.endpoints.len() == 1 && attempts.avoid.is_empty();
            if let Some(lease) = self.pool.checkout(endpoint, spread, Instant::now()) {
                return Ok(Choice::Pooled(lease));
            }
        }
        Ok(Choice::Open(Arc::clone(endpoint)))
    }

    async fn open(&self, endpoint: &Arc<Endpoint>, attempts: &mut Attempts) -> Result<Lease, ProxyError> {
        let left = attempts.deadline.saturating_duration_since(Instant::now());
        let patience = self.limits.connect_attempt_timeout.min(left);
        let failure = match connect::connect(endpoint.address, patience, self.limits.max_header_bytes).await {
            Ok(opened) => {
                endpoint.note_success();
                return Ok(self.pool.lease(endpoint, opened));
            }
            Err(failure) => failure,
        };
        self.cluster.metrics.connect_failures.inc();
        endpoint.note_failure();
        self.cluster.look_again.notify_one();
        attempts.avoid.push(endpoint.address);
        if !matches!(failure, ProxyError::ConnectTimeout) {
            attempts.refused += 1;
        }
        Err(failure)
    }

    /// Whether there is no sense in trying on: refusals come at once and would come again.
    fn all_tried(&self, attempts: &Attempts) -> bool {
        let endpoints = self.cluster.set.load().endpoints.len();
        attempts.refused >= endpoints.max(self.limits.max_attempts) || Instant::now() >= attempts.deadline
    }

    /// Closes connections that idled for too long; called now and then.
    pub fn sweep(&self) {
        self.pool.follow(&self.cluster.endpoints());
        self.pool.sweep();
    }
}
