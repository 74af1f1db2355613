//! A named service as all workers share it: its endpoints, published whole by discovery, and the queue for them.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tracing::info;

use super::endpoint::Endpoint;
use super::endpoint_set::{AddressKind, EndpointSet};
use super::monotonic::MonotonicNanos;
use super::queue::{Pace, Queue};
use crate::config::{ClusterConfig, Discovery, Tier};
use crate::metrics::ClusterMetrics;

/// A forecast of the wait for a free place looks at this many endpoints.
const SAMPLED_ENDPOINTS: usize = 16;

#[derive(Debug)]
pub struct Cluster {
    pub config: ClusterConfig,
    pub metrics: ClusterMetrics,
    pub(super) set: ArcSwap<EndpointSet>,
    /// The version of `set`, to be compared without touching it.
    pub(super) version: AtomicU64,
    /// The [`Tier`] that the set comes from.
    tier: AtomicU8,
    /// Asks discovery to look again soon: an endpoint took no connection, or there is none.
    pub refresh: Notify,
    /// Discovery has looked: it has published another set, or found that the set holds.
    looked: Notify,
    /// One for all clusters that follow each other under a name: a place that becomes free is one for whoever waits longest.
    pub queue: Arc<Queue>,
    /// The cluster that the settings have now in the place of this one.
    successor: OnceLock<Arc<Cluster>>,
    /// Set once discovery has had an answer, and notified then.
    is_resolved: AtomicBool,
    on_resolved: Notify,
}

impl Cluster {
    pub fn new(config: ClusterConfig, metrics: ClusterMetrics) -> Self {
        Self::after(config, metrics, None)
    }

    /// A cluster in the place of `before`, which has the same name and other settings: it begins with the endpoints known
    /// there and with what is known of them.
    pub fn after(config: ClusterConfig, metrics: ClusterMetrics, before: Option<&Self>) -> Self {
        let tier = config.discovery.tier();
        let cluster = Self {
            queue: match before {
                Some(before) => Arc::clone(&before.queue),
                None => Arc::new(Queue::new(config.max_queue)),
            },
            successor: OnceLock::new(),
            is_resolved: AtomicBool::new(false),
            on_resolved: Notify::new(),
            config,
            metrics,
            set: ArcSwap::default(),
            version: AtomicU64::new(0),
            tier: AtomicU8::default(),
            refresh: Notify::new(),
            looked: Notify::new(),
        };
        cluster.enter(tier);
        if let Some(before) = before {
            let set = before.endpoints();
            if cluster.config.health_check.is_none() {
                // Nobody would find out that it is well again.
                let now = MonotonicNanos::now();
                for endpoint in &set.endpoints {
                    endpoint.set_healthy(true, now);
                }
            }
            cluster.version.store(set.version, Ordering::Release);
            cluster.set.store(set);
        }
        if let Discovery::Fixed(endpoints) = &cluster.config.discovery {
            cluster.publish_weighted(&endpoints.iter().copied().collect(), AddressKind::Pod);
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

    /// Notes that discovery had an answer, be it that there are no endpoints.
    pub fn mark_resolved(&self) {
        if !self.is_resolved.swap(true, Ordering::AcqRel) {
            self.on_resolved.notify_waiters();
        }
    }

    /// Returns when there are endpoints, or discovery knows that there are none.
    pub async fn resolved(&self) {
        let mut resolved = std::pin::pin!(self.on_resolved.notified());
        resolved.as_mut().enable();
        if !self.is_resolved.load(Ordering::Acquire) && self.endpoints().endpoints.is_empty() {
            resolved.await;
        }
    }

    /// Notes that discovery has looked again and that the set holds.
    pub fn confirm(&self) {
        self.looked.notify_waiters();
    }

    /// Returns when discovery has looked again, or has replaced the set of `version` already.
    pub(super) async fn looked(&self, version: u64) {
        let mut looked = std::pin::pin!(self.looked.notified());
        looked.as_mut().enable();
        if self.version.load(Ordering::Acquire) == version {
            looked.await;
        }
    }

    /// Returns when the endpoint at `address` has left and others are there in its place.
    pub(super) async fn replaced(&self, address: SocketAddr) {
        loop {
            let mut looked = std::pin::pin!(self.looked.notified());
            looked.as_mut().enable();
            let set = self.endpoints();
            let is_in_use = set.endpoints.iter().any(|endpoint| endpoint.address == address);
            if !is_in_use && !set.endpoints.is_empty() {
                return;
            }
            drop(set);
            looked.await;
        }
    }

    /// The tier that the endpoints come from now.
    pub fn tier(&self) -> Tier {
        Tier::from_u8(self.tier.load(Ordering::Relaxed))
    }

    /// Notes that the next set comes from `tier`. Only the cluster's discovery calls this.
    pub fn enter(&self, tier: Tier) {
        self.tier.store(tier as u8, Ordering::Relaxed);
        self.metrics.set_discovery(tier);
    }

    /// Replaces the endpoint set, when `addresses` or their kind differ from the current ones. An address that stays
    /// keeps its endpoint and what is known of it. Only the cluster's discovery calls this.
    pub fn publish(&self, addresses: &[SocketAddr], kind: AddressKind) {
        self.publish_weighted(&addresses.iter().map(|address| (*address, 1)).collect(), kind);
        self.mark_resolved();
    }

    fn publish_weighted(&self, weights: &BTreeMap<SocketAddr, u32>, kind: AddressKind) {
        let current = self.set.load_full();
        let known = current.endpoints.iter().map(|known| (known.address, known.weight()));
        if known.eq(weights.iter().map(|(address, weight)| (*address, *weight))) && current.addresses == kind {
            return;
        }
        let now = MonotonicNanos::now();
        let latency = current.median_latency(None, now);
        let known: HashMap<SocketAddr, &Arc<Endpoint>> = current
            .endpoints
            .iter()
            .map(|endpoint| (endpoint.address, endpoint))
            .collect();
        let endpoint = |(address, weight): (&SocketAddr, &u32)| match known.get(address) {
            Some(endpoint) => {
                endpoint.set_weight(*weight);
                Arc::clone(endpoint)
            }
            None => Arc::new(Endpoint::new(*address, *weight, latency, now)),
        };
        let endpoints: Vec<Arc<Endpoint>> = weights.iter().map(endpoint).collect();
        let list: Vec<String> = weights.keys().map(SocketAddr::to_string).collect();
        info!(cluster = %self.config.name, endpoints = list.join(" "), "endpoints changed");
        self.metrics.endpoints.set(endpoints.len() as i64);
        let version = current.version + 1;
        self.set.store(Arc::new(EndpointSet::new(version, kind, endpoints)));
        self.version.store(version, Ordering::Release);
        self.looked.notify_waiters();
        self.queue.freed();
    }

    /// Ejects endpoints by their success rates; called once a second.
    pub fn evaluate_success_rates(&self) {
        let now = MonotonicNanos::now();
        for endpoint in &self.endpoints().endpoints {
            endpoint.judge_rate(&self.config.ejection, now);
        }
    }

    /// The speed at which slots become free.
    pub(super) fn pace(&self) -> Pace {
        let (set, now) = (self.set.load(), MonotonicNanos::now());
        let sampled = set.endpoints.iter().take(SAMPLED_ENDPOINTS);
        let total: u64 = sampled.clone().map(|endpoint| endpoint.load().latency(now)).sum();
        Pace {
            slots: set.endpoints.len() as u64 * u64::from(self.config.max_concurrency),
            each: Duration::from_nanos(total / (sampled.count() as u64).max(1)),
        }
    }
}
