//! The settings of one cluster.

use std::fmt;
use std::time::Duration;

use crate::config::discovery::Discovery;
use crate::config::policies::{EjectionConfig, HealthCheckConfig, Http2Limits, Policy, Protocol, RetryBudgetConfig};
use crate::config::values::Authority;

#[derive(Debug, Clone, PartialEq)]
pub struct ClusterConfig {
    /// The name as written, the label in metrics, logs and status.
    pub name: String,
    pub authority: Authority,
    pub protocol: Protocol,
    /// Limits of HTTP/2; unused by other protocols.
    pub http2: Http2Limits,
    pub discovery: Discovery,
    pub balancer: Policy,
    /// Time until a new endpoint gets its full share.
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
        super::parse::read(&shared::config::Node::absent(), Some(authority))
    }
}

impl fmt::Display for ClusterConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.discovery)?;
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
