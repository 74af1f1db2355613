//! Builds the parts, joins them, and owns every task until the process ends.
//!
//! The thread this runs on is the control thread: signals, discovery and the admin listener live here.
//! Requests live on the worker threads.

use std::error::Error;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use shared::control;
use shared::http_client;
use shared::lifecycle::{Drained, Lifecycle, Phase, Signals, drain};
use shared::serve::{self, Workers};
use shared::telemetry::metrics::ConnectionMetrics;
use tokio::time::{MissedTickBehavior, interval};
use tracing::info;

use crate::admin::{Admin, Status};
use crate::config::Config;
use crate::metrics::{EndpointCollector, Metrics, NONE};
use crate::proxy::Worker;
use crate::route::RouteTable;
use crate::stack::stack;
use crate::upstream::health_check;
use crate::upstream::retry_budget::TICK;
use crate::upstream::{Cluster, ClusterWorker, discovery};

/// How often a worker looks for idle upstream connections that are past their time, in ticks.
const SWEEP_EVERY: u64 = 5;

/// Runs the gateway until it is told to stop.
pub fn run(config: Config) -> ExitCode {
    control::run(config.logging, serve_until_stopped(config))
}

async fn serve_until_stopped(config: Config) -> Result<Drained, Box<dyn Error>> {
    let started = Instant::now();
    let mut signals = Signals::install()?;
    let lifecycle = Lifecycle::default();
    // The admin listener lives as long as the process: a pod that drains is alive and says so.
    let admin_lifecycle = Lifecycle::default();

    let metrics = Metrics::new()?;
    let clusters: Vec<Arc<Cluster>> = config
        .clusters
        .iter()
        .map(|cluster| Arc::new(Cluster::new(cluster.clone(), metrics.cluster(&cluster.name))))
        .collect();
    metrics
        .registry
        .register(Box::new(EndpointCollector::new(clusters.clone())?))?;
    let routes = Arc::new(RouteTable::new(
        &config.routes,
        &config.clusters,
        config.upstream.request_timeout,
        &metrics,
    ));

    // Both ports first: a port in use is the most likely reason not to start.
    let listeners = serve::bind(config.listen, config.workers)?;
    let admin_listener = serve::bind(config.admin, 1)?;
    info!(address = %listeners.address, environment = config.environment, workers = config.workers, "listening");
    info!(address = %admin_listener.address, "admin listening");

    discovery::start(&config, &clusters)?;
    check_health(&clusters)?;
    tokio::task::spawn_local(judge(clusters.clone()));
    let admin = Admin(Arc::new(Status {
        phase: lifecycle.watch(),
        registry: metrics.registry.clone(),
        routes: Arc::clone(&routes),
        clusters: clusters.clone(),
        pod_name: config.pod_name.clone(),
        environment: config.environment.clone(),
        workers: config.workers,
        started,
    }));
    let admin_metrics = ConnectionMetrics::register(&metrics.registry, "gateway_admin")?;
    serve::spawn_local(
        admin_listener,
        config.connections,
        admin_lifecycle.watch(),
        &admin_metrics,
        move |_peer, _takeover| admin.clone(),
    );

    let connections = metrics.connections.clone();
    let mut workers = start_workers(&config, listeners, &lifecycle, clusters, routes, metrics)?;
    lifecycle.enter(Phase::Serving);

    let signal = tokio::select! {
        signal = signals.next() => signal,
        () = workers.one_ended() => return Err("a worker ended without being told to".into()),
    };
    info!(?signal, "stopping");
    let open = &connections.open;
    Ok(drain(&lifecycle, config.drain, &mut signals, workers.all_ended(), open).await)
}

fn start_workers(
    config: &Config,
    listeners: serve::Listeners,
    lifecycle: &Lifecycle,
    clusters: Vec<Arc<Cluster>>,
    routes: Arc<RouteTable>,
    metrics: Metrics,
) -> std::io::Result<Workers> {
    let connection_metrics = metrics.connections.clone();
    let (access_log, max_body_bytes) = (config.access_log, config.max_body_bytes);
    let tunnel_idle_timeout = config.tunnel_idle_timeout;
    let (upstream, api_key) = (config.upstream, config.api_key.clone());
    serve::spawn(
        listeners,
        config.connections,
        &lifecycle.watch(),
        &connection_metrics,
        move || {
            let worker = Rc::new(Worker {
                routes: Arc::clone(&routes),
                clusters: clusters
                    .iter()
                    .map(|cluster| ClusterWorker::new(Arc::clone(cluster), upstream))
                    .collect(),
                unrouted: metrics.route(NONE, NONE),
                metrics: metrics.clone(),
                access_log,
                max_body_bytes,
                tunnel_idle_timeout,
                api_key: api_key.clone(),
            });
            tokio::task::spawn_local(tend(Rc::clone(&worker)));
            move |peer, takeover| stack(&worker, peer, takeover)
        },
    )
}

/// What a worker sees to besides requests.
async fn tend(worker: Rc<Worker>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in 0_u64.. {
        ticks.tick().await;
        let sweep = tick.is_multiple_of(SWEEP_EVERY);
        for cluster in &worker.clusters {
            cluster.tick(sweep);
        }
    }
}

/// Judges endpoints by their success rate.
async fn judge(clusters: Vec<Arc<Cluster>>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        clusters.iter().for_each(|cluster| cluster.judge());
    }
}

/// Starts the active health checks of the clusters that have some.
fn check_health(clusters: &[Arc<Cluster>]) -> Result<(), Box<dyn Error>> {
    for cluster in clusters {
        if let Some(check) = &cluster.config.health_check {
            let client = http_client::client(check.timeout)?;
            tokio::task::spawn_local(health_check::run(Arc::clone(cluster), check.clone(), client));
        }
    }
    Ok(())
}
