//! Ejection: an endpoint that fails gets no requests for a while, then one to prove itself.
//!
//! ```text
//! in ──(failures in a row, or too few successes, or unreachable)──► ejected ──penalty over──► one probe
//!  ▲                                                                   ▲                        │   │
//!  └───────────────────────── success ─────────────────────────────────┼────────────────────────┘   │
//!                                                                      └──── failure: twice as long ┘
//! ```
//!
//! The thresholds are absolute, not relative to the other endpoints: with two to eight pods there is no crowd to
//! differ from. That all may be ejected at once is the balancer's concern: then it uses them all.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::config::EjectionConfig;
use crate::upstream::monotonic::MonotonicNanos;

/// Seconds that the success rate is taken over.
pub(super) const WINDOW: usize = 10;
/// A penalty is up to this much longer, so that endpoints that failed together do not return together.
const JITTER: f64 = 0.5;
/// Ejected again this soon after its return, an endpoint gets the longer penalty.
const RELAPSE: Duration = Duration::from_secs(WINDOW as u64);

#[derive(Debug, Default)]
pub(super) struct Outlier {
    failures_in_a_row: AtomicU32,
    /// End of the penalty; 0 while the endpoint is not ejected.
    ejected_until: AtomicU64,
    /// The one request that proves the endpoint is on its way.
    probing: AtomicBool,
    /// Penalties since it last was well for a while.
    penalties: AtomicU32,
    returned_at: AtomicU64,
}

impl Outlier {
    /// Tells whether a request may go to the endpoint: it is not ejected, or waits for a probe.
    pub(super) fn admits(&self, now: MonotonicNanos) -> bool {
        match self.ejected_until.load(Ordering::Relaxed) {
            0 => true,
            until => until <= now.nanos() && !self.probing.load(Ordering::Relaxed),
        }
    }

    pub(super) fn is_ejected(&self) -> bool {
        self.ejected_until.load(Ordering::Relaxed) != 0
    }

    /// Tells whether the endpoint's penalty is over and no probe is under way.
    pub(super) fn wants_probe(&self, now: MonotonicNanos) -> bool {
        self.is_ejected() && self.admits(now)
    }

    /// Claims to be the probe.
    pub(super) fn claim_probe(&self, now: MonotonicNanos) -> bool {
        self.wants_probe(now) && !self.probing.swap(true, Ordering::AcqRel)
    }

    /// The probe ended without a verdict, for instance because its client left.
    pub(super) fn release_probe(&self) {
        self.probing.store(false, Ordering::Release);
    }

    /// Notes a success; true when it brings the endpoint back.
    pub(super) fn succeeded(&self, now: MonotonicNanos) -> bool {
        if self.failures_in_a_row.load(Ordering::Relaxed) != 0 {
            self.failures_in_a_row.store(0, Ordering::Relaxed);
        }
        if !self.is_ejected() {
            return false;
        }
        let was = self.ejected_until.swap(0, Ordering::AcqRel);
        self.returned_at.store(now.nanos(), Ordering::Relaxed);
        self.release_probe();
        was != 0
    }

    /// Notes a failure; the penalty when it ejects the endpoint. `jitter` is from 0 to 1.
    pub(super) fn failed(&self, config: &EjectionConfig, now: MonotonicNanos, jitter: f64) -> Option<Duration> {
        let in_a_row = self.failures_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        let probe = self.is_ejected() && self.probing.load(Ordering::Acquire);
        (probe || in_a_row >= config.consecutive_failures)
            .then(|| self.eject(config, now, jitter))
            .flatten()
    }

    /// Ejects the endpoint, unless it is ejected already: what fails together is one failure.
    pub(super) fn eject(&self, config: &EjectionConfig, now: MonotonicNanos, jitter: f64) -> Option<Duration> {
        if now.nanos() < self.ejected_until.load(Ordering::Relaxed) {
            return None;
        }
        let relapse = self.is_ejected() || now.nanos_since(self.returned_at.load(Ordering::Relaxed)) < nanos(RELAPSE);
        let earlier = match relapse {
            true => self.penalties.fetch_add(1, Ordering::Relaxed),
            false => {
                self.penalties.store(1, Ordering::Relaxed);
                0
            }
        };
        let penalty = penalty(config, earlier, jitter);
        self.ejected_until.store(now.plus(penalty).nanos(), Ordering::Release);
        self.failures_in_a_row.store(0, Ordering::Relaxed);
        self.release_probe();
        Some(penalty)
    }
}

fn nanos(duration: Duration) -> u64 {
    crate::upstream::monotonic::nanos(duration)
}

/// Doubles with each penalty before, up to the longest, and a little more by chance.
fn penalty(config: &EjectionConfig, earlier: u32, jitter: f64) -> Duration {
    let doubled = config.first_penalty.saturating_mul(1 << earlier.min(16));
    doubled.min(config.longest_penalty).mul_f64(1.0 + JITTER * jitter)
}

/// Successes and failures of the last [`WINDOW`] seconds, from totals that are read once a second.
#[derive(Debug, Default)]
pub(super) struct SuccessRate {
    totals: [(u64, u64); WINDOW],
    next: usize,
    filled: usize,
}

impl SuccessRate {
    /// Takes the totals of this second; whether the part that succeeded since the window's start is too small.
    pub(super) fn is_too_low(&mut self, successes: u64, failures: u64, config: &EjectionConfig) -> bool {
        let (first_successes, first_failures) = match self.filled {
            0 => (successes, failures),
            filled if filled < WINDOW => self.totals[0],
            _ => self.totals[self.next],
        };
        self.totals[self.next] = (successes, failures);
        self.next = (self.next + 1) % WINDOW;
        self.filled = (self.filled + 1).min(WINDOW);
        let (succeeded, failed) = (successes - first_successes, failures - first_failures);
        let all = succeeded + failed;
        all >= config.minimum_requests && succeeded * 100 < all * u64::from(config.success_percent)
    }

    /// Forgets what led to an ejection: after its return an endpoint is judged anew.
    pub(super) fn clear(&mut self) {
        self.filled = 0;
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CONFIG: EjectionConfig = EjectionConfig {
        consecutive_failures: 7,
        success_percent: 80,
        minimum_requests: 5,
        first_penalty: Duration::from_secs(1),
        longest_penalty: Duration::from_secs(60),
    };

    fn at(seconds: f64) -> MonotonicNanos {
        MonotonicNanos::from_nanos((seconds * 1e9) as u64)
    }

    #[test]
    fn seven_failures_in_a_row_eject_and_a_success_in_between_starts_anew() {
        let outlier = Outlier::default();
        for _ in 0..6 {
            assert_eq!(outlier.failed(&CONFIG, at(1.0), 0.0), None);
        }
        assert!(!outlier.succeeded(at(1.0)), "it was never out");
        for _ in 0..6 {
            assert_eq!(outlier.failed(&CONFIG, at(1.0), 0.0), None);
        }
        assert!(outlier.admits(at(1.0)));
        assert_eq!(outlier.failed(&CONFIG, at(1.0), 0.0), Some(Duration::from_secs(1)));
        assert!(!outlier.admits(at(1.9)));
    }

    #[test]
    fn one_probe_at_a_time_decides() {
        let outlier = Outlier::default();
        outlier.eject(&CONFIG, at(1.0), 0.0);
        assert!(!outlier.claim_probe(at(1.9)));
        assert!(outlier.claim_probe(at(2.1)));
        assert!(!outlier.claim_probe(at(2.1)), "one is on its way");
        assert!(!outlier.admits(at(2.1)));
        outlier.release_probe();
        assert!(outlier.claim_probe(at(2.2)), "the first ended without a verdict");
        assert_eq!(outlier.failed(&CONFIG, at(2.2), 0.0), Some(Duration::from_secs(2)));
        assert!(outlier.claim_probe(at(4.3)));
        assert!(outlier.succeeded(at(4.4)), "it is back");
        assert!(outlier.admits(at(4.4)) && !outlier.is_ejected());
    }

    #[test]
    fn a_relapse_costs_more_and_good_conduct_is_remembered() {
        let outlier = Outlier::default();
        let mut now = 100.0;
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            let penalty = outlier.eject(&CONFIG, at(now), 0.0).expect("it was in");
            assert_eq!(penalty.as_secs(), expected);
            now += penalty.as_secs_f64() + 0.1;
            outlier.succeeded(at(now));
            now += 1.0;
        }
        assert_eq!(
            outlier.eject(&CONFIG, at(now + 11.0), 0.0),
            Some(Duration::from_secs(1))
        );
    }

    #[test]
    fn failures_that_come_together_are_one() {
        let outlier = Outlier::default();
        assert!(outlier.eject(&CONFIG, at(1.0), 0.0).is_some());
        for _ in 0..100 {
            assert_eq!(outlier.failed(&CONFIG, at(1.5), 0.0), None);
        }
        assert!(outlier.admits(at(2.1)));
    }

    proptest! {
        #[test]
        fn a_penalty_is_between_the_first_and_the_longest_with_its_jitter(earlier: u32, jitter in 0.0f64..1.0) {
            let penalty = penalty(&CONFIG, earlier, jitter);
            prop_assert!(penalty >= CONFIG.first_penalty);
            prop_assert!(penalty <= CONFIG.longest_penalty.mul_f64(1.0 + JITTER));
        }

        #[test]
        fn the_rate_counts_the_window_and_nothing_else(seconds in prop::collection::vec((0u64..10, 0u64..10), 1..60)) {
            let mut rate = SuccessRate::default();
            let (mut successes, mut failures) = (0, 0);
            let mut low = rate.is_too_low(0, 0, &CONFIG);
            for (succeeded, failed) in &seconds {
                successes += succeeded;
                failures += failed;
                low = rate.is_too_low(successes, failures, &CONFIG);
            }
            let recent = &seconds[seconds.len().saturating_sub(WINDOW)..];
            let succeeded: u64 = recent.iter().map(|second| second.0).sum();
            let all: u64 = recent.iter().map(|second| second.0 + second.1).sum();
            prop_assert_eq!(low, all >= 5 && succeeded * 100 < all * 80);
        }
    }
}
