//! The endpoints of a cluster at one moment.

use std::net::SocketAddr;
use std::sync::Arc;

use super::endpoint::Endpoint;
use super::monotonic::MonotonicNanos;

/// Meaning of a cluster's addresses, as discovery knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressKind {
    /// Each is one replica, a pod: all connections to it lead to the same process.
    #[default]
    Pod,
    /// The one address is a Service's: each connection to it may lead to another pod.
    Service,
}

/// The endpoints of a cluster at one moment.
#[derive(Debug, Default)]
pub struct EndpointSet {
    /// Grows with every change, so that a worker notices one with a comparison.
    pub version: u64,
    pub endpoints: Vec<Arc<Endpoint>>,
    pub addresses: AddressKind,
    /// The largest weight among them.
    pub heaviest: u32,
}

impl EndpointSet {
    pub fn new(version: u64, addresses: AddressKind, endpoints: Vec<Arc<Endpoint>>) -> Self {
        let heaviest = endpoints.iter().map(|endpoint| endpoint.weight()).max().unwrap_or(1);
        Self {
            version,
            endpoints,
            addresses,
            heaviest,
        }
    }

    /// Tells whether a request could acquire a slot at one of the endpoints, or would be refused for want of endpoints.
    pub(super) fn has_place(&self, limit: u32, now: MonotonicNanos) -> bool {
        let mut admitted = self.endpoints.iter().filter(|endpoint| endpoint.admits(now)).peekable();
        let is_free = |endpoint: &Arc<Endpoint>| endpoint.load().in_flight() < limit;
        match admitted.peek() {
            Some(_) => admitted.any(is_free),
            None => self.endpoints.is_empty() || self.endpoints.iter().any(is_free),
        }
    }

    /// Expected latency of a new endpoint in nanoseconds: the median of the present ones, or of
    /// all but one.
    pub(super) fn median_latency(&self, except: Option<SocketAddr>, now: MonotonicNanos) -> u64 {
        let others = self
            .endpoints
            .iter()
            .filter(|endpoint| Some(endpoint.address) != except);
        let mut latencies: Vec<u64> = others.map(|endpoint| endpoint.load().latency(now)).collect();
        latencies.sort_unstable();
        latencies.get(latencies.len() / 2).copied().unwrap_or(0)
    }
}
