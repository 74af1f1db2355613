//! Every metric of this service, in one place.

use http::StatusCode;
use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use shared::reload::ReloadMetrics;
use shared::serve::ConnectionMetrics;
use shared::telemetry::metrics::{LATENCY_BUCKETS, registry};

const PREFIX: &str = "rag_api";

#[derive(Debug)]
pub struct Metrics {
    pub registry: Registry,
    pub connections: ConnectionMetrics,
    pub reloads: ReloadMetrics,
    /// Until the last byte of the body.
    pub in_flight: IntGauge,
    /// Texts with a vector; 0 until the service is ready.
    pub texts: IntGauge,
    pub embedding_duration: Histogram,
    pub embedding_errors: IntCounter,
    requests: IntCounterVec,
}

impl Metrics {
    pub fn new() -> prometheus::Result<Self> {
        let registry = registry(PREFIX, env!("CARGO_PKG_VERSION"))?;
        let duration = HistogramOpts::new(
            "rag_api_embedding_duration_seconds",
            "Time until ml-inference gave the vector of a question, with all attempts.",
        );
        Ok(Self {
            connections: ConnectionMetrics::register(&registry, PREFIX)?,
            reloads: ReloadMetrics::register(&registry, PREFIX)?,
            in_flight: add(
                &registry,
                IntGauge::new(
                    "rag_api_requests_in_flight",
                    "Requests being answered now, until the last byte of the body.",
                )?,
            )?,
            texts: add(
                &registry,
                IntGauge::new(
                    "rag_api_texts",
                    "Texts that can be found; 0 until their vectors are there.",
                )?,
            )?,
            embedding_duration: add(
                &registry,
                Histogram::with_opts(duration.buckets(LATENCY_BUCKETS.to_vec()))?,
            )?,
            embedding_errors: add(
                &registry,
                IntCounter::new(
                    "rag_api_embedding_errors_total",
                    "Questions and batches of texts for which ml-inference gave no vector.",
                )?,
            )?,
            requests: add(
                &registry,
                IntCounterVec::new(
                    Opts::new("rag_api_requests_total", "Requests answered, by path and status."),
                    &["path", "code"],
                )?,
            )?,
            registry,
        })
    }

    /// Counts an answer. `path` is one of the service's, so that no client makes series.
    pub fn answered(&self, path: &str, status: StatusCode) {
        self.requests.with_label_values(&[path, status.as_str()]).inc();
    }
}

fn add<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> prometheus::Result<C> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
