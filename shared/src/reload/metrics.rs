//! The metrics of reloads.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

/// The results of reloads; the last two are named as Prometheus's own.
#[derive(Debug, Clone)]
pub struct ReloadMetrics {
    reloads: IntCounterVec,
    successful: IntGauge,
    at: IntGauge,
}

impl ReloadMetrics {
    /// Registers the metrics, whose names begin with `prefix`.
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
                "1 when the settings as they are mounted now are applied, 0 when they were rejected.",
            )?,
            at: IntGauge::new(
                format!("{prefix}_config_last_reload_success_timestamp_seconds"),
                "Unix time at which settings were last applied.",
            )?,
        };
        registry.register(Box::new(metrics.reloads.clone()))?;
        registry.register(Box::new(metrics.successful.clone()))?;
        registry.register(Box::new(metrics.at.clone()))?;
        metrics.reloads.with_label_values(&["refused"]);
        Ok(metrics)
    }

    /// Counts settings that are applied now.
    pub fn applied_now(&self) {
        self.reloads.with_label_values(&["applied"]).inc();
        self.successful.set(1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.at.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    }

    /// Notes files that changed and say what is applied already.
    pub fn unchanged(&self) {
        self.successful.set(1);
    }

    /// Counts a reload that was rejected.
    pub fn refused(&self) {
        self.reloads.with_label_values(&["refused"]).inc();
        self.successful.set(0);
    }
}
