//! Every metric of the gateway, in one place.
//!
//! Names and units follow <https://prometheus.io/docs/practices/naming/>. Labels are bounded by the
//! configuration: routes and clusters as configured, statuses by class; endpoints as they are at the moment.

use std::sync::OnceLock;

use http::StatusCode;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use shared::reload::ReloadMetrics;
use shared::serve::ConnectionMetrics;
use shared::telemetry::metrics::{LATENCY_BUCKETS, registry};

use crate::config::Tier;
use crate::grpc::STATUSES;

/// The label of requests that no route took, and of routes that forward to no cluster.
pub const NONE: &str = "none";
const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

#[derive(Debug, Clone)]
pub struct Metrics {
    pub registry: Registry,
    pub connections: ConnectionMetrics,
    pub in_flight: IntGauge,
    requests: IntCounterVec,
    duration: HistogramVec,
    upstream: HistogramVec,
    overhead: HistogramVec,
    retries: IntCounterVec,
    over_budget: IntCounterVec,
    aborted: IntCounterVec,
    grpc: IntCounterVec,
    tunnels: IntGaugeVec,
    endpoints: IntGaugeVec,
    upstream_connections: IntGaugeVec,
    connect_failures: IntCounterVec,
    dns_failures: IntCounterVec,
    discovery: IntGaugeVec,
    kubernetes_failures: IntCounterVec,
    pub reloads: ReloadMetrics,
}

impl Metrics {
    pub fn new() -> prometheus::Result<Self> {
        let registry = registry("gateway", env!("CARGO_PKG_VERSION"))?;
        let counters = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntCounterVec> {
            let vec = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(vec.clone()))?;
            Ok(vec)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntGaugeVec> {
            let vec = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(vec.clone()))?;
            Ok(vec)
        };
        let histograms = |name: &str, help: &str| -> prometheus::Result<HistogramVec> {
            let options = HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec());
            let vec = HistogramVec::new(options, &["route", "cluster"])?;
            registry.register(Box::new(vec.clone()))?;
            Ok(vec)
        };
        let in_flight = IntGauge::new("gateway_requests_in_flight", "Requests whose answer has not ended yet.")?;
        registry.register(Box::new(in_flight.clone()))?;
        Ok(Self {
            connections: ConnectionMetrics::register(&registry, "gateway")?,
            reloads: ReloadMetrics::register(&registry, "gateway")?,
            in_flight,
            requests: counters(
                "gateway_requests_total",
                "Requests answered, by the class of their status.",
                &["route", "cluster", "code_class"],
            )?,
            duration: histograms(
                "gateway_request_duration_seconds",
                "From the request's head to the end of the answer's body.",
            )?,
            upstream: histograms(
                "gateway_upstream_duration_seconds",
                "From the first attempt to reach the upstream to the head of its answer.",
            )?,
            overhead: histograms(
                "gateway_overhead_duration_seconds",
                "The gateway's own part of the time to the answer's head.",
            )?,
            retries: counters(
                "gateway_upstream_retries_total",
                "Requests sent once more.",
                &["cluster", "reason"],
            )?,
            over_budget: counters(
                "gateway_upstream_retries_over_budget_total",
                "Requests not sent once more because the retry budget was spent.",
                &["cluster"],
            )?,
            aborted: counters(
                "gateway_responses_aborted_total",
                "Answers that did not reach their end: the client left or the upstream broke off.",
                &["route", "cluster"],
            )?,
            grpc: counters(
                "gateway_grpc_responses_total",
                "Answers to gRPC's calls, by gRPC's own status.",
                &["route", "cluster", "grpc_status"],
            )?,
            tunnels: gauges(
                "gateway_tunnels_open",
                "WebSockets and other connections that were upgraded.",
                &["route", "cluster"],
            )?,
            endpoints: gauges("gateway_cluster_endpoints", "Endpoints known.", &["cluster"])?,
            upstream_connections: gauges(
                "gateway_upstream_connections_open",
                "Connections to endpoints.",
                &["cluster"],
            )?,
            connect_failures: counters(
                "gateway_upstream_connect_failures_total",
                "Attempts to connect to an endpoint that failed.",
                &["cluster"],
            )?,
            dns_failures: counters(
                "gateway_dns_failures_total",
                "Lookups that gave no address.",
                &["cluster"],
            )?,
            discovery: gauges(
                "gateway_cluster_discovery",
                "1 for the tier of discovery that gives the cluster's endpoints now, 0 for the others.",
                &["cluster", "tier"],
            )?,
            kubernetes_failures: counters(
                "gateway_kubernetes_failures_total",
                "Requests for the cluster's EndpointSlices that the API server refused or did not answer.",
                &["cluster"],
            )?,
            registry,
        })
    }

    /// The metrics of one route, looked up once so that no request has to.
    pub fn route(&self, route: &str, cluster: &str) -> RouteMetrics {
        RouteMetrics {
            requests: STATUS_CLASSES.map(|class| self.requests.with_label_values(&[route, cluster, class])),
            duration: self.duration.with_label_values(&[route, cluster]),
            upstream: self.upstream.with_label_values(&[route, cluster]),
            overhead: self.overhead.with_label_values(&[route, cluster]),
            aborted: self.aborted.with_label_values(&[route, cluster]),
            tunnels: self.tunnels.with_label_values(&[route, cluster]),
            grpc: GrpcMetrics {
                responses: self.grpc.clone(),
                labels: [route.to_owned(), cluster.to_owned()],
                by_status: Default::default(),
            },
        }
    }

    /// Shows no more what is known of a cluster that is gone. What was counted stays counted.
    pub fn forget_cluster(&self, cluster: &str) {
        for gauge in [&self.endpoints, &self.upstream_connections] {
            // The only failure is that there is none, which is what is wanted.
            let _none = gauge.remove_label_values(&[cluster]);
        }
        for tier in Tier::ALL {
            let _none = self.discovery.remove_label_values(&[cluster, tier.as_str()]);
        }
    }

    pub fn cluster(&self, cluster: &str) -> ClusterMetrics {
        ClusterMetrics {
            endpoints: self.endpoints.with_label_values(&[cluster]),
            connections: self.upstream_connections.with_label_values(&[cluster]),
            connect_failures: self.connect_failures.with_label_values(&[cluster]),
            dns_failures: self.dns_failures.with_label_values(&[cluster]),
            discovery: Tier::ALL.map(|tier| {
                let gauge = self.discovery.with_label_values(&[cluster, tier.as_str()]);
                (tier, gauge)
            }),
            kubernetes_failures: self.kubernetes_failures.with_label_values(&[cluster]),
            retries_unsent: self.retries.with_label_values(&[cluster, "not_written"]),
            retries_refused: self.retries.with_label_values(&[cluster, "refused"]),
            retries_broken: self.retries.with_label_values(&[cluster, "connection_broke"]),
            retries_timeout: self.retries.with_label_values(&[cluster, "per_try_timeout"]),
            retries_status: self.retries.with_label_values(&[cluster, "status"]),
            retries_over_budget: self.over_budget.with_label_values(&[cluster]),
        }
    }
}

#[derive(Debug)]
pub struct RouteMetrics {
    requests: [IntCounter; STATUS_CLASSES.len()],
    pub duration: Histogram,
    pub upstream: Histogram,
    pub overhead: Histogram,
    pub aborted: IntCounter,
    pub tunnels: IntGauge,
    pub grpc: GrpcMetrics,
}

impl RouteMetrics {
    pub fn count(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        self.requests[class.min(STATUS_CLASSES.len() - 1)].inc();
    }
}

/// Few routes carry gRPC, and few statuses are seen: each is looked up when it is first counted.
#[derive(Debug)]
pub struct GrpcMetrics {
    responses: IntCounterVec,
    /// Route and cluster.
    labels: [String; 2],
    by_status: [OnceLock<IntCounter>; STATUSES],
}

impl GrpcMetrics {
    pub fn count(&self, status: u16) {
        let Some(counter) = self.by_status.get(usize::from(status)) else {
            return;
        };
        let [route, cluster] = &self.labels;
        let look_up = || {
            self.responses
                .with_label_values(&[route.as_str(), cluster, &status.to_string()])
        };
        counter.get_or_init(look_up).inc();
    }
}

#[derive(Debug)]
pub struct ClusterMetrics {
    pub endpoints: IntGauge,
    pub connections: IntGauge,
    pub connect_failures: IntCounter,
    pub dns_failures: IntCounter,
    discovery: [(Tier, IntGauge); Tier::ALL.len()],
    pub kubernetes_failures: IntCounter,
    /// Sent again because nothing of it had been written.
    pub retries_unsent: IntCounter,
    /// Sent again because the upstream said that it had not looked at it.
    pub retries_refused: IntCounter,
    /// Sent again because the connection broke before an answer and the request is idempotent.
    pub retries_broken: IntCounter,
    /// Sent again because an attempt took longer than the route's per-try timeout.
    pub retries_timeout: IntCounter,
    /// Sent again because the answer was a 5xx that the route retries on.
    pub retries_status: IntCounter,
    /// Not sent again because the budget was spent.
    pub retries_over_budget: IntCounter,
}

impl ClusterMetrics {
    pub fn set_discovery(&self, tier_in_use: Tier) {
        for (tier, gauge) in &self.discovery {
            gauge.set(i64::from(*tier == tier_in_use));
        }
    }
}

/// Something that a gauge counts as open until this is dropped.
pub struct OpenGauge(IntGauge);

impl OpenGauge {
    pub fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for OpenGauge {
    fn drop(&mut self) {
        self.0.dec();
    }
}
