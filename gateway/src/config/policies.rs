//! Policies of a cluster: protocol, balancing, ejection, retries and health checks.

use std::time::Duration;

/// Protocol of a cluster's endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    /// HTTP/2 without TLS and without asking first.
    H2c,
}

impl Protocol {
    pub(super) const NAMES: &[&str] = &[Self::Http1.name(), Self::H2c.name()];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::H2c => "h2c",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        [Self::Http1, Self::H2c]
            .into_iter()
            .find(|protocol| protocol.name() == name)
    }
}

/// Policy by which the balancer chooses an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The lighter of two by expected latency and requests in hand.
    PeakEwma,
    /// The lighter of two by requests in hand.
    LeastRequest,
    /// The next in turn.
    RoundRobin,
}

impl Policy {
    pub const NAMES: &[&str] = &[
        Self::PeakEwma.name(),
        Self::LeastRequest.name(),
        Self::RoundRobin.name(),
    ];

    pub fn parse(name: &str) -> Option<Self> {
        [Self::PeakEwma, Self::LeastRequest, Self::RoundRobin]
            .into_iter()
            .find(|policy| policy.name() == name)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::PeakEwma => "peak_ewma",
            Self::LeastRequest => "least_request",
            Self::RoundRobin => "round_robin",
        }
    }
}

/// Thresholds of ejection, and the length of its penalties.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EjectionConfig {
    /// Failures in a row.
    pub consecutive_failures: u32,
    /// The least part of requests that must succeed over ten seconds, in percent.
    pub success_percent: u32,
    /// With fewer requests in that time the part says nothing.
    pub minimum_requests: u64,
    pub first_penalty: Duration,
    pub longest_penalty: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudgetConfig {
    /// Retries for every hundred requests.
    pub percent: u32,
    /// Retries a second that are allowed besides, so that a quiet service has some too.
    pub per_second: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheckConfig {
    /// Path of the GET; any 2xx passes.
    pub path: String,
    pub interval: Duration,
    pub timeout: Duration,
    /// Failed checks in a row until an endpoint gets no more requests.
    pub unhealthy_after: u32,
    /// Passed checks in a row until it gets some again.
    pub healthy_after: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2Limits {
    /// Requests on one connection before another is opened; the upstream may allow fewer.
    pub max_streams: u32,
    /// Connections of one worker to one endpoint.
    pub max_connections: usize,
}
