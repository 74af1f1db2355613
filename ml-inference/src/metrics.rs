//! Every metric of this service, in one place.
//!
//! The request path only touches atomics: a series is looked up by its labels once and kept in a cell.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{Method, StatusCode};
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};
use prometheus::{Registry, core::Collector};
use shared::reload::ReloadMetrics;
use shared::serve::ConnectionMetrics;
use shared::telemetry::metrics::{LATENCY_BUCKETS, registry};

use crate::model::Model;
use crate::route::Route;

const PREFIX: &str = "ml_inference";

/// From a microsecond, which is what a built-in model needs, to seconds for what comes after them.
const INFERENCE_BUCKETS: &[f64] = &[
    0.000_001, 0.000_01, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

/// From a queue that is empty to `MAX_QUEUE` requests of a slow model.
const QUEUE_BUCKETS: &[f64] = &[
    0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

const LOAD_BUCKETS: &[f64] = &[0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0];

const METHODS: [&str; 4] = ["GET", "HEAD", "POST", "other"];
const CODES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// One cell per label value, filled at the first use.
type Cells<T, const N: usize> = [OnceLock<T>; N];

#[derive(Debug)]
pub struct Metrics {
    pub registry: Registry,
    pub connections: ConnectionMetrics,
    pub reloads: ReloadMetrics,
    pub in_flight: IntGauge,
    /// Requests in the queue of the compute threads.
    pub waiting: IntGauge,
    requests: IntCounterVec,
    request_cells: [[Cells<IntCounter, { CODES.len() }>; METHODS.len()]; Route::COUNT],
    duration: HistogramVec,
    duration_cells: Cells<Histogram, { Route::COUNT }>,
    inference: HistogramVec,
    queue: HistogramVec,
    loaded: IntGaugeVec,
    loads: IntCounterVec,
    load_duration: HistogramVec,
    pub pulls: PullMetrics,
}

/// Metrics of the model registry.
#[derive(Debug, Clone)]
pub struct PullMetrics {
    pulls: IntCounterVec,
    errors: IntCounterVec,
    pub bytes: IntCounter,
    succeeded_at: IntGauge,
}

impl Metrics {
    pub fn new() -> prometheus::Result<Self> {
        let registry = registry(PREFIX, env!("CARGO_PKG_VERSION"))?;
        let connections = ConnectionMetrics::register(&registry, PREFIX)?;
        Ok(Self {
            reloads: ReloadMetrics::register(&registry, PREFIX)?,
            in_flight: add(
                &registry,
                IntGauge::new(
                    "ml_inference_requests_in_flight",
                    "Requests being answered now, until the last byte of the body.",
                )?,
            )?,
            waiting: add(
                &registry,
                IntGauge::new(
                    "ml_inference_requests_waiting",
                    "Requests that wait for a compute thread.",
                )?,
            )?,
            requests: add(
                &registry,
                IntCounterVec::new(
                    Opts::new("ml_inference_requests_total", "Requests answered, by class of status."),
                    &["route", "method", "code_class"],
                )?,
            )?,
            duration: add(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "ml_inference_request_duration_seconds",
                        "From the request's head to the end of the answer's body.",
                    )
                    .buckets(LATENCY_BUCKETS.to_vec()),
                    &["route"],
                )?,
            )?,
            inference: add(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "ml_inference_inference_duration_seconds",
                        "Time in the model for one request, all of its batches together.",
                    )
                    .buckets(INFERENCE_BUCKETS.to_vec()),
                    &["model"],
                )?,
            )?,
            queue: add(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "ml_inference_queue_seconds",
                        "Time that a request waited for a compute thread.",
                    )
                    .buckets(QUEUE_BUCKETS.to_vec()),
                    &["model"],
                )?,
            )?,
            loaded: add(
                &registry,
                IntGaugeVec::new(
                    Opts::new("ml_inference_model_loaded", "1 for a model that is loaded."),
                    &["model", "version"],
                )?,
            )?,
            loads: add(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "ml_inference_model_loads_total",
                        "Versions that were loaded from the models' directory, or refused.",
                    ),
                    &["model", "result"],
                )?,
            )?,
            load_duration: add(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "ml_inference_model_load_duration_seconds",
                        "From opening a model's file to a version that is warm and checked.",
                    )
                    .buckets(LOAD_BUCKETS.to_vec()),
                    &["model"],
                )?,
            )?,
            pulls: PullMetrics::register(&registry)?,
            request_cells: Default::default(),
            duration_cells: Default::default(),
            registry,
            connections,
        })
    }

    /// Counts one finished request.
    pub fn answered(&self, route: Route, method: &Method, status: StatusCode, seconds: f64) {
        let method = match *method {
            Method::GET => 0,
            Method::HEAD => 1,
            Method::POST => 2,
            _ => 3,
        };
        let code = usize::from(status.as_u16() / 100).clamp(1, CODES.len()) - 1;
        self.request_cells[route as usize][method][code]
            .get_or_init(|| {
                self.requests
                    .with_label_values(&[route.label(), METHODS[method], CODES[code]])
            })
            .inc();
        self.duration_cells[route as usize]
            .get_or_init(|| self.duration.with_label_values(&[route.label()]))
            .observe(seconds);
    }

    pub fn inference_duration(&self, model: &str) -> Histogram {
        self.inference.with_label_values(&[model])
    }

    pub fn queue_duration(&self, model: &str) -> Histogram {
        self.queue.with_label_values(&[model])
    }

    pub fn loaded(&self, model: &Model) {
        self.loaded
            .with_label_values(&[model.name.as_str(), model.version.as_str()])
            .set(1);
    }

    pub fn unloaded(&self, model: &Model) {
        // A series that is not there is as good as one that was removed.
        let _unknown = self
            .loaded
            .remove_label_values(&[model.name.as_str(), model.version.as_str()]);
    }

    /// Counts a version that was loaded or refused.
    pub fn load(&self, model: &str, loaded: bool, seconds: f64) {
        let result = if loaded { "loaded" } else { "refused" };
        self.loads.with_label_values(&[model, result]).inc();
        self.load_duration.with_label_values(&[model]).observe(seconds);
    }
}

impl PullMetrics {
    fn register(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            pulls: add(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "ml_inference_registry_pulls_total",
                        "Looks at the model registry, by result.",
                    ),
                    &["result"],
                )?,
            )?,
            errors: add(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "ml_inference_registry_errors_total",
                        "Why looks at the model registry failed; one may have several reasons.",
                    ),
                    &["kind"],
                )?,
            )?,
            bytes: add(
                registry,
                IntCounter::new(
                    "ml_inference_registry_bytes_total",
                    "Bytes of models that came from the registry.",
                )?,
            )?,
            succeeded_at: add(
                registry,
                IntGauge::new(
                    "ml_inference_registry_last_success_timestamp_seconds",
                    "Unix time at which all that is wanted of the registry was last known to be there.",
                )?,
            )?,
        })
    }

    pub fn succeeded(&self, changed: bool) {
        let result = if changed { "pulled" } else { "unchanged" };
        self.pulls.with_label_values(&[result]).inc();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.succeeded_at.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    }

    pub fn failed(&self, kinds: impl Iterator<Item = &'static str>) {
        self.pulls.with_label_values(&["failed"]).inc();
        for kind in kinds {
            self.errors.with_label_values(&[kind]).inc();
        }
    }
}

fn add<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> prometheus::Result<C> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
