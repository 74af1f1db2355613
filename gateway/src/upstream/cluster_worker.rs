//! One worker's side of a cluster: it finds a request an endpoint, and a connection there.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::attempts::Attempts;
use super::balancer::{Balancer, Pick};
use super::cluster::Cluster;
use super::connect;
use super::connection::Connection;
use super::endpoint_set::AddressKind;
use super::error::ConnectError;
use super::http2::{NoSession, Session};
use super::lease::{InFlight, Lease, UpstreamConnection};
use super::monotonic::MonotonicNanos;
use super::pool::{Pool, PooledConnection};
use super::retry_budget::RetryBudget;
use crate::config::{Discovery, Protocol, UpstreamConfig};

/// A connection within a cluster takes milliseconds. After this long, discovery is asked whether the endpoint is still there.
const SLOW_CONNECT: Duration = Duration::from_millis(250);
/// Longest wait for discovery when no pod takes a connection: its check, and the time after which it resorts to DNS.
const REDISCOVERY_TIMEOUT: Duration = Duration::from_millis(1500);

/// One worker's side of a cluster.
pub struct ClusterWorker {
    /// The part that all workers share.
    pub shared: Arc<Cluster>,
    pool: Pool,
    balancer: Balancer,
    pub retry_budget: RetryBudget,
    pub limits: UpstreamConfig,
}

impl ClusterWorker {
    pub fn new(cluster: Arc<Cluster>, limits: UpstreamConfig) -> Self {
        let config = &cluster.config;
        Self {
            pool: Pool::new(Arc::clone(&cluster), limits),
            balancer: Balancer::new(config.balancer, config.slow_start, fastrand::usize(..=usize::MAX / 2)),
            retry_budget: RetryBudget::new(config.retry_budget),
            shared: cluster,
            limits,
        }
    }

    /// A connection to one of the endpoints, from the pool or new.
    ///
    /// Nothing of a request is written before this returns, so failing to connect is retried for every
    /// method: at once on another endpoint, until each was tried, and after a timeout for as long as the
    /// connect timeout allows. Where discovery follows a Service, it then finds out what has become of the pods.
    pub async fn connection(&self, attempts: &mut Attempts) -> Result<Lease, ConnectError> {
        loop {
            let in_flight = match self.choose(attempts)? {
                Some(in_flight) => in_flight,
                // Few requests wait or open a connection; the others need not carry the room for it.
                None => Box::pin(self.wait_for_place(attempts)).await?,
            };
            let now = in_flight.began();
            let (connection, reused) = match self.shared.config.protocol {
                Protocol::Http1 => (self.pooled(&in_flight, attempts), true),
                // Not called reused: who closes a connection of HTTP/2 in order says so before.
                Protocol::H2c => (self.shared(&in_flight, attempts), false),
            };
            if let Some(connection) = connection {
                return Ok(Lease::new(in_flight, connection, reused, now));
            }
            if let Some(lease) = Box::pin(self.connect_or_wait(in_flight, attempts)).await? {
                return Ok(lease);
            }
        }
    }

    /// A new connection; `None` when another endpoint is to be chosen.
    async fn connect_or_wait(
        &self,
        in_flight: InFlight,
        attempts: &mut Attempts,
    ) -> Result<Option<Lease>, ConnectError> {
        let address = in_flight.endpoint().address;
        let failure = tokio::select! {
            biased;
            opened = self.open(in_flight, attempts) => match opened {
                Ok(lease) => return Ok(Some(lease)),
                Err(failure) => failure,
            },
            () = self.replaced(address) => return Ok(None),
        };
        if self.no_pod_is_left(attempts) {
            return self.wait_for_discovery(attempts, failure).await.map(|()| None);
        }
        match self.all_tried(attempts) {
            true => Err(failure),
            false => Ok(None),
        }
    }

    /// Returns when other endpoints are in the place of `address`. Discovery is told of a connection that takes long.
    async fn replaced(&self, address: SocketAddr) {
        let cluster = self.shared.latest();
        let mut replaced = std::pin::pin!(cluster.replaced(address));
        if timeout(SLOW_CONNECT, replaced.as_mut()).await.is_err() {
            cluster.refresh.notify_one();
            replaced.await;
        }
    }

    /// Tells whether every pod was tried that the cluster is known to have.
    fn no_pod_is_left(&self, attempts: &Attempts) -> bool {
        let set = &self.pool.view().set;
        let follows_pods = matches!(self.shared.config.discovery, Discovery::Kubernetes(_));
        let mut endpoints = set.endpoints.iter();
        follows_pods
            && set.addresses == AddressKind::Pod
            && endpoints.all(|endpoint| attempts.has_tried(endpoint.address))
    }

    /// Returns when discovery has looked whether the pods are those that it knows.
    async fn wait_for_discovery(&self, attempts: &Attempts, failure: ConnectError) -> Result<(), ConnectError> {
        let version = self.pool.view().set.version;
        let patience = Instant::now() + REDISCOVERY_TIMEOUT;
        let looked = self.shared.latest().looked(version);
        match timeout_at(patience.min(attempts.connect_by), looked).await {
            Ok(()) => Ok(()),
            Err(_elapsed) if patience < attempts.connect_by => Err(ConnectError::Unreachable),
            Err(_elapsed) => Err(failure),
        }
    }

    /// Tells whether another endpoint than `tried` could take the request, or another connection could reach one: behind a
    /// Service's address there may be several pods.
    pub fn has_other_than(&self, tried: SocketAddr) -> bool {
        let set = self.shared.set.load();
        set.endpoints.iter().any(|endpoint| endpoint.address != tried) || set.addresses == AddressKind::Service
    }

    /// Tells whether the cluster's address is a Service's: then another connection may reach another pod.
    pub fn is_behind_service(&self) -> bool {
        self.shared.set.load().addresses == AddressKind::Service
    }

    /// An endpoint with a free place; `None` when all are taken or others wait for one already.
    fn choose(&self, attempts: &Attempts) -> Result<Option<InFlight>, ConnectError> {
        match self.shared.queue.is_empty() {
            true => self.pick(attempts),
            false => Ok(None),
        }
    }

    fn pick(&self, attempts: &Attempts) -> Result<Option<InFlight>, ConnectError> {
        let cluster = self.shared.latest();
        if self.pool.view().set.version != cluster.version.load(Ordering::Acquire) {
            self.pool.follow(cluster.endpoints());
        }
        let view = self.pool.view();
        let now = attempts.now();
        // One limit for the choice and for taking the place: with two, what the one allows the other might refuse for ever.
        let limit = cluster.config.max_concurrency;
        loop {
            let place = match self
                .balancer
                .pick(&view.set, attempts.excluded(), limit, MonotonicNanos::from(now))
            {
                Pick::Endpoint(place) => place,
                Pick::Full => return Ok(None),
                Pick::Nothing => return Err(no_endpoint(cluster, view.set.version)),
            };
            // Another worker may have taken the last place since it was looked at.
            if let Some(in_flight) = InFlight::begin(&view.pools[place], limit, now) {
                return Ok(Some(in_flight));
            }
        }
    }

    async fn wait_for_place(&self, attempts: &Attempts) -> Result<InFlight, ConnectError> {
        let take = || self.pick(attempts).transpose();
        let more = || {
            let cluster = self.shared.latest();
            let limit = cluster.config.max_concurrency;
            cluster.set.load().has_place(limit, MonotonicNanos::now())
        };
        let pace = self.shared.latest().pace();
        self.shared.queue.wait(pace, attempts.wait_until, take, more).await?
    }

    fn pooled(&self, in_flight: &InFlight, attempts: &Attempts) -> Option<UpstreamConnection> {
        if attempts.needs_new_connection() {
            return None;
        }
        let connection = in_flight.pool().checkout(self.spreads(attempts), in_flight.began())?;
        Some(UpstreamConnection::Http1(connection))
    }

    /// Not inlined into the path of a request, which is HTTP/1.1's for most.
    #[inline(never)]
    fn shared(&self, in_flight: &InFlight, attempts: &Attempts) -> Option<UpstreamConnection> {
        let (pool, now) = (in_flight.pool(), in_flight.began());
        let session = pool.session(self.spreads(attempts), attempts.needs_new_connection(), now)?;
        Some(UpstreamConnection::over(&session, now))
    }

    /// Tells whether several connections to one address are wanted, because each may lead to another pod.
    fn spreads(&self, attempts: &Attempts) -> bool {
        let is_service = self.pool.view().set.addresses == AddressKind::Service;
        // Where a new connection just failed, one that is already there is better than another try.
        is_service && attempts.excluded().is_empty()
    }

    async fn open(&self, in_flight: InFlight, attempts: &mut Attempts) -> Result<Lease, ConnectError> {
        let address = in_flight.endpoint().address;
        let left = attempts.connect_by.saturating_duration_since(Instant::now());
        let patience = self.limits.connect_attempt_timeout.min(left);
        let opened = match self.shared.config.protocol {
            Protocol::Http1 => connect::connect(address, patience, self.limits.max_header_bytes)
                .await
                .map(|http| PooledConnection::new(Connection::new(http, Instant::now()), in_flight.pool()))
                .map(UpstreamConnection::Http1)
                .map_err(NoSession::Own),
            Protocol::H2c => self
                .open_session(&in_flight, patience)
                .await
                .map(|session| UpstreamConnection::over(&session, Instant::now())),
        };
        let now = Instant::now();
        let failure = match opened {
            Ok(connection) => return Ok(Lease::new(in_flight, connection, false, now)),
            Err(NoSession::Others(failure)) => failure,
            Err(NoSession::Own(failure)) => {
                self.shared.metrics.connect_failures.inc();
                let ejection = &self.shared.config.ejection;
                in_flight
                    .endpoint()
                    .note_unreachable(ejection, MonotonicNanos::from(now));
                self.shared.latest().refresh.notify_one();
                failure
            }
        };
        attempts.connect_failed(address, &failure);
        Err(failure)
    }

    async fn open_session(&self, in_flight: &InFlight, patience: Duration) -> Result<Rc<Session>, NoSession> {
        let pool = in_flight.pool();
        let connect = Session::connect(
            in_flight.endpoint().address,
            self.limits.max_header_bytes,
            &self.shared.metrics.connections,
        );
        let pick = || pool.session(false, false, Instant::now());
        pool.sessions.open(pick, patience, connect).await
    }

    /// Tells whether another attempt is pointless: refusals come at once and would come again.
    fn all_tried(&self, attempts: &Attempts) -> bool {
        let endpoints = self.pool.view().set.endpoints.len();
        attempts.refused() >= endpoints.max(self.limits.max_attempts) || Instant::now() >= attempts.connect_by
    }

    /// Closes connections that idled for too long and moves the retry budget's window; called once a second.
    pub fn tick(&self, sweep: bool) {
        let now = Instant::now();
        self.retry_budget.tick(MonotonicNanos::from(now));
        if sweep {
            self.pool.follow(self.shared.endpoints());
            self.pool.sweep(now);
        }
    }

    /// Closes what idles, now and from now on: new requests go elsewhere.
    pub fn retire(&self) {
        self.pool.retire();
    }
}

/// There is nowhere to send a request to; discovery is asked whether that is still so.
#[cold]
fn no_endpoint(cluster: &Cluster, version: u64) -> ConnectError {
    if matches!(cluster.config.discovery, Discovery::Kubernetes(_)) {
        cluster.refresh.notify_one();
    }
    // A set without endpoints changes nothing while there were none.
    match version {
        0 => ConnectError::NoEndpointYet,
        _ => ConnectError::NoEndpointLeft,
    }
}
