//! `clusters:` — the services that requests are forwarded to.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use shared::config::Node;
use shared::config::units::{MILLIS_OR_SECONDS, SECONDS_OR_ZERO, seconds, seconds_or_zero, whole};

use super::discovery::{self, Discovery};
use super::routes::{PATH_EXPECTS, absolute_path};
use crate::upstream::balancer::Policy;
use crate::upstream::health_check::HealthCheckConfig;
use crate::upstream::retry_budget::RetryBudgetConfig;
use crate::upstream::{EjectionConfig, Http2Limits};

/// A connection to a Service's address reaches one pod for as long as it lives. Closing it after this time
/// lets new pods get their share.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(30);
const MAX_CONNECTION_REQUESTS: usize = 10_000;
/// With one address behind the name, each worker rotates over this many connections, so that even a few
/// requests are spread over the Service's pods.
const SERVICE_CONNECTIONS: usize = 4;

/// Requests that one endpoint may have in hand, and requests that may wait for a place at one: Envoy's defaults.
const MAX_CONCURRENCY: u32 = 1024;
const MAX_QUEUE: usize = 1024;
/// linkerd's thresholds: they work with two to eight pods, where Envoy's, which compare endpoints, do not.
const EJECTION: EjectionConfig = EjectionConfig {
    consecutive_failures: 7,
    success_percent: 80,
    minimum_requests: 5,
    first_penalty: Duration::from_secs(1),
    longest_penalty: Duration::from_secs(60),
};
const RETRY_BUDGET: RetryBudgetConfig = RetryBudgetConfig {
    percent: 20,
    per_second: 10,
};

/// What gRPC servers allow by default, and few connections for many requests.
const HTTP2: Http2Limits = Http2Limits {
    max_streams: 100,
    max_connections: 4,
};

const KEYS: &[&str] = &[
    "name",
    "protocol",
    "http2",
    "discovery",
    "port_name",
    "endpoints",
    "balancer",
    "slow_start",
    "max_concurrency",
    "max_queue",
    "ejection",
    "retry_budget",
    "health_check",
    "max_connection_age",
    "max_connection_requests",
    "service_connections",
];
const HTTP2_KEYS: &[&str] = &["max_streams", "max_connections"];
const ENDPOINT_KEYS: &[&str] = &["address", "weight"];
const EJECTION_KEYS: &[&str] = &[
    "consecutive_failures",
    "success_percent",
    "minimum_requests",
    "first_penalty",
    "longest_penalty",
];
const RETRY_BUDGET_KEYS: &[&str] = &["percent", "per_second"];
const HEALTH_CHECK_KEYS: &[&str] = &["path", "interval", "timeout", "unhealthy_after", "healthy_after"];

/// `host:port` of a Service; in DNS, a host with a trailing dot is an absolute name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authority {
    pub host: String,
    pub port: u16,
}

impl Authority {
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
        let label = |label: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            (1..=63).contains(&label.len()) && label.chars().all(allowed)
        };
        let labels = host.strip_suffix('.').unwrap_or(host);
        let valid = labels.len() <= 253 && labels.split('.').all(label);
        valid.then(|| Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What the endpoints of a cluster speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    /// HTTP/2 without TLS and without asking first.
    H2c,
}

impl Protocol {
    const NAMES: &str = "http1 or h2c";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "http1" => Some(Self::Http1),
            "h2c" => Some(Self::H2c),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct ClusterConfig {
    /// The name as written, the label in metrics, logs and status.
    pub name: String,
    pub authority: Authority,
    pub protocol: Protocol,
    /// Where the protocol is HTTP/2.
    pub http2: Http2Limits,
    pub discovery: Discovery,
    /// A fixed list with weights instead of discovery.
    pub endpoints: Option<Vec<(SocketAddr, u32)>>,
    pub balancer: Policy,
    /// How long a new endpoint takes to get its full share.
    pub slow_start: Duration,
    /// Requests that one endpoint may have in hand.
    pub max_concurrency: u32,
    /// Requests that may wait for a place.
    pub max_queue: usize,
    pub ejection: EjectionConfig,
    pub retry_budget: RetryBudgetConfig,
    pub health_check: Option<HealthCheckConfig>,
    pub max_connection_age: Duration,
    pub max_connection_requests: usize,
    pub service_connections: usize,
}

impl ClusterConfig {
    /// A cluster that is followed by DNS, with every default.
    pub fn new(authority: Authority) -> Self {
        Self {
            name: authority.to_string(),
            authority,
            protocol: Protocol::Http1,
            http2: HTTP2,
            discovery: Discovery::Dns,
            endpoints: None,
            balancer: Policy::PeakEwma,
            slow_start: Duration::ZERO,
            max_concurrency: MAX_CONCURRENCY,
            max_queue: MAX_QUEUE,
            ejection: EJECTION,
            retry_budget: RETRY_BUDGET,
            health_check: None,
            max_connection_age: MAX_CONNECTION_AGE,
            max_connection_requests: MAX_CONNECTION_REQUESTS,
            service_connections: SERVICE_CONNECTIONS,
        }
    }
}

impl fmt::Display for ClusterConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        match &self.endpoints {
            Some(endpoints) => {
                let list: Vec<String> = endpoints
                    .iter()
                    .map(|(address, weight)| format!("{address}*{weight}"))
                    .collect();
                write!(f, " endpoints {}", list.join(","))?;
            }
            None => write!(f, " {}", self.discovery)?,
        }
        write!(
            f,
            " balancer={} slow_start={} max_concurrency={} max_queue={} max_connection_age={} \
             max_connection_requests={} service_connections={}",
            self.balancer.name(),
            self.slow_start.as_secs_f64(),
            self.max_concurrency,
            self.max_queue,
            self.max_connection_age.as_secs_f64(),
            self.max_connection_requests,
            self.service_connections,
        )?;
        if self.protocol == Protocol::H2c {
            let Http2Limits {
                max_streams,
                max_connections,
            } = self.http2;
            write!(f, " protocol=h2c http2={max_streams}x{max_connections}")?;
        }
        let ejection = &self.ejection;
        write!(
            f,
            " ejection={}/{}%of{}/{}s..{}s retry_budget={}%+{}/s",
            ejection.consecutive_failures,
            ejection.success_percent,
            ejection.minimum_requests,
            ejection.first_penalty.as_secs_f64(),
            ejection.longest_penalty.as_secs_f64(),
            self.retry_budget.percent,
            self.retry_budget.per_second,
        )?;
        match &self.health_check {
            Some(check) => write!(
                f,
                " health_check={} every {}s",
                check.path,
                check.interval.as_secs_f64()
            ),
            None => Ok(()),
        }
    }
}

pub(super) fn parse(node: &Node<'_>) -> Vec<ClusterConfig> {
    let mut clusters: Vec<ClusterConfig> = Vec::new();
    for item in node.items() {
        let Some(cluster) = parse_cluster(&item) else { continue };
        if clusters.iter().any(|other| other.name == cluster.name) {
            item.field("name").fault(format!("{:?} is there twice", cluster.name));
            continue;
        }
        clusters.push(cluster);
    }
    clusters
}

fn parse_cluster(node: &Node<'_>) -> Option<ClusterConfig> {
    if !node.expect_keys(KEYS) {
        return None;
    }
    let expects = "a DNS name and a port, such as ml-inference-service:5000";
    let name = node.field("name");
    if !name.exists() {
        name.fault(format!("is missing; expected {expects}"));
    }
    let authority = name.parse(expects, Authority::parse);
    // Without a name the rest is still read, for its faults.
    let mut cluster = ClusterConfig::new(authority.clone().unwrap_or_default());
    set(
        &node.field("protocol"),
        Protocol::NAMES,
        Protocol::parse,
        &mut cluster.protocol,
    );
    parse_http2(&node.field("http2"), &mut cluster);
    cluster.discovery = discovery::parse(node, authority.as_ref());
    cluster.endpoints = parse_endpoints(&node.field("endpoints"));
    set(
        &node.field("balancer"),
        Policy::NAMES,
        Policy::parse,
        &mut cluster.balancer,
    );
    set(
        &node.field("slow_start"),
        SECONDS_OR_ZERO,
        seconds_or_zero,
        &mut cluster.slow_start,
    );
    let concurrency = node.field("max_concurrency");
    set(
        &concurrency,
        "a whole number from 1 to 100000",
        count(1..=100_000),
        &mut cluster.max_concurrency,
    );
    let queue = |text: &str| whole(text, 0..=100_000);
    set(
        &node.field("max_queue"),
        "a whole number from 0 to 100000",
        queue,
        &mut cluster.max_queue,
    );
    parse_ejection(&node.field("ejection"), &mut cluster.ejection);
    parse_retry_budget(&node.field("retry_budget"), &mut cluster.retry_budget);
    cluster.health_check = parse_health_check(&node.field("health_check"));
    set(
        &node.field("max_connection_age"),
        MILLIS_OR_SECONDS,
        seconds,
        &mut cluster.max_connection_age,
    );
    let requests = |text: &str| whole(text, 1..=usize::MAX);
    let field = node.field("max_connection_requests");
    set(
        &field,
        "a whole number above 0",
        requests,
        &mut cluster.max_connection_requests,
    );
    let connections = |text: &str| whole(text, 1..=64);
    let field = node.field("service_connections");
    set(
        &field,
        "a whole number from 1 to 64",
        connections,
        &mut cluster.service_connections,
    );
    authority.map(|_named| cluster)
}

/// Replaces a default by what the node says, if it says something right.
fn set<T>(node: &Node<'_>, expects: &str, parse: impl Fn(&str) -> Option<T>, value: &mut T) {
    if let Some(parsed) = node.parse(expects, parse) {
        *value = parsed;
    }
}

fn parse_endpoints(node: &Node<'_>) -> Option<Vec<(SocketAddr, u32)>> {
    if !node.exists() {
        return None;
    }
    let items = node.items();
    if items.is_empty() {
        node.fault("is empty; leave it out to have the endpoints discovered");
    }
    Some(items.iter().filter_map(parse_endpoint).collect())
}

/// An address, or a map of an address and its weight.
fn parse_endpoint(node: &Node<'_>) -> Option<(SocketAddr, u32)> {
    let expects = "an IP address and a port";
    if !node.is_map() {
        return node
            .parse(expects, |text| text.parse().ok())
            .map(|address| (address, 1));
    }
    node.expect_keys(ENDPOINT_KEYS);
    let mut weight = 1;
    set(
        &node.field("weight"),
        "a whole number from 1 to 1000",
        count(1..=1000),
        &mut weight,
    );
    let field = node.field("address");
    if !field.exists() {
        field.fault(format!("is missing; expected {expects}"));
    }
    let address = field.parse(expects, |text| text.parse().ok())?;
    Some((address, weight))
}

fn parse_http2(node: &Node<'_>, cluster: &mut ClusterConfig) {
    if !node.exists() || !node.expect_keys(HTTP2_KEYS) {
        return;
    }
    if cluster.protocol != Protocol::H2c {
        node.fault("is only for `protocol: h2c`");
    }
    set(
        &node.field("max_streams"),
        "a whole number from 1 to 10000",
        count(1..=10_000),
        &mut cluster.http2.max_streams,
    );
    let connections = |text: &str| whole(text, 1..=64);
    set(
        &node.field("max_connections"),
        "a whole number from 1 to 64",
        connections,
        &mut cluster.http2.max_connections,
    );
}

fn parse_ejection(node: &Node<'_>, ejection: &mut EjectionConfig) {
    if !node.exists() || !node.expect_keys(EJECTION_KEYS) {
        return;
    }
    let (failures, percent) = (node.field("consecutive_failures"), node.field("success_percent"));
    set(
        &failures,
        "a whole number from 1 to 1000",
        count(1..=1000),
        &mut ejection.consecutive_failures,
    );
    set(
        &percent,
        "a whole number from 0 to 100",
        count(0..=100),
        &mut ejection.success_percent,
    );
    let requests = |text: &str| whole(text, 1..=1_000_000).map(|count| count as u64);
    let field = node.field("minimum_requests");
    set(
        &field,
        "a whole number from 1 to 1000000",
        requests,
        &mut ejection.minimum_requests,
    );
    set(
        &node.field("first_penalty"),
        MILLIS_OR_SECONDS,
        seconds,
        &mut ejection.first_penalty,
    );
    let longest = node.field("longest_penalty");
    set(&longest, MILLIS_OR_SECONDS, seconds, &mut ejection.longest_penalty);
    if ejection.longest_penalty < ejection.first_penalty {
        longest.fault("is below first_penalty");
    }
}

fn parse_retry_budget(node: &Node<'_>, budget: &mut RetryBudgetConfig) {
    if !node.exists() || !node.expect_keys(RETRY_BUDGET_KEYS) {
        return;
    }
    set(
        &node.field("percent"),
        "a whole number from 0 to 100",
        count(0..=100),
        &mut budget.percent,
    );
    set(
        &node.field("per_second"),
        "a whole number from 0 to 1000",
        count(0..=1000),
        &mut budget.per_second,
    );
}

fn parse_health_check(node: &Node<'_>) -> Option<HealthCheckConfig> {
    if !node.exists() || !node.expect_keys(HEALTH_CHECK_KEYS) {
        return None;
    }
    let path = node.field("path");
    if !path.exists() {
        path.fault(format!("is missing; expected {PATH_EXPECTS}"));
    }
    let mut check = HealthCheckConfig {
        path: path.parse(PATH_EXPECTS, absolute_path).unwrap_or_default(),
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        unhealthy_after: 2,
        healthy_after: 1,
    };
    set(&node.field("interval"), MILLIS_OR_SECONDS, seconds, &mut check.interval);
    set(&node.field("timeout"), MILLIS_OR_SECONDS, seconds, &mut check.timeout);
    let expects = "a whole number from 1 to 100";
    set(
        &node.field("unhealthy_after"),
        expects,
        count(1..=100),
        &mut check.unhealthy_after,
    );
    set(
        &node.field("healthy_after"),
        expects,
        count(1..=100),
        &mut check.healthy_after,
    );
    Some(check)
}

fn count(range: RangeInclusive<u32>) -> impl Fn(&str) -> Option<u32> {
    move |text| text.parse().ok().filter(|number| range.contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_dns_name_and_a_port() {
        for good in ["ml-inference-service:5000", "a.b.svc.cluster.local.:80", "x:65535"] {
            assert_eq!(Authority::parse(good).expect(good).to_string(), good);
        }
        for bad in [
            "",
            ":80",
            "a",
            "a:0",
            "a:65536",
            "a..b:80",
            "http://a:80",
            "a/b:80",
            "..:80",
            ".:80",
        ] {
            assert_eq!(Authority::parse(bad), None, "{bad:?}");
        }
    }
}
