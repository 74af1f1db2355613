//! Metrics of each endpoint, read when Prometheus scrapes: an endpoint that left leaves no series behind.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts};
use tokio::sync::watch;

use crate::snapshot::Snapshot;
use crate::upstream::Endpoint;
use crate::upstream::monotonic::MonotonicNanos;

const LABELS: [&str; 2] = ["cluster", "endpoint"];

pub struct EndpointCollector {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Descriptions of the families; their values are made anew for each scrape.
    descriptions: Vec<Desc>,
}

struct Families {
    queue: IntGaugeVec,
    requests: IntCounterVec,
    in_flight: IntGaugeVec,
    latency: GaugeVec,
    usable: IntGaugeVec,
    ejections: IntCounterVec,
}

impl EndpointCollector {
    pub fn new(snapshots: watch::Receiver<Arc<Snapshot>>) -> prometheus::Result<Self> {
        let families = Families::new()?;
        let descriptions = families
            .all()
            .iter()
            .flat_map(|family| family.desc())
            .cloned()
            .collect();
        Ok(Self {
            snapshots,
            descriptions,
        })
    }
}

impl Collector for EndpointCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let families = Families::new().expect("the same families were made at the start");
        let now = MonotonicNanos::now();
        let snapshot = Arc::clone(&self.snapshots.borrow());
        for cluster in &snapshot.clusters {
            let name = cluster.config.name.as_str();
            families
                .queue
                .with_label_values(&[name])
                .set(cluster.queue.len() as i64);
            for endpoint in &cluster.endpoints().endpoints {
                families.take(name, endpoint, now);
            }
        }
        families.all().iter().flat_map(|family| family.collect()).collect()
    }
}

impl Families {
    fn new() -> prometheus::Result<Self> {
        let outcome = [LABELS[0], LABELS[1], "outcome"];
        Ok(Self {
            queue: IntGaugeVec::new(
                Opts::new(
                    "gateway_cluster_queue",
                    "Requests that wait for a place at an endpoint.",
                ),
                &LABELS[..1],
            )?,
            requests: IntCounterVec::new(
                Opts::new(
                    "gateway_endpoint_requests_total",
                    "Attempts at an endpoint, by what came of them.",
                ),
                &outcome,
            )?,
            in_flight: IntGaugeVec::new(
                Opts::new(
                    "gateway_endpoint_requests_in_flight",
                    "Requests whose answer has not ended.",
                ),
                &LABELS,
            )?,
            latency: GaugeVec::new(
                Opts::new(
                    "gateway_endpoint_latency_seconds",
                    "Expected time to an answer's head, as the balancer sees it.",
                ),
                &LABELS,
            )?,
            usable: IntGaugeVec::new(
                Opts::new(
                    "gateway_endpoint_usable",
                    "1 when the endpoint is neither ejected nor failing its health check.",
                ),
                &LABELS,
            )?,
            ejections: IntCounterVec::new(
                Opts::new("gateway_endpoint_ejections_total", "Times the endpoint was ejected."),
                &LABELS,
            )?,
        })
    }

    fn all(&self) -> [&dyn Collector; 6] {
        [
            &self.queue,
            &self.requests,
            &self.in_flight,
            &self.latency,
            &self.usable,
            &self.ejections,
        ]
    }

    fn take(&self, cluster: &str, endpoint: &Endpoint, now: MonotonicNanos) {
        let address = endpoint.address.to_string();
        let labels = [cluster, address.as_str()];
        let (successes, failures) = endpoint.totals();
        for (outcome, total) in [("success", successes), ("failure", failures)] {
            self.requests
                .with_label_values(&[labels[0], labels[1], outcome])
                .inc_by(total);
        }
        let usable = !endpoint.is_ejected() && endpoint.is_healthy();
        self.in_flight
            .with_label_values(&labels)
            .set(i64::from(endpoint.load().in_flight()));
        self.latency
            .with_label_values(&labels)
            .set(endpoint.load().latency(now) as f64 / 1e9);
        self.usable.with_label_values(&labels).set(i64::from(usable));
        self.ejections.with_label_values(&labels).inc_by(endpoint.ejections());
    }
}
