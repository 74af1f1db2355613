//! Builds the parts, joins them, and owns every task until the process ends.
//!
//! The thread this runs on is the control thread: signals, discovery and the admin listener live here.
//! Requests live on the worker threads.

use std::error::Error;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use shared::admin::Admin;
use shared::lifecycle::{Drained, Lifecycle, Phase, Signals, drain};
use shared::main_thread;
use shared::reload::{Progress, Reloader};
use shared::serve::{self, ConnectionMetrics, Workers};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::info;

use crate::admin::{AdminService, EndpointCollector, GatewayStatus};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::reload::SnapshotPublisher;
use crate::snapshot::{Snapshot, WorkerAcks};
use crate::stack::stack;
use crate::upstream::retry_budget::TICK;
use crate::worker::{CurrentWorker, Worker};

/// Interval, in ticks, at which a worker closes idle upstream connections that are past their time.
const SWEEP_EVERY: u64 = 5;

/// Runs the gateway until it is told to stop.
pub fn run(config: Config, reloader: Reloader<Config>) -> ExitCode {
    main_thread::run(config.service.logging, serve_until_stopped(config, reloader))
}

async fn serve_until_stopped(config: Config, reloader: Reloader<Config>) -> Result<Drained, Box<dyn Error>> {
    let started = Instant::now();
    let mut signals = Signals::install()?;
    let lifecycle = Lifecycle::default();
    // The admin listener lives as long as the process: a pod that drains is alive and says so.
    let admin_lifecycle = Lifecycle::default();

    let metrics = Metrics::new()?;
    // Both ports first: a port in use is the most likely reason not to start.
    let listeners = serve::bind(config.listen, config.workers)?.behind(config.proxy_protocol_from.clone());
    let admin_listener = serve::bind(config.admin, 1)?;
    info!(address = %listeners.address, environment = config.service.environment, workers = config.workers, "listening");
    info!(address = %admin_listener.address, "admin listening");

    let mut publisher = SnapshotPublisher::start(&config, &metrics)?;
    let snapshots = publisher.subscribe();
    let drain_times = publisher.drain_times();
    let collector = EndpointCollector::new(snapshots.clone())?;
    metrics.registry.register(Box::new(collector))?;
    tokio::task::spawn_local(evaluate_success_rates(snapshots.clone()));
    let reloads = Arc::new(Progress::default());
    let admin = AdminService(Arc::new(Admin {
        service: GatewayStatus {
            phase: lifecycle.watch(),
            snapshots: snapshots.clone(),
        },
        version: env!("CARGO_PKG_VERSION"),
        pod_name: config.service.pod_name.clone(),
        environment: config.service.environment.clone(),
        workers: config.workers,
        started,
        phase: lifecycle.watch(),
        registry: metrics.registry.clone(),
        reloads: Arc::clone(&reloads),
    }));
    let admin_metrics = ConnectionMetrics::register(&metrics.registry, "gateway_admin")?;
    serve::spawn_local(
        admin_listener,
        config.service.connections,
        admin_lifecycle.watch(),
        &admin_metrics,
        move |_peer, _takeover| admin.clone(),
    );

    let connections = metrics.connections.clone();
    let reload_metrics = metrics.reloads.clone();
    let mut workers = start_workers(&config, listeners, &lifecycle, &publisher, metrics)?;
    let serve = async {
        // Ready means that requests will not fail for want of a look-up that is still under way.
        publisher.first_discovery().await;
        lifecycle.enter(Phase::Serving);
        reloader
            .follow(reload_metrics, reloads, async move |config: Config| {
                publisher.apply(&config).await
            })
            .await;
    };
    let signal = tokio::select! {
        signal = signals.next() => signal,
        () = workers.one_ended() => return Err("a worker ended without being told to".into()),
        () = serve => return Err("the settings are followed no more".into()),
    };
    info!(?signal, "stopping");
    let open = &connections.open;
    let times = *drain_times.borrow();
    Ok(drain(&lifecycle, times, &mut signals, workers.all_ended(), open).await)
}

fn start_workers(
    config: &Config,
    listeners: serve::Listeners,
    lifecycle: &Lifecycle,
    publisher: &SnapshotPublisher,
    metrics: Metrics,
) -> std::io::Result<Workers> {
    let (snapshots, acks) = (publisher.subscribe(), publisher.acks());
    let connection_metrics = metrics.connections.clone();
    serve::spawn(
        listeners,
        config.service.connections,
        &lifecycle.watch(),
        &connection_metrics,
        move || {
            let mut snapshots = snapshots.clone();
            let snapshot = Arc::clone(&snapshots.borrow_and_update());
            let worker = CurrentWorker::new(Worker::new(Arc::clone(&snapshot), &metrics, None));
            acks.note(&snapshot);
            tokio::task::spawn_local(maintain_pools(Rc::clone(&worker)));
            let follow = apply_snapshots(snapshots, Rc::clone(&worker), metrics.clone(), acks.clone());
            tokio::task::spawn_local(follow);
            move |peer, takeover| stack(&worker, peer, takeover)
        },
    )
}

/// Closes idle upstream connections in time, and moves the windows of retry budgets.
async fn maintain_pools(worker: Rc<CurrentWorker>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in 0_u64.. {
        ticks.tick().await;
        let sweep = tick.is_multiple_of(SWEEP_EVERY);
        for cluster in &worker.get().clusters {
            cluster.tick(sweep);
        }
    }
}

/// Applies each new snapshot to a worker's new requests.
async fn apply_snapshots(
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    worker: Rc<CurrentWorker>,
    metrics: Metrics,
    acks: WorkerAcks,
) {
    while snapshots.changed().await.is_ok() {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        let before = worker.get();
        worker.set(Worker::new(Arc::clone(&snapshot), &metrics, Some(&before)));
        acks.note(&snapshot);
    }
}

/// Ejects endpoints by their success rates.
async fn evaluate_success_rates(snapshots: watch::Receiver<Arc<Snapshot>>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let snapshot = Arc::clone(&snapshots.borrow());
        snapshot
            .clusters
            .iter()
            .for_each(|cluster| cluster.evaluate_success_rates());
    }
}
