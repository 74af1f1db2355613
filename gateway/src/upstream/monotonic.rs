//! A point in time that an atomic can hold.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Instant;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds since the process began to count; never 0, which stands for "not yet" where it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MonotonicNanos(u64);

impl MonotonicNanos {
    pub fn now() -> Self {
        Self::from(Instant::now())
    }

    pub fn from_nanos(nanos: u64) -> Self {
        Self(nanos.max(1))
    }

    pub fn nanos(self) -> u64 {
        self.0
    }

    /// Nanoseconds from `earlier`, a stored moment, to this one; 0 when that is later.
    pub fn nanos_since(self, earlier: u64) -> u64 {
        self.0.saturating_sub(earlier)
    }

    #[must_use]
    pub fn plus(self, time: Duration) -> Self {
        Self(self.0.saturating_add(nanos(time)))
    }
}

impl From<Instant> for MonotonicNanos {
    fn from(instant: Instant) -> Self {
        Self::from_nanos(nanos(instant.saturating_duration_since(*START)))
    }
}

/// A duration as whole nanoseconds: 584 years fit.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
