//! The mounted file's `clusters`, read by the table of keys.

use std::net::SocketAddr;

use shared::config::Node;
use shared::config::units::{number, seconds};

use super::cluster::ClusterConfig;
use super::keys::*;
use crate::config::discovery::{self, Discovery};
use crate::config::policies::{EjectionConfig, HealthCheckConfig, Http2Limits, Policy, Protocol, RetryBudgetConfig};
use crate::config::values::{Authority, SOCKET_ADDRESS, absolute_path};

/// The clusters of the file.
pub(in crate::config) struct Clusters {
    pub(in crate::config) valid: Vec<ClusterConfig>,
    /// The names, as they are written, of those whose name is faulty.
    pub(in crate::config) faulty: Vec<String>,
    /// Something is wrong with the file's clusters, whether it is their names or not.
    pub(in crate::config) has_faults: bool,
}

pub(in crate::config) fn parse(node: &Node<'_>) -> Clusters {
    let mut clusters: Vec<ClusterConfig> = Vec::new();
    let mut faulty = Vec::new();
    for item in node.items(&CLUSTERS) {
        let Some(cluster) = parse_cluster(&item) else {
            faulty.extend(item.field(&NAME).written());
            continue;
        };
        if clusters.iter().any(|other| other.name == cluster.name) {
            item.field(&NAME).fault(format!("{:?} is there twice", cluster.name));
            continue;
        }
        clusters.push(cluster);
    }
    Clusters {
        valid: clusters,
        faulty,
        has_faults: node.has_faults(),
    }
}

fn parse_cluster(node: &Node<'_>) -> Option<ClusterConfig> {
    if !node.expect(&CLUSTER) {
        return None;
    }
    let authority = node.find(&NAME, Authority::parse);
    let is_named = authority.is_some();
    // Without a name the rest is still read, for its faults.
    let cluster = read(node, authority);
    is_named.then_some(cluster)
}

/// The cluster `authority` with what `node` says of it, and the defaults.
pub(super) fn read(node: &Node<'_>, authority: Option<Authority>) -> ClusterConfig {
    let protocol = node.get(&PROTOCOL, Protocol::parse);
    let discovery = discovery::parse(node, authority.as_ref());
    let authority = authority.unwrap_or_default();
    ClusterConfig {
        name: authority.to_string(),
        authority,
        protocol,
        http2: parse_http2(&node.map(&HTTP2), protocol),
        discovery: parse_endpoints(node).map_or(discovery, Discovery::Fixed),
        balancer: node.get(&BALANCER, Policy::parse),
        slow_start: node.get(&SLOW_START, seconds),
        max_concurrency: node.get(&MAX_CONCURRENCY, number),
        max_queue: node.get(&MAX_QUEUE, number),
        ejection: parse_ejection(&node.map(&EJECTION)),
        retry_budget: parse_retry_budget(&node.map(&RETRY_BUDGET)),
        health_check: parse_health_check(&node.map(&HEALTH_CHECK)),
        max_connection_age: node.get(&MAX_CONNECTION_AGE, seconds),
        max_connection_requests: node.get(&MAX_CONNECTION_REQUESTS, number),
        service_connections: node.get(&SERVICE_CONNECTIONS, number),
    }
}

fn parse_endpoints(cluster: &Node<'_>) -> Option<Vec<(SocketAddr, u32)>> {
    let items = cluster.list(&ENDPOINTS);
    let is_listed = cluster.field(&ENDPOINTS).exists();
    is_listed.then(|| items.iter().filter_map(parse_endpoint).collect())
}

/// An address, or a map of an address and its weight.
fn parse_endpoint(node: &Node<'_>) -> Option<(SocketAddr, u32)> {
    if !node.is_map() {
        let address = node.parse(&SOCKET_ADDRESS, number)?;
        return Some((address, number(WEIGHT.default?)?));
    }
    node.expect(&ENDPOINT);
    let weight = node.get(&WEIGHT, number);
    let address = node.find(&ADDRESS, number)?;
    Some((address, weight))
}

fn parse_http2(node: &Node<'_>, protocol: Protocol) -> Http2Limits {
    if node.exists() && protocol != Protocol::H2c {
        node.fault("is only for `protocol: h2c`");
    }
    Http2Limits {
        max_streams: node.get(&MAX_STREAMS, number),
        max_connections: node.get(&MAX_CONNECTIONS, number),
    }
}

fn parse_ejection(node: &Node<'_>) -> EjectionConfig {
    let ejection = EjectionConfig {
        consecutive_failures: node.get(&CONSECUTIVE_FAILURES, number),
        success_percent: node.get(&SUCCESS_PERCENT, number),
        minimum_requests: node.get(&MINIMUM_REQUESTS, number),
        first_penalty: node.get(&FIRST_PENALTY, seconds),
        longest_penalty: node.get(&LONGEST_PENALTY, seconds),
    };
    if ejection.longest_penalty < ejection.first_penalty {
        node.field(&LONGEST_PENALTY).fault("is below first_penalty");
    }
    ejection
}

fn parse_retry_budget(node: &Node<'_>) -> RetryBudgetConfig {
    RetryBudgetConfig {
        percent: node.get(&PERCENT, number),
        per_second: node.get(&PER_SECOND, number),
    }
}

fn parse_health_check(node: &Node<'_>) -> Option<HealthCheckConfig> {
    if !node.exists() {
        return None;
    }
    let path = node.find(&CHECK_PATH, absolute_path);
    let check = HealthCheckConfig {
        path: path.unwrap_or_default(),
        interval: node.get(&INTERVAL, seconds),
        timeout: node.get(&TIMEOUT, seconds),
        unhealthy_after: node.get(&UNHEALTHY_AFTER, number),
        healthy_after: node.get(&HEALTHY_AFTER, number),
    };
    Some(check)
}
