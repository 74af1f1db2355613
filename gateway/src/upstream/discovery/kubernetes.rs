//! Kubernetes: a list of the Service's EndpointSlices, and a watch from there on.
//!
//! ```text
//! list ──► watch ──ends, breaks, goes silent──► watch from the last version    the last endpoints stay
//!   ▲        ├─────410: version too old───────► list
//!   │        ├─────no endpoint answers────────► list, and DNS when it takes long
//!   │        └─────refused────────────────────► DNS
//!   └─────────────allowed────────────────────────┘
//! ```
//!
//! DNS serves when the API server refuses (no right, no such API, no pod) or is slow with the first list. An API
//! server that goes away later changes nothing while an endpoint takes connections: what it said last is better than a
//! Service's address. When none does, pods have come that the watch has not told of, and the Service's address leads to them.
//!
//! Not kube's own watcher: it takes a 410 that answers the watch itself for a passing failure and asks for the same version
//! for ever, and its client makes the image half as large again.

mod api;
mod doubt;
mod http;
mod slices;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use kube::core::WatchEvent;
use shared::backoff::{Backoff, jittered};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use api::{Api, ListFailure, Listed};
use doubt::{Doubts, any_takes_connections};
use slices::Slices;

use super::dns;
use crate::config::{KubernetesConfig, KubernetesService, Tier};
use crate::upstream::cluster::Cluster;
use crate::upstream::endpoint_set::AddressKind;

/// Longest wait for the first list before DNS takes its place.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause after a failure: doubles from here to `KUBERNETES_RETRY`.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest wait for a new list when no known endpoint takes a connection, before DNS takes its place.
const HEAD_START: Duration = Duration::from_millis(250);
/// A watch that ends sooner than this without an event counts as a failure: it is asked again at once otherwise.
const SHORT_WATCH: Duration = Duration::from_secs(1);

pub struct SliceFollower {
    cluster: Arc<Cluster>,
    api: Api,
    port_name: Option<String>,
    longest_pause: Duration,
    /// Serves while the API server does not.
    by_dns: dns::DnsFollower,
}

impl SliceFollower {
    pub fn new(
        cluster: Arc<Cluster>,
        resolver: TokioResolver,
        config: KubernetesConfig,
        service: KubernetesService,
        by_dns: dns::DnsFollower,
    ) -> Self {
        Self {
            cluster,
            port_name: service.port_name.clone(),
            longest_pause: config.retry,
            api: Api::new(config, service, resolver),
            by_dns,
        }
    }

    /// Follows the Service for ever.
    pub async fn follow(&self) -> Infallible {
        let mut listed = self.first_list().await;
        let mut doubts = Doubts::new(self.longest_pause);
        loop {
            let refusal = tokio::select! {
                refusal = self.watch(listed) => Some(refusal),
                () = doubts.confirmed(&self.cluster) => None,
            };
            listed = match refusal {
                Some(refusal) => self.list_behind_dns(refusal).await,
                None => self.list_anew().await,
            };
        }
    }

    /// A new list, because no known endpoint takes a connection. Resolves by DNS when that takes long.
    async fn list_anew(&self) -> Listed {
        let known = self.cluster.endpoints().endpoints.len();
        info!(cluster = %self.cluster.config.name, known, "no known endpoint takes a connection; listing EndpointSlices again");
        let mut listing = std::pin::pin!(self.list_until_one_answers());
        if let Ok(listed) = timeout(HEAD_START, listing.as_mut()).await {
            return listed;
        }
        warn!(cluster = %self.cluster.config.name, known, "no known endpoint takes a connection; resolving by DNS until EndpointSlices name one that does");
        self.cluster.enter(Tier::Dns);
        tokio::select! {
            listed = listing => listed,
            never = self.by_dns.follow() => match never {},
        }
    }

    /// A list with an endpoint that takes connections, or one that says that there is no endpoint.
    async fn list_until_one_answers(&self) -> Listed {
        let mut backoff = Backoff::new(FIRST_PAUSE);
        loop {
            let failure = match self.list().await {
                Ok(listed) if self.one_answers(&listed).await => return listed,
                Ok(_) => ListFailure::Passing("no listed endpoint takes a connection".to_owned()),
                Err(failure) => failure,
            };
            sleep(self.pause_after(&mut backoff, &failure)).await;
        }
    }

    async fn one_answers(&self, listed: &Listed) -> bool {
        let Ok(addresses) = self.addresses(&listed.slices) else {
            return false;
        };
        let known = self.cluster.endpoints();
        let is_known = |address: &SocketAddr| known.endpoints.iter().any(|endpoint| endpoint.address == *address);
        // New ones first: of the others none took a connection a moment ago.
        let (before, new): (Vec<_>, Vec<_>) = addresses.iter().copied().partition(is_known);
        addresses.is_empty() || any_takes_connections(new.into_iter().chain(before)).await
    }

    async fn first_list(&self) -> Listed {
        let mut last = ListFailure::Passing(format!("no list within {} s", PATIENCE.as_secs()));
        match timeout(PATIENCE, self.list_until_refused(&mut last)).await {
            Ok(Ok(listed)) => listed,
            Ok(Err(refusal)) => self.list_behind_dns(refusal).await,
            Err(_elapsed) => self.list_behind_dns(last).await,
        }
    }

    /// Resolves by DNS until there is a list.
    async fn list_behind_dns(&self, failure: ListFailure) -> Listed {
        warn!(cluster = %self.cluster.config.name, %failure, "cannot list EndpointSlices; resolving by DNS until it succeeds");
        self.cluster.enter(Tier::Dns);
        tokio::select! {
            listed = self.list_after(failure) => listed,
            never = self.by_dns.follow() => match never {},
        }
    }

    async fn list_after(&self, mut failure: ListFailure) -> Listed {
        let mut backoff = Backoff::new(FIRST_PAUSE);
        loop {
            sleep(self.pause_after(&mut backoff, &failure)).await;
            match self.list().await {
                Ok(listed) => return listed,
                Err(another) => failure = another,
            }
        }
    }

    /// Leaves the last passing failure in `last`.
    async fn list_until_refused(&self, last: &mut ListFailure) -> Result<Listed, ListFailure> {
        let mut backoff = Backoff::new(FIRST_PAUSE);
        loop {
            match self.list().await {
                Ok(listed) => return Ok(listed),
                Err(refusal @ ListFailure::Refused(_)) => return Err(refusal),
                Err(failure) => *last = failure,
            }
            sleep(self.pause_after(&mut backoff, last)).await;
        }
    }

    /// A list that endpoints can be made of.
    async fn list(&self) -> Result<Listed, ListFailure> {
        let listed = self.api.list().await.and_then(|listed| {
            self.addresses(&listed.slices)?;
            Ok(listed)
        });
        listed.inspect_err(|failure| self.note(failure))
    }

    /// Publishes what the list says and what the watches after it say, until the API server refuses.
    async fn watch(&self, mut listed: Listed) -> ListFailure {
        self.cluster.enter(Tier::Kubernetes);
        info!(cluster = %self.cluster.config.name, version = listed.version, "watching EndpointSlices");
        let mut backoff = Backoff::new(FIRST_PAUSE);
        loop {
            let Err(mut failure) = self.watch_once(&mut listed, &mut backoff).await else {
                continue;
            };
            self.note(&failure);
            match &failure {
                ListFailure::Refused(_) => return failure,
                ListFailure::Gone(_) => {
                    info!(cluster = %self.cluster.config.name, %failure, "listing EndpointSlices again")
                }
                // API servers restart, and load balancers before them close what is old: once is no news.
                ListFailure::Passing(_) if backoff.failures() == 0 => {
                    info!(cluster = %self.cluster.config.name, %failure, "watch of EndpointSlices broke; retrying");
                }
                ListFailure::Passing(_) if backoff.failures() == 1 => {
                    warn!(cluster = %self.cluster.config.name, %failure, "cannot watch EndpointSlices; keeping the last endpoints");
                }
                ListFailure::Passing(_) => {}
            }
            sleep(self.pause_after(&mut backoff, &failure)).await;
            if let ListFailure::Gone(_) = failure {
                match self.list_until_refused(&mut failure).await {
                    Ok(anew) => listed = anew,
                    Err(refusal) => return refusal,
                }
            }
        }
    }

    /// Publishes `listed` and follows one watch from it on, until the server ends that.
    async fn watch_once(&self, listed: &mut Listed, backoff: &mut Backoff) -> Result<(), ListFailure> {
        self.publish(&listed.slices)?;
        let mut events = self.api.watch(&listed.version).await?;
        let mut has_lasted = std::pin::pin!(sleep(SHORT_WATCH));
        let mut is_established = false;
        loop {
            let event = tokio::select! {
                event = events.next() => event?,
                () = has_lasted.as_mut(), if !is_established => {
                    is_established = true;
                    self.note_success(backoff);
                    continue;
                }
            };
            let Some(event) = event else { break };
            if !matches!(event, WatchEvent::Bookmark(_)) {
                is_established = true;
                self.note_success(backoff);
            }
            listed.apply(event);
            self.publish(&listed.slices)?;
        }
        match is_established {
            true => Ok(()),
            false => Err(ListFailure::Passing(
                "the API server ended the watch at once".to_owned(),
            )),
        }
    }

    fn publish(&self, slices: &Slices) -> Result<(), ListFailure> {
        self.cluster.publish(&self.addresses(slices)?, AddressKind::Pod);
        Ok(())
    }

    fn pause_after(&self, backoff: &mut Backoff, failure: &ListFailure) -> Duration {
        pause_after(backoff, self.longest_pause, failure)
    }

    fn addresses(&self, slices: &Slices) -> Result<Vec<SocketAddr>, ListFailure> {
        let service_port = self.cluster.config.authority.port;
        let addresses = slices.addresses(self.port_name.as_deref(), service_port);
        addresses.map_err(|error| ListFailure::Refused(error.to_string()))
    }

    fn note(&self, failure: &ListFailure) {
        self.cluster.metrics.kubernetes_failures.inc();
        debug!(cluster = %self.cluster.config.name, %failure, "no EndpointSlices");
    }

    fn note_success(&self, backoff: &mut Backoff) {
        if backoff.reset() > 0 {
            info!(cluster = %self.cluster.config.name, "watch of EndpointSlices recovered");
        }
    }
}

/// The pause after a failure. It is random within a factor of two, so that gateways that failed together do not come back
/// together. A refusal is not final at once: an API server that has just started refuses while it does not know its Roles.
fn pause_after(backoff: &mut Backoff, longest: Duration, failure: &ListFailure) -> Duration {
    let longest = match failure {
        ListFailure::Refused(_) => longest * 2,
        ListFailure::Gone(_) | ListFailure::Passing(_) => longest,
    };
    jittered(backoff.pause(longest), 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pauses_grow_to_the_longest_which_is_longer_after_a_refusal(longest_ms in 1u64..60_000, failures in 0usize..40) {
            let longest = Duration::from_millis(longest_ms);
            let mut backoff = Backoff::new(FIRST_PAUSE);
            let passing = ListFailure::Passing(String::new());
            for _ in 0..failures {
                prop_assert!(pause_after(&mut backoff, longest, &passing) <= longest);
            }
            let grown = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(longest);
            let pause = pause_after(&mut backoff, longest, &passing);
            prop_assert!((grown / 2..=grown).contains(&pause), "{pause:?} after {failures} failures");
            let grown = FIRST_PAUSE.saturating_mul(1 << (failures + 1).min(16)).min(longest * 2);
            let refused = pause_after(&mut backoff, longest, &ListFailure::Refused(String::new()));
            prop_assert!((grown / 2..=grown).contains(&refused), "{refused:?} after {failures} failures");
        }
    }
}
