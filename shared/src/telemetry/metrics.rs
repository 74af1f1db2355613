//! A registry with what every process shows: build, process, connections.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{Encoder, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

/// Buckets in seconds for requests that take from a tenth of a millisecond to the default timeout.
pub const LATENCY_BUCKETS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// A registry that already shows the process and `<prefix>_build_info`.
pub fn registry(prefix: &str, version: &str) -> prometheus::Result<Registry> {
    let registry = Registry::new();
    let options = Opts::new(
        format!("{prefix}_build_info"),
        "Which build this is; the value is always 1.",
    )
    .const_label("version", version);
    let build = IntGauge::with_opts(options)?;
    build.set(1);
    registry.register(Box::new(build))?;
    let process = prometheus::process_collector::ProcessCollector::for_self();
    registry.register(Box::new(process))?;
    Ok(registry)
}

/// What a scrape gets.
pub fn render(registry: &Registry) -> prometheus::Result<Vec<u8>> {
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    Ok(text)
}

/// Client connections of one listener.
#[derive(Debug, Clone)]
pub struct ConnectionMetrics {
    pub accepted: IntCounter,
    pub open: IntGauge,
    pub accept_errors: IntCounter,
    /// By reason: the names of [`crate::serve::Refusal`].
    pub refused: IntCounterVec,
    pub stalled: IntCounter,
}

impl ConnectionMetrics {
    pub fn register(registry: &Registry, prefix: &str) -> prometheus::Result<Self> {
        let metrics = Self {
            accepted: IntCounter::new(
                format!("{prefix}_connections_accepted_total"),
                "Client connections accepted.",
            )?,
            open: IntGauge::new(format!("{prefix}_connections_open"), "Client connections open now.")?,
            accept_errors: IntCounter::new(
                format!("{prefix}_connections_accept_errors_total"),
                "Times the listener could not accept, for example for want of file descriptors.",
            )?,
            refused: IntCounterVec::new(
                Opts::new(
                    format!("{prefix}_requests_refused_total"),
                    "What clients sent that is no request, by what is wrong with it.",
                ),
                &["reason"],
            )?,
            stalled: IntCounter::new(
                format!("{prefix}_responses_stalled_total"),
                "Answers cut because the client did not take them.",
            )?,
        };
        registry.register(Box::new(metrics.accepted.clone()))?;
        registry.register(Box::new(metrics.open.clone()))?;
        registry.register(Box::new(metrics.accept_errors.clone()))?;
        registry.register(Box::new(metrics.refused.clone()))?;
        registry.register(Box::new(metrics.stalled.clone()))?;
        Ok(metrics)
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_shows_build_and_process() {
        let registry = registry("demo", "1.2.3").expect("registers");
        let text = String::from_utf8(render(&registry).expect("renders")).expect("UTF-8");
        assert!(text.contains("demo_build_info{version=\"1.2.3\"} 1"), "{text}");
        assert!(text.contains("process_resident_memory_bytes"), "{text}");
    }
}
