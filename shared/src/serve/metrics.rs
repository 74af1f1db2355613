//! The metrics of a listener.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Client connections of one listener.
#[derive(Debug, Clone)]
pub struct ConnectionMetrics {
    /// Connections accepted.
    pub accepted: IntCounter,
    /// Connections open now.
    pub open: IntGauge,
    /// Failed accepts.
    pub accept_errors: IntCounter,
    /// Rejected requests by reason: the names of [`super::Refusal`].
    pub refused: IntCounterVec,
    /// Connections cut because the client did not read its answer.
    pub stalled: IntCounter,
}

impl ConnectionMetrics {
    /// Registers the metrics, whose names begin with `prefix`.
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
                    "Malformed requests rejected, by reason.",
                ),
                &["reason"],
            )?,
            stalled: IntCounter::new(
                format!("{prefix}_responses_stalled_total"),
                "Responses cut because the client did not read them.",
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
