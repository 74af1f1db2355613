//! The loop that looks at the files and has changes taken up.

use std::fmt::Display;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::error;
use tracing::level_filters::LevelFilter;

use super::metrics::ReloadMetrics;
use super::progress::Progress;
use crate::config::scalar::SECONDS_OR_ZERO;
use crate::config::units::seconds;
use crate::config::{Changes, Layers, Setting, SettingErrors, Settings, Values};
use crate::telemetry::logging;

/// The time between two looks at the mounted files, in seconds; zero switches reloads off.
pub const RELOAD_INTERVAL: Setting = Setting::new(
    "RELOAD_INTERVAL",
    "1",
    SECONDS_OR_ZERO,
    "how often the mounted files are read; a change is applied once two reads see the same, 0: never",
);

/// The reader of a service's settings, which parses the merged layers each time they change.
pub struct Reloader<S> {
    layers: Layers,
    parse: fn(&mut Settings) -> S,
    /// The fingerprint of the files that were last validated, valid or not.
    judged: u64,
    /// Their fingerprint at the last look.
    seen: u64,
    /// The settings that are applied.
    current: Settings,
    /// Those that the process started with.
    started: Values,
    interval: Duration,
    log_level: LevelFilter,
}

/// The content of changed files, all of it valid.
pub struct Reload<S> {
    /// The service's settings.
    pub settings: S,
    /// The changed settings; none when only comments, order or the like changed.
    pub changes: Changes,
    /// Settings that are not as they were at the start, and wait for the next one.
    pub at_restart: Vec<&'static str>,
    /// The settings that were applied before.
    before: Settings,
}

impl<S> Reloader<S> {
    /// Loads the layers for the first time.
    pub fn start(layers: Layers, parse: fn(&mut Settings) -> S) -> (Result<S, SettingErrors>, Self) {
        let judged = layers.fingerprint();
        let mut current = layers.load();
        let interval = current.get(&RELOAD_INTERVAL, seconds);
        let parsed = parse(&mut current);
        let parsed = current.finish(parsed);
        let log_level = logging::level(&mut current);
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
            log_level,
        };
        (parsed, reloader)
    }

    /// The settings that are applied.
    pub fn current(&self) -> &Settings {
        &self.current
    }

    /// One look at the files. What they say counts when they are not as they were judged, the look before saw the same,
    /// and they stayed so while they were read: a file that is being written is left alone.
    pub fn look(&mut self) -> Option<Result<Reload<S>, SettingErrors>> {
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

    /// Calls `apply` with every valid change for as long as the process runs, and reports each: in the log, in
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
                        self.follow_log_level();
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
                error!(problem, "changed settings rejected; the previous ones stay applied");
                progress.refused(problem);
            }
        }
    }

    /// The level of the log is no service's own: it changes here, once the service has the other settings.
    fn follow_log_level(&mut self) {
        let level = logging::level(&mut self.current);
        if std::mem::replace(&mut self.log_level, level) != level {
            logging::set_level(level);
        }
    }
}
