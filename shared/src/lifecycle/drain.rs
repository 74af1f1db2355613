//! The drain: from the first signal to the last request.

use std::future::Future;
use std::time::Duration;

use prometheus::IntGauge;
use tokio::time::timeout;
use tracing::{info, warn};

use super::phase::{Lifecycle, Phase};
use super::signal::{Signal, Signals};
use crate::config::scalar::SECONDS_OR_ZERO;
use crate::config::units::seconds;
use crate::config::{Setting, Settings};

/// The time from SIGTERM to the closing of the listener, in seconds.
pub const DRAIN_WINDOW: Setting = Setting::new(
    "DRAIN_WINDOW",
    "5",
    SECONDS_OR_ZERO,
    "after SIGTERM: how long to go on accepting while not ready, until every router has removed this endpoint",
)
.live();
/// The time from the closing of the listener to the end of every request, in seconds.
pub const DRAIN_TIMEOUT: Setting = Setting::new(
    "DRAIN_TIMEOUT",
    "20",
    SECONDS_OR_ZERO,
    "after the window: how long requests in flight may take to finish",
)
.live();

/// The two times of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainTimes {
    /// The time to go on accepting after readiness went off.
    pub window: Duration,
    /// The time that requests in flight have after that.
    pub timeout: Duration,
}

impl DrainTimes {
    /// The times in `settings`.
    pub fn from_settings(settings: &mut Settings) -> Self {
        Self {
            window: settings.get(&DRAIN_WINDOW, seconds),
            timeout: settings.get(&DRAIN_TIMEOUT, seconds),
        }
    }
}

/// The outcome of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every accepted request was answered.
    Clean,
    /// The deadline came first.
    TimedOut,
    /// A second signal: whoever sent it does not want to wait.
    Cut(Signal),
}

/// Walks the process from `serving` to its end; `finished` completes when no connection is left, and
/// `open` counts those that are.
pub async fn drain(
    lifecycle: &Lifecycle,
    times: DrainTimes,
    signals: &mut Signals,
    finished: impl Future<Output = ()>,
    open: &IntGauge,
) -> Drained {
    info!(
        window_seconds = times.window.as_secs_f64(),
        "draining: not ready, still accepting"
    );
    lifecycle.enter(Phase::Draining);
    let walk = async {
        tokio::time::sleep(times.window).await;
        info!(
            timeout_seconds = times.timeout.as_secs_f64(),
            "closing the listener, finishing requests"
        );
        lifecycle.enter(Phase::Closing);
        timeout(times.timeout, finished).await
    };
    tokio::select! {
        walked = walk => match walked {
            Ok(()) => {
                info!("drained");
                Drained::Clean
            }
            Err(_elapsed) => {
                let connections = open.get();
                warn!(connections, "the drain timeout passed with requests still in flight; they are cut");
                Drained::TimedOut
            }
        },
        signal = signals.next() => {
            warn!(?signal, "second signal: ending at once");
            Drained::Cut(signal)
        }
    }
}
