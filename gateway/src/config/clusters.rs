//! `clusters:` — the services that requests are forwarded to.

mod keys;
mod parse;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

#[cfg(test)]
use shared::config::Node;

use super::discovery::Discovery;
use crate::upstream::balancer::Policy;
use crate::upstream::health_check::HealthCheckConfig;
use crate::upstream::retry_budget::RetryBudgetConfig;
use crate::upstream::{EjectionConfig, Http2Limits};

pub(super) use keys::{AUTHORITY, CLUSTERS, DISCOVERY, ENDPOINTS, PORT_NAME, SOCKET_ADDRESS};
pub(super) use parse::parse;

/// `host:port` of a Service; in DNS, a host with a trailing dot is an absolute name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authority {
    pub host: String,
    pub port: u16,
}

impl Authority {
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        // Without a sign, which the number's own parser would take.
        let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
        let port: u16 = port.parse().ok().filter(|port| *port > 0 && is_number)?;
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
    const NAMES: &[&str] = &[Self::Http1.name(), Self::H2c.name()];

    const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::H2c => "h2c",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Http1, Self::H2c]
            .into_iter()
            .find(|protocol| protocol.name() == name)
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

#[cfg(test)]
impl ClusterConfig {
    /// A cluster that is followed by DNS, with every default.
    pub(crate) fn new(authority: Authority) -> Self {
        parse::read(&Node::absent(), Some(authority))
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
            "a:+80",
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
