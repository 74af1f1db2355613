//! One address of a cluster, shared by all workers.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tracing::{info, warn};

/// After a failed connection, or an answer that did not come in time, an endpoint rests: it is chosen only
/// when no other is left.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(10);

/// Rest ends are kept as milliseconds since this moment, because an atomic holds no `Instant`.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn now_millis() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[derive(Debug)]
pub struct Endpoint {
    pub address: SocketAddr,
    /// Failures since the last success.
    failures: AtomicU32,
    rests_until: AtomicU64,
}

impl Endpoint {
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            failures: AtomicU32::new(0),
            rests_until: AtomicU64::new(0),
        }
    }

    pub fn note_failure(&self) {
        // What fails together is one failure: the requests that a frozen endpoint held time out at once.
        if self.is_resting() {
            return;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed);
        if failures == 0 {
            warn!(endpoint = %self.address, "an endpoint does not answer: it rests, others are preferred");
        }
        let rest = FIRST_REST.saturating_mul(1 << failures.min(8)).min(LONGEST_REST);
        let until = now_millis() + u64::try_from(rest.as_millis()).unwrap_or(u64::MAX);
        self.rests_until.store(until, Ordering::Relaxed);
    }

    pub fn note_success(&self) {
        if self.failures.load(Ordering::Relaxed) > 0 && self.failures.swap(0, Ordering::Relaxed) > 0 {
            info!(endpoint = %self.address, "an endpoint answers again");
        }
    }

    pub fn is_resting(&self) -> bool {
        self.failures.load(Ordering::Relaxed) > 0 && now_millis() < self.rests_until.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_rests_an_endpoint_and_a_success_wakes_it() {
        let endpoint = Endpoint::new(([127, 0, 0, 1], 1).into());
        assert!(!endpoint.is_resting());
        endpoint.note_failure();
        assert!(endpoint.is_resting());
        endpoint.note_success();
        assert!(!endpoint.is_resting());
    }

    #[test]
    fn failures_that_come_together_are_one() {
        let endpoint = Endpoint::new(([127, 0, 0, 1], 1).into());
        for _ in 0..32 {
            endpoint.note_failure();
        }
        let rest = endpoint
            .rests_until
            .load(Ordering::Relaxed)
            .saturating_sub(now_millis());
        assert!(u128::from(rest) <= FIRST_REST.as_millis(), "{rest} ms");
    }
}
