//! The settings of a running process, followed as their files change.
//!
//! The files are read again and again instead of being watched by inotify. That costs some system calls a second and
//! sees every change: also through bind mounts of a virtual machine and network file systems, which raise no events, and
//! on nodes where the instances of inotify (128 a user by default) are used up.

use std::fmt::Display;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use super::layers::Values;
use super::units::seconds;
use super::{Changes, Faults, Layers, Settings, common};
use crate::telemetry::metrics::ReloadMetrics;

/// Makes a service's settings of the merged layers, each time they change.
pub struct Reloader<S> {
    layers: Layers,
    parse: fn(&mut Settings) -> S,
    /// What the files were when they were last judged, valid or not.
    judged: u64,
    /// What they were at the last look.
    seen: u64,
    /// The settings that hold.
    current: Settings,
    /// Those that the process started with.
    started: Values,
    interval: Duration,
}

/// What changed files say, all of it valid.
pub struct Reload<S> {
    pub settings: S,
    /// None where only comments, order or the like are another.
    pub changes: Changes,
    /// Settings that are not as they were at the start, and wait for the next one.
    pub at_restart: Vec<&'static str>,
    /// The settings that held before.
    before: Settings,
}

impl<S> Reloader<S> {
    /// Loads the layers for the first time.
    pub fn start(layers: Layers, parse: fn(&mut Settings) -> S) -> (Result<S, Faults>, Self) {
        let judged = layers.fingerprint();
        let mut current = layers.load();
        let interval = current.get(&common::RELOAD_INTERVAL, seconds);
        let parsed = parse(&mut current);
        let parsed = current.finish(parsed);
        let layers = Layers {
            file_held: current.file_said_something(),
            ..layers
        };
        let reloader = Self {
            layers,
            parse,
            judged,
            seen: judged,
            started: current.values(),
            current,
            interval,
        };
        (parsed, reloader)
    }

    /// The settings that hold.
    pub fn current(&self) -> &Settings {
        &self.current
    }

    /// One look at the files. What they say counts when they are not as they were judged, the look before saw the same,
    /// and they stayed so while they were read: a file that is being written is left alone.
    pub fn look(&mut self) -> Option<Result<Reload<S>, Faults>> {
        let print = self.layers.fingerprint();
        let is_steady = std::mem::replace(&mut self.seen, print) == print;
        if print == self.judged || !is_steady {
            return None;
        }
        let mut settings = self.layers.load();
        self.seen = self.layers.fingerprint();
        if self.seen != print {
            return None;
        }
        self.judged = print;
        let parsed = (self.parse)(&mut settings);
        Some(settings.finish(parsed).map(|parsed| {
            let changes = settings.changes_since(&self.current.values());
            let at_restart = settings.changes_since(&self.started).at_restart;
            self.layers.file_held |= settings.file_said_something();
            Reload {
                settings: parsed,
                changes,
                at_restart,
                before: std::mem::replace(&mut self.current, settings),
            }
        }))
    }

    /// Has `apply` take up every valid change for as long as the process runs, and tells of each: in the log, in
    /// `metrics` and in `progress`. Settings that `apply` does not take leave the old ones in force.
    pub async fn follow<E: Display>(
        mut self,
        metrics: ReloadMetrics,
        progress: Arc<Progress>,
        mut apply: impl AsyncFnMut(S) -> Result<(), E>,
    ) {
        metrics.applied_now();
        if self.interval.is_zero() {
            // `apply` may own what the settings of the start need.
            return pending().await;
        }
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(looked) = self.look() else { continue };
            let taken = match looked {
                Ok(reload) if reload.changes.is_empty() => {
                    metrics.unchanged();
                    progress.unchanged();
                    Ok(())
                }
                Ok(reload) => match apply(reload.settings).await {
                    Ok(()) => {
                        metrics.applied_now();
                        progress.applied(&reload.changes, reload.at_restart);
                        Ok(())
                    }
                    Err(error) => {
                        self.current = reload.before;
                        Err(error.to_string())
                    }
                },
                Err(faults) => Err(faults.in_one_line()),
            };
            if let Err(problem) = taken {
                metrics.refused();
                error!(problem, "the changed settings are refused, those before them hold");
                progress.refused(problem);
            }
        }
    }
}

/// How a process's settings came to be what they are, for its status page.
#[derive(Debug, Default)]
pub struct Progress(ArcSwap<State>);

#[derive(Debug, Clone)]
pub struct State {
    /// 1 at the start, one more with each change of settings that was taken up.
    pub generation: u64,
    pub since: Instant,
    /// Settings that are not as they were at the start, and wait for the next one.
    pub at_restart: Vec<&'static str>,
    /// Why the files as they are now were refused.
    pub refused: Option<String>,
}

impl State {
    /// As a status page shows it.
    pub fn json(&self) -> serde_json::Value {
        json!({
            "generation": self.generation,
            "age_seconds": self.since.elapsed().as_secs(),
            "refused": self.refused,
            "at_restart": self.at_restart,
        })
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            generation: 1,
            since: Instant::now(),
            at_restart: Vec::new(),
            refused: None,
        }
    }
}

impl Progress {
    pub fn state(&self) -> Arc<State> {
        self.0.load_full()
    }

    fn applied(&self, changes: &Changes, at_restart: Vec<&'static str>) {
        let generation = self.state().generation + 1;
        info!(generation, changed = changes.live.join(" "), "settings changed");
        // Those that were taken back are as the process has them.
        let mut waiting = changes.at_restart.clone();
        waiting.retain(|name| at_restart.contains(name));
        if !waiting.is_empty() {
            warn!(
                settings = waiting.join(" "),
                "these changed too, and hold from the next start on"
            );
        }
        self.0.store(Arc::new(State {
            generation,
            since: Instant::now(),
            at_restart,
            refused: None,
        }));
    }

    fn refused(&self, problem: String) {
        self.judged(Some(problem));
    }

    /// The files say what holds already.
    fn unchanged(&self) {
        if self.state().refused.is_some() {
            info!("the files say again what holds, nothing is refused any more");
        }
        self.judged(None);
    }

    fn judged(&self, refused: Option<String>) {
        let mut state = State::clone(&self.state());
        state.refused = refused;
        self.0.store(Arc::new(state));
    }
}
