//! The admin listener: probes, metrics and a look inside. It is never reachable through the NodePort.

mod endpoint_metrics;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::Service;
use serde_json::{Map, Value, json};
use shared::admin::{Admin, ServiceStatus};
use shared::lifecycle::PhaseWatch;
use shared::problem::Problem;
use tokio::sync::watch;
use tracing::debug;

use crate::route::Target;
use crate::snapshot::Snapshot;
use crate::upstream::monotonic::MonotonicNanos;
use crate::upstream::{Cluster, Endpoint};

pub use endpoint_metrics::EndpointCollector;

/// The part of the gateway's status that other services do not have.
pub struct GatewayStatus {
    pub phase: PhaseWatch,
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
}

impl ServiceStatus for GatewayStatus {
    /// Ready says that this process takes requests. It does not ask the upstream: a gateway that took itself
    /// out whenever the models are down would turn a clear 503 into a refused connection.
    fn not_ready(&self) -> Option<Problem> {
        let detail = match self.phase.is_draining() {
            true => "draining",
            false => "starting",
        };
        (!self.phase.is_serving()).then(|| Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail))
    }

    fn status(&self) -> Map<String, Value> {
        let snapshot = Arc::clone(&self.snapshots.borrow());
        let clusters = snapshot.clusters.iter().map(|cluster| cluster_json(cluster)).collect();
        let routes = snapshot.routes.iter().map(|route| match &route.target {
            Target::Forward(forward) => json!({"route": route.name, "cluster": forward.cluster.config.name}),
            Target::Respond(respond) => json!({"route": route.name, "respond": respond.status.as_u16()}),
        });
        Map::from_iter([
            ("clusters".to_owned(), clusters),
            ("routes".to_owned(), routes.collect()),
        ])
    }
}

/// The service of the admin listener.
#[derive(Clone)]
pub struct AdminService(pub Arc<Admin<GatewayStatus>>);

impl Service<Request<Incoming>> for AdminService {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let path = request.uri().path();
        debug!(path, "admin request");
        let answer = self.0.answer(request.method(), path).unwrap_or_else(|| {
            Problem::new(
                StatusCode::NOT_FOUND,
                "the admin listener has /livez, /readyz, /metrics and /status.json",
            )
            .into_response()
        });
        ready(Ok(answer))
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
