//! Upstreams: a cluster is a named service, an endpoint one address of it.
//!
//! ```text
//! Cluster (shared)        name, the current endpoint set, published whole by discovery; the queue for a free place
//!   └─ Endpoint (shared)  address, load, how it did lately
//! ClusterWorker           one worker's view: its balancer, its pool of connections, its retry budget
//!   └─ InFlight           one request at an endpoint, from the choice to the end of the answer
//!        └─ Lease         … with the connection that carries it
//! ```

mod added;
pub mod balancer;
mod connect;
mod connection;
pub mod discovery;
mod endpoint;
mod error;
pub mod health_check;
mod http1;
mod http2;
mod lease;
pub mod moment;
mod pool;
pub mod queue;
pub mod retry_budget;
mod trailers;

use std::cell::Cell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::info;

pub use added::Added;
pub use endpoint::{EjectionConfig, Endpoint, Outcome};
pub use error::UpstreamError;
pub use http1::{Unsent, keep_spare};
pub use http2::Limits as Http2Limits;
pub use lease::{InFlight, Lease, Seen, Upgraded};

use balancer::{Balancer, Pick};
use connection::Connection;
use discovery::Tier;
use http2::{NoSession, Session};
use lease::Carrier;
use moment::Moment;
use pool::{Counted, Pool};
use queue::{Pace, Queue};
use retry_budget::RetryBudget;

use crate::config::{ClusterConfig, Discovery, Protocol, UpstreamConfig};
use crate::error::ProxyError;
use crate::metrics::ClusterMetrics;

/// A forecast of the wait for a free place looks at this many endpoints.
const SAMPLED_ENDPOINTS: usize = 16;

/// The endpoints of a cluster at one moment.
#[derive(Debug, Default)]
pub struct EndpointSet {
    /// Grows with every change, so that a worker notices one with a comparison.
    pub version: u64,
    pub endpoints: Vec<Arc<Endpoint>>,
    /// The largest weight among them.
    pub heaviest: u32,
}

impl EndpointSet {
    pub fn new(version: u64, endpoints: Vec<Arc<Endpoint>>) -> Self {
        let heaviest = endpoints.iter().map(|endpoint| endpoint.weight()).max().unwrap_or(1);
        Self {
            version,
            endpoints,
            heaviest,
        }
    }

    /// Whether a request could have a place at one of the endpoints, or learns that there is none.
    fn has_place(&self, limit: u32, now: Moment) -> bool {
        let mut admitted = self.endpoints.iter().filter(|endpoint| endpoint.admits(now)).peekable();
        let is_free = |endpoint: &Arc<Endpoint>| endpoint.load().in_flight() < limit;
        match admitted.peek() {
            Some(_) => admitted.any(is_free),
            None => self.endpoints.is_empty() || self.endpoints.iter().any(is_free),
        }
    }

    /// What a new endpoint is expected to take, in nanoseconds: as long as the middle one of those that are there, or of
    /// all but one.
    fn median_latency(&self, except: Option<SocketAddr>, now: Moment) -> u64 {
        let others = self
            .endpoints
            .iter()
            .filter(|endpoint| Some(endpoint.address) != except);
        let mut latencies: Vec<u64> = others.map(|endpoint| endpoint.load().latency(now)).collect();
        latencies.sort_unstable();
        latencies.get(latencies.len() / 2).copied().unwrap_or(0)
    }
}

#[derive(Debug)]
pub struct Cluster {
    pub config: ClusterConfig,
    pub metrics: ClusterMetrics,
    set: ArcSwap<EndpointSet>,
    /// The version of `set`, to be compared without touching it.
    version: AtomicU64,
    /// The [`Tier`] that the set comes from.
    tier: AtomicU8,
    /// Asks discovery to look again soon: something did not answer.
    pub look_again: Notify,
    /// One for all clusters that follow each other under a name: a place that becomes free is one for whoever waits longest.
    pub queue: Arc<Queue>,
    /// The cluster that the settings have now in the place of this one.
    successor: OnceLock<Arc<Cluster>>,
    /// Whether discovery has looked, and woken when it has.
    has_looked: AtomicBool,
    looked: Notify,
}

impl Cluster {
    pub fn new(config: ClusterConfig, metrics: ClusterMetrics) -> Self {
        Self::after(config, metrics, None)
    }

    /// A cluster in the place of `before`, which has the same name and other settings: it begins with the endpoints known
    /// there and with what is known of them.
    pub fn after(config: ClusterConfig, metrics: ClusterMetrics, before: Option<&Self>) -> Self {
        let tier = match (&config.endpoints, &config.discovery) {
            (Some(_), _) => Tier::Fixed,
            (None, Discovery::Dns) => Tier::Dns,
            (None, Discovery::Kubernetes(_)) => Tier::Kubernetes,
        };
        let cluster = Self {
            queue: match before {
                Some(before) => Arc::clone(&before.queue),
                None => Arc::new(Queue::new(config.max_queue)),
            },
            successor: OnceLock::new(),
            has_looked: AtomicBool::new(false),
            looked: Notify::new(),
            config,
            metrics,
            set: ArcSwap::default(),
            version: AtomicU64::new(0),
            tier: AtomicU8::default(),
            look_again: Notify::new(),
        };
        cluster.enter(tier);
        if let Some(before) = before {
            let set = before.endpoints();
            if cluster.config.health_check.is_none() {
                // Nobody would find out that it is well again.
                let now = Moment::now();
                for endpoint in &set.endpoints {
                    endpoint.set_healthy(true, now);
                }
            }
            cluster.version.store(set.version, Ordering::Release);
            cluster.set.store(set);
        }
        if let Some(endpoints) = &cluster.config.endpoints {
            let weights = endpoints.iter().copied().collect();
            let addresses: Vec<SocketAddr> = endpoints.iter().map(|(address, _)| *address).collect();
            cluster.publish_weighted(&addresses, &weights);
        }
        cluster
    }

    pub fn endpoints(&self) -> Arc<EndpointSet> {
        self.set.load_full()
    }

    /// The cluster that holds in the place of this one, or this one. Requests that came before a change of settings and
    /// still look for a place find it by the limits and among the endpoints of now.
    pub fn latest(&self) -> &Self {
        let mut latest = self;
        while let Some(successor) = latest.successor.get() {
            latest = successor;
        }
        latest
    }

    /// Hands over to `successor`, which was made [`Cluster::after`] this one.
    pub fn hand_over(&self, successor: &Arc<Self>) {
        // A cluster is replaced once.
        let _only = self.successor.set(Arc::clone(successor));
        successor.queue.set_limit(successor.config.max_queue);
        successor.queue.freed();
    }

    /// Notes that discovery has an answer, be it that there is nothing.
    pub fn note_looked(&self) {
        if !self.has_looked.swap(true, Ordering::AcqRel) {
            self.looked.notify_waiters();
        }
    }

    /// Returns when there are endpoints, or discovery knows that there are none.
    pub async fn found(&self) {
        let mut looked = std::pin::pin!(self.looked.notified());
        looked.as_mut().enable();
        if !self.has_looked.load(Ordering::Acquire) && self.endpoints().endpoints.is_empty() {
            looked.await;
        }
    }

    /// Where the endpoints come from now.
    pub fn tier(&self) -> Tier {
        Tier::from_u8(self.tier.load(Ordering::Relaxed))
    }

    /// Notes that the next set comes from `tier`. Only the cluster's discovery calls this.
    pub fn enter(&self, tier: Tier) {
        self.tier.store(tier as u8, Ordering::Relaxed);
        self.metrics.set_discovery(tier);
    }

    /// Replaces the endpoint set, when `addresses` differ from the current ones. An address that stays
    /// keeps its endpoint and what is known of it. Only the cluster's discovery calls this.
    pub fn publish(&self, addresses: &[SocketAddr]) {
        self.publish_weighted(addresses, &HashMap::new());
        self.note_looked();
    }

    fn publish_weighted(&self, addresses: &[SocketAddr], weights: &HashMap<SocketAddr, u32>) {
        let current = self.set.load_full();
        let mut addresses = addresses.to_vec();
        addresses.sort_unstable();
        addresses.dedup();
        let weight = |address: &SocketAddr| weights.get(address).copied().unwrap_or(1);
        let known = current.endpoints.iter().map(|known| (known.address, known.weight()));
        if known.eq(addresses.iter().map(|address| (*address, weight(address)))) {
            return;
        }
        let now = Moment::now();
        let latency = current.median_latency(None, now);
        let known: HashMap<SocketAddr, &Arc<Endpoint>> = current
            .endpoints
            .iter()
            .map(|endpoint| (endpoint.address, endpoint))
            .collect();
        let endpoint = |address: &SocketAddr| match known.get(address) {
            Some(endpoint) => {
                endpoint.set_weight(weight(address));
                Arc::clone(endpoint)
            }
            None => Arc::new(Endpoint::new(*address, weight(address), latency, now)),
        };
        let endpoints: Vec<Arc<Endpoint>> = addresses.iter().map(endpoint).collect();
        let list: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        info!(cluster = %self.config.name, endpoints = list.join(" "), "endpoints changed");
        self.metrics.endpoints.set(endpoints.len() as i64);
        let version = current.version + 1;
        self.set.store(Arc::new(EndpointSet::new(version, endpoints)));
        self.version.store(version, Ordering::Release);
        self.queue.freed();
    }

    /// Judges the success rate of every endpoint; called once a second.
    pub fn judge(&self) {
        let now = Moment::now();
        for endpoint in &self.endpoints().endpoints {
            endpoint.judge_rate(&self.config.ejection, now);
        }
    }

    /// How fast places become free.
    fn pace(&self) -> Pace {
        let (set, now) = (self.set.load(), Moment::now());
        let sampled = set.endpoints.iter().take(SAMPLED_ENDPOINTS);
        let total: u64 = sampled.clone().map(|endpoint| endpoint.load().latency(now)).sum();
        Pace {
            places: set.endpoints.len() as u64 * u64::from(self.config.max_concurrency),
            each: Duration::from_nanos(total / (sampled.count() as u64).max(1)),
        }
    }
}

/// One worker's side of a cluster.
pub struct ClusterWorker {
    pub cluster: Arc<Cluster>,
    pool: Pool,
    balancer: Balancer,
    pub retry_budget: RetryBudget,
    pub limits: UpstreamConfig,
}

/// How one request has fared so far in getting a connection.
#[derive(Debug)]
pub struct Attempts {
    /// The time, while it is still the time: nearly every request asks for it once.
    now: Cell<Option<Instant>>,
    /// Endpoints not to try again while there are others.
    pub tried: Vec<SocketAddr>,
    /// Whether a pooled connection will do: after one broke, the next is opened anew.
    pub fresh: bool,
    /// No connection is waited for longer than this.
    connect_by: Instant,
    /// No free place is waited for longer than this.
    wait_until: Instant,
    refused: usize,
}

impl Attempts {
    pub fn new(now: Instant, connect_by: Instant, wait_until: Instant) -> Self {
        Self {
            now: Cell::new(Some(now)),
            tried: Vec::new(),
            fresh: false,
            connect_by,
            wait_until,
            refused: 0,
        }
    }
}

impl ClusterWorker {
    pub fn new(cluster: Arc<Cluster>, limits: UpstreamConfig) -> Self {
        let config = &cluster.config;
        Self {
            pool: Pool::new(Arc::clone(&cluster), limits),
            balancer: Balancer::new(config.balancer, config.slow_start, fastrand::usize(..=usize::MAX / 2)),
            retry_budget: RetryBudget::new(config.retry_budget),
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
            let in_flight = match self.choose(attempts)? {
                Some(in_flight) => in_flight,
                // Few requests wait or open a connection; the others need not carry the room for it.
                None => Box::pin(self.wait_for_place(attempts)).await?,
            };
            let now = in_flight.began();
            let (carrier, reused) = match self.cluster.config.protocol {
                Protocol::Http1 => (self.pooled(&in_flight, attempts), true),
                // Not called reused: who closes a connection of HTTP/2 in order says so before.
                Protocol::H2c => (self.shared(&in_flight, attempts), false),
            };
            if let Some(carrier) = carrier {
                return Ok(Lease::new(in_flight, carrier, reused, now));
            }
            match Box::pin(self.open(in_flight, attempts)).await {
                Ok(lease) => return Ok(lease),
                Err(failure) if self.all_tried(attempts) => return Err(failure),
                Err(_failure) => {}
            }
        }
    }

    /// Whether another endpoint than those tried could take the request, or another connection could reach one:
    /// behind a Service's only address there may be several pods.
    pub fn has_other_than(&self, tried: SocketAddr) -> bool {
        let set = self.cluster.set.load();
        set.endpoints.iter().any(|endpoint| endpoint.address != tried) || self.is_behind_one_address()
    }

    /// Whether DNS knows the cluster by one address: most likely a Service's own.
    pub fn is_behind_one_address(&self) -> bool {
        self.cluster.tier() == Tier::Dns && self.cluster.set.load().endpoints.len() == 1
    }

    /// An endpoint with a free place; `None` when all are taken or others wait for one already.
    fn choose(&self, attempts: &Attempts) -> Result<Option<InFlight>, ProxyError> {
        match self.cluster.queue.is_empty() {
            true => self.pick(attempts),
            false => Ok(None),
        }
    }

    fn pick(&self, attempts: &Attempts) -> Result<Option<InFlight>, ProxyError> {
        let cluster = self.cluster.latest();
        if self.pool.view().set.version != cluster.version.load(Ordering::Acquire) {
            self.pool.follow(cluster.endpoints());
        }
        let view = self.pool.view();
        let now = attempts.now.take().unwrap_or_else(Instant::now);
        // One limit for the choice and for taking the place: with two, what the one allows the other might refuse for ever.
        let limit = cluster.config.max_concurrency;
        loop {
            let place = match self.balancer.pick(&view.set, &attempts.tried, limit, Moment::from(now)) {
                Pick::Endpoint(place) => place,
                Pick::Full => return Ok(None),
                Pick::Nothing => return Err(ProxyError::NoEndpoint),
            };
            // Another worker may have taken the last place since it was looked at.
            if let Some(in_flight) = InFlight::begin(&view.shelves[place], limit, now) {
                return Ok(Some(in_flight));
            }
        }
    }

    async fn wait_for_place(&self, attempts: &Attempts) -> Result<InFlight, ProxyError> {
        let take = || self.pick(attempts).transpose();
        let more = || {
            let cluster = self.cluster.latest();
            let limit = cluster.config.max_concurrency;
            cluster.set.load().has_place(limit, Moment::now())
        };
        let pace = self.cluster.latest().pace();
        self.cluster.queue.wait(pace, attempts.wait_until, take, more).await?
    }

    fn pooled(&self, in_flight: &InFlight, attempts: &Attempts) -> Option<Carrier> {
        if attempts.fresh {
            return None;
        }
        let connection = in_flight.shelf().checkout(self.spreads(attempts), in_flight.began())?;
        Some(Carrier::Http1(connection))
    }

    /// Not inlined into the path of a request, which is HTTP/1.1's for most.
    #[inline(never)]
    fn shared(&self, in_flight: &InFlight, attempts: &Attempts) -> Option<Carrier> {
        let (shelf, now) = (in_flight.shelf(), in_flight.began());
        let session = shelf.session(self.spreads(attempts), attempts.fresh, now)?;
        Some(Carrier::over(&session, now))
    }

    /// Whether several connections are wanted to one address, because each may lead to another pod.
    fn spreads(&self, attempts: &Attempts) -> bool {
        let lone = self.pool.view().set.endpoints.len() == 1 && self.cluster.tier() != Tier::Kubernetes;
        // Where a new connection just failed, one that is already there is better than another try.
        lone && attempts.tried.is_empty()
    }

    async fn open(&self, in_flight: InFlight, attempts: &mut Attempts) -> Result<Lease, ProxyError> {
        let address = in_flight.endpoint().address;
        let left = attempts.connect_by.saturating_duration_since(Instant::now());
        let patience = self.limits.connect_attempt_timeout.min(left);
        let opened = match self.cluster.config.protocol {
            Protocol::Http1 => connect::connect(address, patience, self.limits.max_header_bytes)
                .await
                .map(|http| Counted::new(Connection::new(http, Instant::now()), in_flight.shelf()))
                .map(Carrier::Http1)
                .map_err(NoSession::Own),
            Protocol::H2c => self
                .open_session(&in_flight, patience)
                .await
                .map(|session| Carrier::over(&session, Instant::now())),
        };
        let now = Instant::now();
        let failure = match opened {
            Ok(carrier) => return Ok(Lease::new(in_flight, carrier, false, now)),
            Err(NoSession::Others(failure)) => failure,
            Err(NoSession::Own(failure)) => {
                self.cluster.metrics.connect_failures.inc();
                let ejection = &self.cluster.config.ejection;
                in_flight.endpoint().note_unreachable(ejection, Moment::from(now));
                self.cluster.look_again.notify_one();
                failure
            }
        };
        attempts.tried.push(address);
        if !matches!(failure, ProxyError::ConnectTimeout) {
            attempts.refused += 1;
        }
        Err(failure)
    }

    async fn open_session(&self, in_flight: &InFlight, patience: Duration) -> Result<Rc<Session>, NoSession> {
        let shelf = in_flight.shelf();
        let connect = Session::connect(
            in_flight.endpoint().address,
            self.limits.max_header_bytes,
            &self.cluster.metrics.connections,
        );
        let pick = || shelf.session(false, false, Instant::now());
        shelf.sessions.open(pick, patience, connect).await
    }

    /// Whether there is no sense in trying on: refusals come at once and would come again.
    fn all_tried(&self, attempts: &Attempts) -> bool {
        let endpoints = self.pool.view().set.endpoints.len();
        attempts.refused >= endpoints.max(self.limits.max_attempts) || Instant::now() >= attempts.connect_by
    }

    /// Closes connections that idled for too long and moves the retry budget's window; called once a second.
    pub fn tick(&self, sweep: bool) {
        let now = Instant::now();
        self.retry_budget.tick(Moment::from(now));
        if sweep {
            self.pool.follow(self.cluster.endpoints());
            self.pool.sweep(now);
        }
    }

    /// Closes what idles, now and from now on: new requests go elsewhere.
    pub fn retire(&self) {
        self.pool.retire();
    }
}
