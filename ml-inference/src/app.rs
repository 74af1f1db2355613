//! The life of the process: signals, listener, workers, model, ready; then a signal, the drain and the end.
//!
//! ```text
//! control thread    install signals → bind → start workers → ready once the model is loaded → wait → drain → exit
//! worker threads                               └─ answer requests: probes at once, predictions once loaded
//! repository                                   └─ looks at MODELS_DIR, loads, publishes
//!
//! The admin listener and the registry are on the control thread, too.
//! ```

use std::cell::Cell;
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use model_runtime::onnxruntime::begin_without_telemetry;
use model_runtime::{OnnxRuntimeError, Parallelism, Runtimes};
use shared::cli::complain;
use shared::lifecycle::{DrainTimes, Drained, Lifecycle, Phase, Signals, drain};
use shared::main_thread;
use shared::reload::{Progress, Reloader};
use shared::serve::{self, BindError, ConnectionMetrics, Listeners};
use shared::telemetry::logging::millis;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::catalog::{Catalog, Published};
use crate::config::{self, Config};
use crate::engine::Compute;
use crate::engine::{Engine, LoadedModel};
use crate::http::admin::{self, Admin, Followed, ModelAdmin};
use crate::http::{self, ServiceState};
use crate::metrics::Metrics;
use crate::middleware::Identity;
use crate::model::{BuiltIn, Model};
use crate::registry::{self, Registry};
use crate::repository::{Loader, Publisher, Served, Watcher, WatcherGone, WatcherSettings};
use crate::stack;

/// Why the service could not start or go on.
#[derive(Debug, thiserror::Error)]
enum AppError {
    #[error("cannot handle signals: {0}")]
    Signals(#[source] io::Error),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("ADMIN_ADDRESS: {0}")]
    BindAdmin(#[source] BindError),
    #[error("cannot start a worker: {0}")]
    Spawn(#[source] io::Error),
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("a worker ended unexpectedly")]
    WorkerGone,
    #[error("{}: {_0}", config::ORT_DYLIB_PATH.name)]
    OnnxRuntime(#[from] OnnxRuntimeError),
    #[error(transparent)]
    WatcherGone(#[from] WatcherGone),
}

/// Runs the service to its end.
pub fn run(config: Config, reloader: Reloader<Config>) -> ExitCode {
    if config.models.is_some()
        && let Err(error) = begin_without_telemetry()
    {
        complain(&format!("cannot start again without onnxruntime's telemetry: {error}"));
        return ExitCode::FAILURE;
    }
    main_thread::run(config.service.logging, serve(config, reloader))
}

async fn serve(config: Config, reloader: Reloader<Config>) -> Result<Drained, AppError> {
    let started = Instant::now();
    let mut signals = Signals::install().map_err(AppError::Signals)?;
    info!(
        service = config.service_name,
        pod = config.service.pod_name,
        environment = config.service.environment,
        workers = config.workers,
        threads_per_run = config.threads_per_run,
        batch_size = config.limits.run.batch_size,
        "starting"
    );

    let lifecycle = Lifecycle::default();
    let metrics = Arc::new(Metrics::new()?);
    let threads = config.threads_per_run;
    let compute = Compute::start(config.workers, threads, metrics.waiting.clone()).map_err(AppError::Spawn)?;
    let catalog = Arc::new(Published::default());
    let state = ServiceState::new(
        &config,
        lifecycle.watch(),
        Arc::clone(&metrics),
        Arc::clone(&catalog),
        Engine::new(compute),
    );
    let state = Arc::new(state);
    let identity = Identity::new(&config);
    let cors = config.cors.clone().map(Arc::new);

    // Both ports first: a port in use is the most likely reason not to start.
    let listeners = serve::bind(config.address, config.workers)?;
    let admin_listener = config.admin.map(|address| serve::bind(address, 1)).transpose();
    let admin_listener = admin_listener.map_err(AppError::BindAdmin)?;
    info!(address = %listeners.address, "listening");
    let make_worker = {
        let (state, identity) = (Arc::clone(&state), identity.clone());
        move || {
            let (state, identity, cors) = (Arc::clone(&state), identity.clone(), cors.clone());
            move |peer, _takeover| {
                let answered = Arc::clone(&state);
                let answer = move |request| {
                    let state = Arc::clone(&answered);
                    async move { http::answer(&state, request).await }
                };
                stack::service(Arc::clone(&state), identity.clone(), cors.clone(), peer, answer)
            }
        }
    };
    let mut workers = serve::spawn(
        listeners,
        config.service.connections,
        &lifecycle.watch(),
        &metrics.connections,
        make_worker,
    )
    .map_err(AppError::Spawn)?;

    let publisher = Publisher::new(Arc::clone(&catalog), Arc::clone(&metrics));
    let watcher = load_models(&config, &metrics, publisher)?;

    let (registry, followed) = follow_registry(&config, &metrics, catalog, watcher.as_ref()).unzip();
    let reloads = Arc::new(Progress::default());
    let admin = Admin {
        service: ModelAdmin {
            state: Arc::clone(&state),
            commands: watcher.as_ref().map(Watcher::commands),
            registry: followed,
        },
        version: env!("CARGO_PKG_VERSION"),
        pod_name: config.service.pod_name.clone(),
        environment: config.service.environment.clone(),
        workers: config.workers,
        started,
        phase: lifecycle.watch(),
        registry: metrics.registry.clone(),
        reloads: Arc::clone(&reloads),
    };
    let admin_lifecycle = admin_listener.map(|listener| serve_admin(admin, listener, &config, identity));
    // Its end would be the listener's.
    let _admin_lifecycle = admin_lifecycle.transpose()?;
    let drain_times = Rc::new(Cell::new(config.service.drain));
    let apply = apply_settings(Arc::clone(&state), Rc::clone(&drain_times), registry);
    tokio::task::spawn_local(reloader.follow(metrics.reloads.clone(), reloads, apply));

    let signal = tokio::select! {
        signal = signals.next() => signal,
        () = workers.one_ended() => return Err(AppError::WorkerGone),
        gone = become_ready(&lifecycle, &state, watcher.as_ref()) => return Err(gone.into()),
    };
    info!(?signal, "stopping");
    let open = &metrics.connections.open;
    Ok(drain(&lifecycle, drain_times.get(), &mut signals, workers.all_ended(), open).await)
}

/// Loads the built-in models, and has the others looked for.
fn load_models(config: &Config, metrics: &Arc<Metrics>, publisher: Publisher) -> Result<Option<Watcher>, AppError> {
    let mut built_in = Catalog {
        is_scanning: config.models.is_some(),
        ..Catalog::default()
    };
    let others = [BuiltIn::Sum]
        .into_iter()
        .filter(|other| Some(*other) != config.built_in);
    for model in config.built_in.into_iter().chain(others) {
        let started = Instant::now();
        let model = Model::built_in(model, config.model_version.clone());
        info!(
            model = model.name,
            model_version = model.version.as_str(),
            repository_version = model.version.number(),
            duration_ms = millis(started.elapsed()),
            "model loaded"
        );
        built_in.insert(Arc::new(LoadedModel::new(model, metrics)));
    }
    publisher.publish(built_in.clone());
    let Some(models) = &config.models else { return Ok(None) };
    let parallelism = Parallelism {
        runs: config.workers,
        threads_per_run: config.threads_per_run,
    };
    let runtimes = Runtimes::find(models.onnxruntime.as_deref(), parallelism)?;
    let watcher = Watcher::start(WatcherSettings {
        directory: models.directory.clone(),
        interval: models.interval,
        load_timeout: models.load_timeout,
        built_in,
        loader: Loader::new(Arc::clone(metrics), models.max_bytes, runtimes),
        publisher,
    });
    watcher.map(Some).map_err(AppError::Spawn)
}

/// Ready when the model that MODEL_NAME names is loaded and all others were tried; returns when models are watched no more.
async fn become_ready(lifecycle: &Lifecycle, state: &ServiceState, watcher: Option<&Watcher>) -> WatcherGone {
    let Some(watcher) = watcher else {
        lifecycle.enter(Phase::Serving);
        return pending().await;
    };
    if let Err(gone) = watcher.first_scan().await {
        return gone;
    }
    if !state.is_loaded() {
        warn!(
            model = state.served_name(),
            "not ready: no version of the MODEL_NAME model is loaded"
        );
    }
    while !state.is_loaded() {
        if let Err(gone) = watcher.next_scan().await {
            return gone;
        }
    }
    lifecycle.enter(Phase::Serving);
    watcher.gone().await
}

/// Pulls the model that MODEL_NAME names where there is a registry, by the settings that the channel then has.
fn follow_registry(
    config: &Config,
    metrics: &Metrics,
    catalog: Arc<Published>,
    watcher: Option<&Watcher>,
) -> Option<(watch::Sender<registry::RegistrySettings>, Followed)> {
    let (settings, models) = config.registry.clone().zip(config.models.as_ref())?;
    let metrics = metrics.pulls.clone();
    let policy = Served {
        model: config.served.clone(),
        catalog,
        commands: watcher?.commands(),
    };
    let registry = Registry::new(models.directory.join(&config.served), Arc::new(policy), metrics);
    let followed = Followed {
        location: settings.location.clone(),
        status: registry.status(),
    };
    let (settings_sender, settings) = watch::channel(settings);
    tokio::task::spawn_local(registry.follow(settings));
    Some((settings_sender, followed))
}

/// Has the control thread answer at the admin listener for as long as the process lives: a pod that drains can be looked into.
fn serve_admin(
    admin: Admin,
    listeners: Listeners,
    config: &Config,
    identity: Identity,
) -> prometheus::Result<Lifecycle> {
    info!(address = %listeners.address, "admin listening");
    let metrics = ConnectionMetrics::register(&admin.registry, "ml_inference_admin")?;
    let lifecycle = Lifecycle::default();
    let admin = Arc::new(admin);
    let make_service = move |peer, _takeover| {
        let asked = Arc::clone(&admin);
        let answer = move |request| {
            let admin = Arc::clone(&asked);
            async move { admin::answer(&admin, request).await }
        };
        // Pages have no business here.
        stack::service(Arc::clone(&admin.service.state), identity.clone(), None, peer, answer)
    };
    serve::spawn_local(
        listeners,
        config.service.connections,
        lifecycle.watch(),
        &metrics,
        make_service,
    );
    Ok(lifecycle)
}

/// Applies live settings that changed.
fn apply_settings(
    state: Arc<ServiceState>,
    drain_times: Rc<Cell<DrainTimes>>,
    registry: Option<watch::Sender<registry::RegistrySettings>>,
) -> impl AsyncFnMut(Config) -> Result<(), Infallible> {
    async move |config| {
        state.limit(config.limits);
        drain_times.set(config.service.drain);
        if let (Some(settings_sender), Some(settings)) = (&registry, config.registry) {
            registry::RegistrySettings::renew(settings_sender, settings);
        }
        Ok(())
    }
}
