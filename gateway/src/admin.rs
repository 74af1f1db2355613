//! The admin listener: probes, metrics and a look inside. It is never reachable through the NodePort.

mod endpoint_metrics;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::Service;
use prometheus::Registry;
use serde_json::json;
use shared::lifecycle::PhaseWatch;
use shared::problem::Problem;
use shared::reload::Progress;
use shared::telemetry::metrics;
use tokio::sync::watch;
use tracing::{debug, error};

use crate::route::Target;
use crate::snapshot::Snapshot;
use crate::upstream::monotonic::MonotonicNanos;
use crate::upstream::{Cluster, Endpoint};

pub use endpoint_metrics::EndpointCollector;

/// State that the admin listener shows.
pub struct Status {
    pub phase: PhaseWatch,
    pub registry: Registry,
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    pub reloads: Arc<Progress>,
    pub pod_name: String,
    pub environment: String,
    pub workers: usize,
    pub started: Instant,
}

#[derive(Clone)]
pub struct Admin(pub Arc<Status>);

impl Service<Request<Incoming>> for Admin {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let path = request.uri().path();
        debug!(path, "admin request");
        let response = match path {
            _ if !matches!(*request.method(), Method::GET | Method::HEAD) => Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "the admin listener answers GET and HEAD only",
            )
            .allow("GET, HEAD")
            .into_response(),
            "/livez" => text("text/plain", "ok\n".to_owned()),
            "/readyz" => self.0.readiness(),
            "/metrics" => self.0.metrics(),
            "/status.json" => text("application/json", self.0.json()),
            _ => Problem::new(
                StatusCode::NOT_FOUND,
                "the admin listener has /livez, /readyz, /metrics and /status.json",
            )
            .into_response(),
        };
        ready(Ok(response))
    }
}

impl Status {
    /// Ready says that this process takes requests. It does not ask the upstream: a gateway that took itself
    /// out whenever the models are down would turn a clear 503 into a refused connection.
    fn readiness(&self) -> Response<Full<Bytes>> {
        if self.phase.is_serving() {
            return text("text/plain", "ok\n".to_owned());
        }
        let detail = if self.phase.is_draining() {
            "draining"
        } else {
            "starting"
        };
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response()
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        match metrics::render(&self.registry) {
            Ok(body) => {
                let mut response = Response::new(Full::from(body));
                response
                    .headers_mut()
                    .insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
                response
            }
            Err(cause) => {
                error!(%cause, "cannot render metrics");
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be rendered").into_response()
            }
        }
    }

    fn json(&self) -> String {
        let snapshot = Arc::clone(&self.snapshots.borrow());
        let clusters: Vec<_> = snapshot.clusters.iter().map(|cluster| cluster_json(cluster)).collect();
        let routes: Vec<_> = snapshot
            .routes
            .iter()
            .map(|route| match &route.target {
                Target::Forward(forward) => json!({"route": route.name, "cluster": forward.cluster.config.name}),
                Target::Respond(respond) => json!({"route": route.name, "respond": respond.status.as_u16()}),
            })
            .collect();
        let status = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pod": self.pod_name,
            "environment": self.environment,
            "ready": self.phase.is_serving(),
            "draining": self.phase.is_draining(),
            "uptime_seconds": self.started.elapsed().as_secs(),
            "workers": self.workers,
            "config": self.reloads.state().json(),
            "clusters": clusters,
            "routes": routes,
        });
        format!("{status:#}\n")
    }
}

fn cluster_json(cluster: &Cluster) -> serde_json::Value {
    let (set, now) = (cluster.endpoints(), MonotonicNanos::now());
    let endpoints: Vec<_> = set
        .endpoints
        .iter()
        .map(|endpoint| endpoint_json(endpoint, now))
        .collect();
    json!({
        "name": cluster.config.name,
        "discovery": cluster.tier().as_str(),
        "balancer": cluster.config.balancer.name(),
        "waiting": cluster.queue.len(),
        "endpoints": endpoints,
    })
}

fn endpoint_json(endpoint: &Endpoint, now: MonotonicNanos) -> serde_json::Value {
    let (successes, failures) = endpoint.totals();
    json!({
        "address": endpoint.address.to_string(),
        "weight": endpoint.weight(),
        "ejected": endpoint.is_ejected(),
        "healthy": endpoint.is_healthy(),
        "in_flight": endpoint.load().in_flight(),
        "latency_ms": endpoint.load().latency(now) as f64 / 1e6,
        "successes": successes,
        "failures": failures,
    })
}

fn text(content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
