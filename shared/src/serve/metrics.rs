//! The metrics of a listener.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Client connections of one listener.
#[derive(Debug, Clone)]
pub struct ConnectionMetrics {
    pub accepted: IntCounter,
    pub open: IntGauge,
    pub accept_errors: IntCounter,
    /// By reason: the names of [`super::Refusal`].
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
