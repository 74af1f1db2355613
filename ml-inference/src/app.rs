//! The life of the process: signals, listener, workers, model, ready; then a signal, the drain and the end.
//!
//! ```text
//! control thread    install signals → bind → start workers → load the model → ready → wait → drain → exit
//! worker threads                               └─ answer requests: probes at once, predictions once loaded
//! ```

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use shared::config::Reloader;
use shared::control;
use shared::lifecycle::{DrainTimes, Drained, Lifecycle, Phase, Signals, drain};
use shared::serve::{self, BindError};
use shared::telemetry::logging;
use tracing::info;
use tracing::level_filters::LevelFilter;

use crate::compute::Compute;
use crate::config::Config;
use crate::engine::{Engine, LoadedModel};
use crate::http::State;
use crate::metrics::Metrics;
use crate::middleware::Identity;
use crate::model::{BuiltIn, Model};
use crate::repository::Catalog;
use crate::stack;

/// Why the service could not start or go on.
#[derive(Debug, thiserror::Error)]
enum AppError {
    #[error("cannot handle signals: {0}")]
    Signals(#[source] io::Error),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("cannot start a worker: {0}")]
    Spawn(#[source] io::Error),
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("a worker ended without being asked to")]
    WorkerGone,
}

/// Runs the service to its end.
pub fn run(config: Config, reloader: Reloader<Config>) -> ExitCode {
    control::run(config.logging, serve(config, reloader))
}

async fn serve(config: Config, reloader: Reloader<Config>) -> Result<Drained, AppError> {
    let mut signals = Signals::install().map_err(AppError::Signals)?;
    info!(
        service = config.service_name,
        pod = config.pod_name,
        environment = config.environment,
        workers = config.workers,
        threads_per_run = config.threads_per_run,
        batch_size = config.limits.run.batch_size,
        "starting"
    );

    let lifecycle = Lifecycle::default();
    let metrics = Arc::new(Metrics::new()?);
    let compute = Compute::start(config.workers, metrics.waiting.clone()).map_err(AppError::Spawn)?;
    let engine = Engine::new(compute);
    let state = Arc::new(State::new(&config, lifecycle.watch(), Arc::clone(&metrics), engine));
    let identity = Identity::new(&config);

    let listeners = serve::bind(config.address, config.workers)?;
    info!(address = %listeners.address, "listening");
    let make_worker = {
        let state = Arc::clone(&state);
        move || {
            let (state, identity) = (Arc::clone(&state), identity.clone());
            move |peer, _takeover| stack::service(Arc::clone(&state), identity.clone(), peer)
        }
    };
    let mut workers = serve::spawn(
        listeners,
        config.connections,
        &lifecycle.watch(),
        &metrics.connections,
        make_worker,
    )
    .map_err(AppError::Spawn)?;

    let started = Instant::now();
    let mut catalog = Catalog::default();
    for built_in in [BuiltIn::Sum, config.model] {
        let model = Model::built_in(built_in, config.model_version.clone());
        catalog.insert(Arc::new(LoadedModel::new(model, &metrics)));
    }
    info!(
        model = config.model.name(),
        model_version = config.model_version.as_str(),
        repository_version = config.model_version.number(),
        milliseconds = started.elapsed().as_secs_f64() * 1e3,
        "model loaded"
    );
    state.publish(catalog);
    lifecycle.enter(Phase::Serving);

    let drain_times = Rc::new(Cell::new(config.drain));
    let apply = take_up(config.logging.level, Arc::clone(&state), Rc::clone(&drain_times));
    tokio::task::spawn_local(reloader.follow(metrics.reloads.clone(), Arc::default(), apply));

    let signal = tokio::select! {
        signal = signals.next() => signal,
        () = workers.one_ended() => return Err(AppError::WorkerGone),
    };
    info!(?signal, "asked to end");
    let open = &metrics.connections.open;
    Ok(drain(&lifecycle, drain_times.get(), &mut signals, workers.all_ended(), open).await)
}

/// What is done with settings that changed.
fn take_up(
    mut level: LevelFilter,
    state: Arc<State>,
    drain_times: Rc<Cell<DrainTimes>>,
) -> impl AsyncFnMut(Config) -> Result<(), Infallible> {
    async move |config| {
        state.limit(config.limits);
        drain_times.set(config.drain);
        if std::mem::replace(&mut level, config.logging.level) != level {
            logging::set_level(level);
        }
        Ok(())
    }
}
