//! Route → answer here, or forward to a cluster.

mod deadline;
mod forward;
mod headers;
mod retry;
mod upgrade;

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{Method, Response};
use shared::config::Secret;
use tower::Service;

use crate::body::ResponseBody;
use crate::error::ProxyError;
use crate::metrics::{Metrics, NONE, RouteMetrics};
use crate::middleware::exchange::{Answer, Exchange};
use crate::middleware::guard::refuse_body;
use crate::reload::Snapshot;
use crate::route::{RouteTable, Target};
use crate::upstream::{Cluster, ClusterWorker};

/// What one worker's requests read. It stays on its thread, so nothing in it needs a lock.
pub(crate) struct Worker {
    pub(crate) routes: Arc<RouteTable>,
    /// In the order of the configuration, as routes refer to them.
    pub(crate) clusters: Vec<Rc<ClusterWorker>>,
    pub(crate) metrics: Metrics,
    /// The metrics of requests that no route takes.
    pub(crate) unrouted: RouteMetrics,
    pub(crate) access_log: bool,
    pub(crate) max_body_bytes: u64,
    pub(crate) tunnel_idle_timeout: Duration,
    pub(crate) api_keys: Vec<Secret>,
}

impl Worker {
    /// A worker with these settings. It takes over from `before` what those did not change.
    pub(crate) fn new(settings: &Snapshot, metrics: &Metrics, before: Option<&Self>) -> Self {
        let cluster_worker = |cluster: &Arc<Cluster>| {
            let known = before.into_iter().flat_map(|before| &before.clusters);
            let same =
                |known: &&Rc<ClusterWorker>| Arc::ptr_eq(&known.cluster, cluster) && known.limits == settings.upstream;
            match known.into_iter().find(same) {
                Some(known) => Rc::clone(known),
                None => Rc::new(ClusterWorker::new(Arc::clone(cluster), settings.upstream)),
            }
        };
        Self {
            routes: Arc::clone(&settings.routes),
            clusters: settings.clusters.iter().map(cluster_worker).collect(),
            metrics: metrics.clone(),
            unrouted: metrics.route(NONE, NONE),
            access_log: settings.access_log,
            max_body_bytes: settings.max_body_bytes,
            tunnel_idle_timeout: settings.tunnel_idle_timeout,
            api_keys: settings.api_keys.clone(),
        }
    }
}

/// The worker that new requests get; those in flight keep theirs.
pub(crate) struct CurrentWorker(RefCell<Rc<Worker>>);

impl CurrentWorker {
    pub(crate) fn new(worker: Worker) -> Rc<Self> {
        Rc::new(Self(RefCell::new(Rc::new(worker))))
    }

    pub(crate) fn get(&self) -> Rc<Worker> {
        Rc::clone(&self.0.borrow())
    }

    pub(crate) fn set(&self, worker: Worker) {
        let worker = Rc::new(worker);
        let before = self.0.replace(Rc::clone(&worker));
        // A request that lasts, such as a tunnel, keeps its settings; it must not keep idle connections open.
        let goes_on = |old: &&Rc<ClusterWorker>| worker.clusters.iter().any(|cluster| Rc::ptr_eq(cluster, old));
        before
            .clusters
            .iter()
            .filter(|old| !goes_on(old))
            .for_each(|old| old.retire());
    }
}

/// The innermost service.
#[derive(Clone)]
pub(crate) struct Proxy;

impl Service<Box<Exchange>> for Proxy {
    type Response = Answer;
    type Error = ProxyError;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, ProxyError>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, exchange: Box<Exchange>) -> Self::Future {
        let worker = Rc::clone(&exchange.record.worker);
        // The one boxed future of a request: forwarding is written as it reads, with awaits.
        Box::pin(async move { answer(&worker, exchange).await })
    }
}

async fn answer(worker: &Worker, mut exchange: Box<Exchange>) -> Result<Answer, ProxyError> {
    let route = worker
        .routes
        .get(exchange.record.route.get().ok_or(ProxyError::NoRoute)?);
    match &route.target {
        Target::Forward(forward) => forward::forward(worker, forward, exchange).await,
        Target::Respond {
            status,
            content_type,
            body,
        } => {
            if !matches!(exchange.head.method, Method::GET | Method::HEAD) {
                refuse_body(&mut exchange);
                return Err(ProxyError::MethodNotAllowed("GET, HEAD"));
            }
            let mut response = Response::new(ResponseBody::from(body.clone()));
            *response.status_mut() = *status;
            response.headers_mut().insert(CONTENT_TYPE, content_type.clone());
            Ok(response)
        }
    }
}
