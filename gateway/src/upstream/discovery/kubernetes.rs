//! Kubernetes: a list of the Service's EndpointSlices, and a watch from there on.
//!
//! ```text
//! list ──► watch ──ends, breaks, goes silent──► watch from the last version    the last endpoints stay
//!   ▲        ├─────410: version too old───────► list
//!   │        └─────refused────────────────────► DNS
//!   └─────────────allowed────────────────────────┘
//! ```
//!
//! DNS serves when the API server refuses (no right, no such API, no pod) or is slow with the first list. An API
//! server that goes away later changes nothing: what it said last is better than a Service's address.
//!
//! Not kube's own watcher: it takes a 410 that answers the watch itself for a passing failure and asks for the same version
//! for ever, and its client makes the image half as large again.

mod api;
mod http;
mod slices;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use kube::core::WatchEvent;
use shared::backoff::{Backoff, jittered};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use api::{Api, ListFailure, Listed};
use slices::Slices;

use super::dns;
use crate::config::{KubernetesConfig, KubernetesService, Tier};
use crate::upstream::cluster::Cluster;
use crate::upstream::endpoint_set::AddressKind;

/// Longest wait for the first list before DNS takes its place.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause after a failure: doubles from here to `KUBERNETES_RETRY`.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
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
        loop {
            let refusal = self.watch(listed).await;
            listed = self.list_behind_dns(refusal).await;
        }
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
        let began = Instant::now();
        let mut events = self.api.watch(&listed.version).await?;
        let mut heard = false;
        while let Some(event) = events.next().await? {
            heard |= !matches!(event, WatchEvent::Bookmark(_));
            self.note_success(backoff);
            listed.apply(event);
            self.publish(&listed.slices)?;
        }
        if !heard && began.elapsed() < SHORT_WATCH {
            return Err(ListFailure::Passing(
                "the API server ended the watch at once".to_owned(),
            ));
        }
        self.note_success(backoff);
        Ok(())
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
/// together.
fn pause_after(backoff: &mut Backoff, longest: Duration, failure: &ListFailure) -> Duration {
    match failure {
        ListFailure::Refused(_) => jittered(longest * 2, 0.5),
        _ => jittered(backoff.pause(longest), 0.5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pauses_grow_to_the_longest_and_a_refusal_waits_longer_still(longest_ms in 1u64..60_000, failures in 0usize..40) {
            let longest = Duration::from_millis(longest_ms);
            let mut backoff = Backoff::new(FIRST_PAUSE);
            let passing = ListFailure::Passing(String::new());
            for _ in 0..failures {
                prop_assert!(pause_after(&mut backoff, longest, &passing) <= longest);
            }
            let grown = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(longest);
            let pause = pause_after(&mut backoff, longest, &passing);
            prop_assert!((grown / 2..=grown).contains(&pause), "{pause:?} after {failures} failures");
            let refused = pause_after(&mut backoff, longest, &ListFailure::Refused(String::new()));
            prop_assert!((longest..=longest * 2).contains(&refused), "{refused:?}");
        }
    }
}
