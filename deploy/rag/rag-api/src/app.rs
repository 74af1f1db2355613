//! The life of the process: signals, listener, workers, a vector for each text, ready; then a signal, the drain and the end.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::HeaderValue;
use shared::backoff::{Backoff, jittered};
use shared::lifecycle::{Drained, Lifecycle, Phase, Signals, drain};
use shared::main_thread;
use shared::reload::{Progress, Reloader};
use shared::serve::{self, BindError};
use shared::telemetry::logging::millis;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::config::Config;
use crate::embedding::{Embedder, EmbeddingError, Model};
use crate::http::{ServiceState, answer};
use crate::metrics::Metrics;
use crate::stack;
use crate::texts::{self, Index, TextsError};
use crate::wordpiece::{Vocabulary, VocabularyError};

/// Between two attempts to have the texts embedded: ml-inference may start at the same time, or load a large model.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

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
    #[error("cannot make an HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    #[error("VOCABULARY_FILE: {0}")]
    Vocabulary(#[from] VocabularyError),
    #[error("TEXTS_FILE: {0}")]
    Texts(#[from] TextsError),
    #[error("a worker ended unexpectedly")]
    WorkerGone,
}

/// Runs the service to its end.
pub fn run(config: Config, reloader: Reloader<Config>) -> ExitCode {
    main_thread::run(config.service.logging, serve(config, reloader))
}

async fn serve(config: Config, reloader: Reloader<Config>) -> Result<Drained, AppError> {
    let mut signals = Signals::install().map_err(AppError::Signals)?;
    let workers = serve::usable_cpus();
    info!(
        service = config.service_name,
        pod = config.service.pod_name,
        environment = config.service.environment,
        workers,
        "starting"
    );
    let lifecycle = Lifecycle::default();
    let metrics = Arc::new(Metrics::new()?);
    let texts = texts::read(&config.texts, config.max_texts_bytes)?;
    let vocabulary = Arc::new(Vocabulary::read(&config.vocabulary)?);
    let embedding = Arc::new(config.embedding.clone());
    let embedder = Embedder::new(&embedding, &vocabulary)?;
    let state = Arc::new(ServiceState {
        service_name: config.service_name.clone(),
        phase: lifecycle.watch(),
        metrics: Arc::clone(&metrics),
        limits: config.query,
        passage_pause: config.passage_pause,
        request_timeout: config.request_timeout,
        api_key: config.api_key.clone(),
        places: Arc::new(Semaphore::new(config.max_queries)),
        index: OnceLock::new(),
    });

    let listeners = serve::bind(config.address, workers)?;
    info!(address = %listeners.address, "listening");
    let pod = HeaderValue::from_str(&config.service.pod_name).expect("validated names are header values");
    let make_worker = {
        let state = Arc::clone(&state);
        move || {
            // A client of its own: connections live on the runtime of the thread that opened them.
            let embedder = Embedder::new(&embedding, &vocabulary).expect("one could be made before");
            let (state, pod) = (Arc::clone(&state), pod.clone());
            move |peer, _takeover| {
                let (shared, embedder) = (Arc::clone(&state), embedder.clone());
                let answered = move |request| {
                    let (state, embedder) = (Arc::clone(&shared), embedder.clone());
                    async move { answer(&state, &embedder, request).await }
                };
                stack::service(Arc::clone(&state.metrics), pod.clone(), peer, answered)
            }
        }
    };
    let mut threads = serve::spawn(
        listeners,
        config.service.connections,
        &lifecycle.watch(),
        &metrics.connections,
        make_worker,
    )
    .map_err(AppError::Spawn)?;

    let drain_times = Rc::new(Cell::new(config.service.drain));
    let renewed = Rc::clone(&drain_times);
    let apply = async move |config: Config| {
        renewed.set(config.service.drain);
        Ok::<_, Infallible>(())
    };
    let reloads = Arc::new(Progress::default());
    tokio::task::spawn_local(reloader.follow(metrics.reloads.clone(), reloads, apply));

    let signal = tokio::select! {
        signal = signals.next() => signal,
        () = threads.one_ended() => return Err(AppError::WorkerGone),
        never = become_ready(&lifecycle, &state, &embedder, texts, config.batch) => match never {},
    };
    info!(?signal, "stopping");
    let open = &metrics.connections.open;
    Ok(drain(&lifecycle, drain_times.get(), &mut signals, threads.all_ended(), open).await)
}

/// Waits until every text has a vector. Then the service is ready, for good.
async fn become_ready(
    lifecycle: &Lifecycle,
    state: &ServiceState,
    embedder: &Embedder,
    texts: Vec<String>,
    batch: usize,
) -> Infallible {
    let started = Instant::now();
    let mut backoff = Backoff::new(FIRST_PAUSE);
    let (model, vectors) = loop {
        match embed_all(embedder, &texts, batch).await {
            Ok(embedded) => break embedded,
            Err(error) => {
                state.metrics.embedding_errors.inc();
                warn!(%error, "not ready: the texts have no vectors yet; trying again");
                sleep(jittered(backoff.pause(LONGEST_PAUSE), 0.5)).await;
            }
        }
    };
    let index = Index::new(texts, &vectors);
    info!(
        texts = index.len(),
        width = index.width(),
        model_version = model.version,
        duration_ms = millis(started.elapsed()),
        "ready: every text has a vector"
    );
    state.metrics.texts.set(i64::try_from(index.len()).unwrap_or(i64::MAX));
    // There is none before: this is the only place that sets it.
    let _first = state.index.set((model, index));
    lifecycle.enter(Phase::Serving);
    pending().await
}

/// A vector of the same version of the model for each text, in batches.
async fn embed_all(
    embedder: &Embedder,
    texts: &[String],
    batch: usize,
) -> Result<(Model, Vec<Vec<f32>>), EmbeddingError> {
    let model = embedder.describe().await?;
    let mut vectors: Vec<Vec<f32>> = Vec::with_capacity(texts.len());
    for batch in texts.chunks(batch) {
        vectors.extend(embedder.embed(&model, batch).await?);
        if vectors.iter().any(|vector| vector.len() != vectors[0].len()) {
            let problem = "two batches of vectors have not the same length";
            return Err(EmbeddingError::Malformed(problem.to_owned()));
        }
    }
    Ok((model, vectors))
}
