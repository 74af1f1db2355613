//! Active health checks: each endpoint of a cluster is asked now and then, whether it has requests or not.
//!
//! They find out what requests cannot: that an endpoint without traffic is sick, or well again. In a cluster the
//! kubelet asks already and EndpointSlices carry its answer; this is for endpoints that nobody else watches.

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::HOST;
use http::{Request, StatusCode};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::debug;

use super::cluster::Cluster;
use super::endpoint::Endpoint;
use super::http2::probe;
use super::monotonic::MonotonicNanos;
use crate::config::{HealthCheckConfig, Protocol};

/// Checks in a row that had the same result.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Streak {
    passed: u32,
    failed: u32,
}

impl Streak {
    /// Takes one more result; the state that follows from it, if one does.
    fn take(&mut self, passed: bool, config: &HealthCheckConfig) -> Option<bool> {
        *self = match passed {
            true => Self {
                passed: self.passed.saturating_add(1),
                failed: 0,
            },
            false => Self {
                passed: 0,
                failed: self.failed.saturating_add(1),
            },
        };
        if self.passed >= config.healthy_after {
            return Some(true);
        }
        (self.failed >= config.unhealthy_after).then_some(false)
    }
}

/// Checks the cluster's endpoints for ever.
pub async fn run(cluster: Arc<Cluster>, config: HealthCheckConfig, client: reqwest::Client) {
    let mut streaks: HashMap<SocketAddr, Streak> = HashMap::new();
    let mut rounds = interval(config.interval);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let endpoints = cluster.endpoints();
        let mut checks = JoinSet::new();
        for endpoint in &endpoints.endpoints {
            let (cluster, config, client) = (Arc::clone(&cluster), config.clone(), client.clone());
            checks.spawn_local(check(Arc::clone(endpoint), cluster, config, client));
        }
        let mut seen = HashMap::new();
        while let Some(checked) = checks.join_next().await {
            // A check that panicked has shown it already; it says nothing about its endpoint.
            let Ok((endpoint, passed)) = checked else { continue };
            let mut streak = streaks.remove(&endpoint.address).unwrap_or_default();
            if let Some(healthy) = streak.take(passed, &config)
                && endpoint.set_healthy(healthy, MonotonicNanos::now())
            {
                cluster.queue.freed();
            }
            seen.insert(endpoint.address, streak);
        }
        streaks = seen;
    }
}

async fn check(
    endpoint: Arc<Endpoint>,
    cluster: Arc<Cluster>,
    config: HealthCheckConfig,
    client: reqwest::Client,
) -> (Arc<Endpoint>, bool) {
    let asked = ask(endpoint.address, &cluster, &config, client);
    let passed = match timeout(config.timeout, asked).await {
        Ok(Ok(status)) => status.is_success(),
        Ok(Err(error)) => {
            debug!(endpoint = %endpoint.address, %error, "health check failed");
            false
        }
        Err(_elapsed) => {
            debug!(endpoint = %endpoint.address, "health check took too long");
            false
        }
    };
    (endpoint, passed)
}

/// Sends one check in the cluster's own protocol.
async fn ask(
    address: SocketAddr,
    cluster: &Cluster,
    config: &HealthCheckConfig,
    client: reqwest::Client,
) -> Result<StatusCode, Box<dyn Error>> {
    let name = cluster.config.name.as_str();
    match cluster.config.protocol {
        Protocol::Http1 => {
            let url = format!("http://{address}{}", config.path);
            Ok(client.get(url).header(HOST, name).send().await?.status())
        }
        Protocol::H2c => {
            let request = Request::get(config.path.as_str()).header(HOST, name).body(())?;
            Ok(probe::status(address, request, &cluster.metrics.connections).await?)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_state_follows_from_results_in_a_row() {
        let config = HealthCheckConfig {
            path: "/".to_owned(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            unhealthy_after: 3,
            healthy_after: 2,
        };
        let mut streak = Streak::default();
        let results = [false, false, true, false, false, false, false, true, true, true, false];
        let states = results.map(|passed| streak.take(passed, &config));
        let (well, sick) = (Some(true), Some(false));
        assert_eq!(
            states,
            [None, None, None, None, None, sick, sick, None, well, well, None]
        );
    }
}
