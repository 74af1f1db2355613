//! Whether what the API server said still holds: a watch that says nothing may have died, and then the pods that it named die
//! one after the other.
//!
//! Requests notice first. A worker that cannot connect asks for a check ([`Cluster::refresh`]); the check connects to the known
//! endpoints itself, all at once, so that it takes no longer for many than for one.

use std::net::SocketAddr;
use std::time::Duration;

use shared::backoff::{Backoff, jittered};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::upstream::cluster::Cluster;

/// Longest wait for a connection of a check: within a cluster it takes milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(400);
/// Endpoints that a check connects to. When none of so many takes a connection, something is wrong with the set.
const SAMPLED_ENDPOINTS: usize = 16;
/// Time from one check to the next.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// The checks of one cluster's endpoints.
pub(super) struct Doubts {
    /// No check before this.
    next: Instant,
    /// No new list before this for a Service that has no endpoint.
    next_without_endpoints: Instant,
    /// New lists in a row for want of endpoints.
    without_endpoints: Backoff,
    longest_pause: Duration,
}

impl Doubts {
    pub(super) fn new(longest_pause: Duration) -> Self {
        let now = Instant::now();
        Self {
            next: now,
            next_without_endpoints: now,
            without_endpoints: Backoff::new(CHECK_INTERVAL),
            longest_pause,
        }
    }

    /// Returns when requests come and no known endpoint takes a connection, or none is known.
    pub(super) async fn confirmed(&mut self, cluster: &Cluster) {
        loop {
            sleep_until(self.next).await;
            cluster.refresh.notified().await;
            let set = cluster.endpoints();
            let is_confirmed = if set.endpoints.is_empty() {
                self.may_list_without_endpoints()
            } else {
                self.without_endpoints.reset();
                self.next_without_endpoints = Instant::now();
                // Those that were not found unreachable yet first.
                let (ejected, others): (Vec<_>, Vec<_>) =
                    set.endpoints.iter().partition(|endpoint| endpoint.is_ejected());
                let addresses = others.into_iter().chain(ejected).map(|endpoint| endpoint.address);
                !any_takes_connections(addresses).await
            };
            self.next = Instant::now() + CHECK_INTERVAL;
            if is_confirmed {
                return;
            }
            cluster.confirm();
        }
    }

    /// Most often the Service has no endpoint, as the API server said, so it is asked less and less.
    fn may_list_without_endpoints(&mut self) -> bool {
        let now = Instant::now();
        if now < self.next_without_endpoints {
            return false;
        }
        let pause = jittered(self.without_endpoints.pause(self.longest_pause), 0.5);
        self.next_without_endpoints = now + pause;
        true
    }
}

/// Tells whether one of `addresses` takes a connection. At most [`SAMPLED_ENDPOINTS`] are tried, the first ones.
pub(super) async fn any_takes_connections(addresses: impl Iterator<Item = SocketAddr>) -> bool {
    let mut connecting = JoinSet::new();
    for address in addresses.take(SAMPLED_ENDPOINTS) {
        connecting.spawn(async move {
            let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
            matches!(connected, Ok(Ok(_)))
        });
    }
    while let Some(connected) = connecting.join_next().await {
        if matches!(connected, Ok(true)) {
            return true;
        }
    }
    false
}
