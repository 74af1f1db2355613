//! `clusters:` — the services that requests are forwarded to.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use shared::config::Node;
use shared::config::units::{MILLIS_OR_SECONDS, seconds, whole};

/// A connection to a Service's address reaches one pod for as long as it lives. Closing it after this time
/// lets new pods get their share.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(30);
const MAX_CONNECTION_REQUESTS: usize = 10_000;
/// With one address behind the name, each worker rotates over this many connections, so that even a few
/// requests are spread over the Service's pods.
const SERVICE_CONNECTIONS: usize = 4;

const KEYS: &[&str] = &[
    "name",
    "endpoints",
    "max_connection_age",
    "max_connection_requests",
    "service_connections",
];

/// `host:port` of a Service; the host is resolved by DNS, with a trailing dot as an absolute name.
#[derive(Debug, Clone, PartialEq, Eq)]
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

#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// The name as written, the label in metrics, logs and status.
    pub name: String,
    pub authority: Authority,
    /// A fixed list instead of DNS.
    pub endpoints: Option<Vec<SocketAddr>>,
    pub max_connection_age: Duration,
    pub max_connection_requests: usize,
    pub service_connections: usize,
}

impl fmt::Display for ClusterConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        match &self.endpoints {
            Some(endpoints) => write!(f, " endpoints {endpoints:?}")?,
            None => f.write_str(" by DNS")?,
        }
        write!(
            f,
            " max_connection_age={} max_connection_requests={} service_connections={}",
            self.max_connection_age.as_secs_f64(),
            self.max_connection_requests,
            self.service_connections,
        )
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
    let endpoints = parse_endpoints(&node.field("endpoints"));
    let max_connection_age = node.field("max_connection_age").parse(MILLIS_OR_SECONDS, seconds);
    let requests = node.field("max_connection_requests");
    let max_connection_requests = requests.parse("a whole number above 0", |text| whole(text, 1..=usize::MAX));
    let connections = node.field("service_connections");
    let service_connections = connections.parse("a whole number from 1 to 64", |text| whole(text, 1..=64));
    let authority = authority?;
    Some(ClusterConfig {
        name: authority.to_string(),
        authority,
        endpoints,
        max_connection_age: max_connection_age.unwrap_or(MAX_CONNECTION_AGE),
        max_connection_requests: max_connection_requests.unwrap_or(MAX_CONNECTION_REQUESTS),
        service_connections: service_connections.unwrap_or(SERVICE_CONNECTIONS),
    })
}

fn parse_endpoints(node: &Node<'_>) -> Option<Vec<SocketAddr>> {
    if !node.exists() {
        return None;
    }
    let items = node.items();
    if items.is_empty() {
        node.fault("is empty; leave it out to resolve the name by DNS");
    }
    let address = |item: &Node<'_>| item.parse("an IP address and a port", |text| text.parse().ok());
    Some(items.iter().filter_map(address).collect())
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
