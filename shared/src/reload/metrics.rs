//! The metrics of reloads.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

/// How the reloads of a process's settings went; the last two are what Prometheus shows of its own.
#[derive(Debug, Clone)]
pub struct ReloadMetrics {
    reloads: IntCounterVec,
    successful: IntGauge,
    at: IntGauge,
}

impl ReloadMetrics {
    pub fn register(registry: &Registry, prefix: &str) -> prometheus::Result<Self> {
        let metrics = Self {
            reloads: IntCounterVec::new(
                Opts::new(
                    format!("{prefix}_config_reloads_total"),
                    "Times the mounted settings were read, the start included, by result.",
                ),
                &["result"],
            )?,
            successful: IntGauge::new(
                format!("{prefix}_config_last_reload_successful"),
                "1 when the settings as they are mounted now hold, 0 when they were refused.",
            )?,
            at: IntGauge::new(
                format!("{prefix}_config_last_reload_success_timestamp_seconds"),
                "Unix time at which settings were last taken up.",
            )?,
        };
        registry.register(Box::new(metrics.reloads.clone()))?;
        registry.register(Box::new(metrics.successful.clone()))?;
        registry.register(Box::new(metrics.at.clone()))?;
        metrics.reloads.with_label_values(&["refused"]);
        Ok(metrics)
    }

    pub fn applied_now(&self) {
        self.reloads.with_label_values(&["applied"]).inc();
        self.successful.set(1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.at.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    }

    /// The files changed, and say what holds already.
    pub fn unchanged(&self) {
        self.successful.set(1);
    }

    pub fn refused(&self) {
        self.reloads.with_label_values(&["refused"]).inc();
        self.successful.set(0);
    }
}
