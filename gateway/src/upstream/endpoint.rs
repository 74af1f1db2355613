//! One address of a cluster, shared by all workers: how loaded it looks, how it did lately, whether it may be used.

mod load;
mod outlier;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tracing::{info, warn};

use load::Load;
use outlier::{Outlier, SuccessRate};

use super::monotonic::{MonotonicNanos, nanos};
use crate::config::EjectionConfig;

/// The part of its weight that an endpoint starts with when it has to start slowly.
const LEAST_SHARE: f64 = 0.1;
/// The backend's word on its queue holds for this long.
const HINT_HOLDS: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Endpoint {
    pub address: SocketAddr,
    /// Its part of the requests, relative to the others'.
    weight: AtomicU32,
    /// Time when it was first seen, or came back: the start of a slow start.
    started_at: AtomicU64,
    load: Load,
    outlier: Outlier,
    /// Result of the active health check; without one it is true.
    healthy: AtomicBool,
    rate: Mutex<SuccessRate>,
    successes: AtomicU64,
    failures: AtomicU64,
    ejections: AtomicU64,
    /// Requests that the backend says it has in hand, from every gateway, and when it said so.
    hint: AtomicU32,
    hinted_at: AtomicU64,
}

/// Outcome of a request at an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An answer that speaks for the endpoint.
    Success,
    /// An answer that does not: 5xx.
    Refusal,
    /// An answer that says it has too much to do: no failure, but no reason to send it more.
    Shed,
    /// It broke the connection before an answer.
    Broke,
    /// No answer in the time that was allowed.
    TimedOut,
}

impl Endpoint {
    /// An endpoint that is expected to take `latency` nanoseconds, as its neighbours do.
    pub fn new(address: SocketAddr, weight: u32, latency: u64, now: MonotonicNanos) -> Self {
        Self {
            address,
            weight: AtomicU32::new(weight),
            started_at: AtomicU64::new(now.nanos()),
            load: Load::starting_at(latency, now),
            outlier: Outlier::default(),
            healthy: AtomicBool::new(true),
            rate: Mutex::default(),
            successes: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            ejections: AtomicU64::new(0),
            hint: AtomicU32::new(0),
            hinted_at: AtomicU64::new(0),
        }
    }

    pub fn load(&self) -> &Load {
        &self.load
    }

    /// Tells whether the balancer may choose it: healthy, and not ejected or due for a probe.
    pub fn admits(&self, now: MonotonicNanos) -> bool {
        self.outlier.admits(now) && self.healthy.load(Ordering::Relaxed)
    }

    pub fn is_ejected(&self) -> bool {
        self.outlier.is_ejected()
    }

    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    pub fn wants_probe(&self, now: MonotonicNanos) -> bool {
        self.outlier.wants_probe(now)
    }

    /// Claims to be the one request that decides whether an ejected endpoint comes back.
    pub fn claim_probe(&self, now: MonotonicNanos) -> bool {
        self.outlier.claim_probe(now)
    }

    pub fn release_probe(&self) {
        self.outlier.release_probe();
    }

    /// Requests in hand, by the gateway's count or by the backend's own word while that is fresh.
    pub fn in_flight(&self, now: MonotonicNanos) -> u32 {
        let own = self.load.in_flight();
        match now.nanos_since(self.hinted_at.load(Ordering::Relaxed)) <= nanos(HINT_HOLDS) {
            true => own.max(self.hint.load(Ordering::Relaxed)),
            false => own,
        }
    }

    /// Takes the backend's word on how many requests it has in hand.
    pub fn note_hint(&self, in_flight: u32, now: MonotonicNanos) {
        self.hint.store(in_flight, Ordering::Relaxed);
        self.hinted_at.store(now.nanos(), Ordering::Relaxed);
    }

    pub fn weight(&self) -> u32 {
        self.weight.load(Ordering::Relaxed)
    }

    pub(super) fn set_weight(&self, weight: u32) {
        self.weight.store(weight, Ordering::Relaxed);
    }

    /// The weight, or the part of it that a slow start allows.
    pub fn share(&self, slow_start: Duration, now: MonotonicNanos) -> f64 {
        let weight = f64::from(self.weight());
        if slow_start.is_zero() {
            return weight;
        }
        let age = now.nanos_since(self.started_at.load(Ordering::Relaxed));
        let part = age as f64 / nanos(slow_start) as f64;
        weight * part.clamp(LEAST_SHARE, 1.0)
    }

    /// Notes the outcome of a request that was sent at `sent`; true when it ends the endpoint's ejection.
    pub fn note(&self, outcome: Outcome, sent: MonotonicNanos, now: MonotonicNanos, config: &EjectionConfig) -> bool {
        let took = now.nanos_since(sent.nanos());
        match outcome {
            Outcome::Success => {
                self.load.answered(took, now);
                return self.note_success(now);
            }
            Outcome::Shed => {
                self.load.refused(took, now);
                return self.note_success(now);
            }
            Outcome::Refusal => self.load.refused(took, now),
            Outcome::Broke => self.load.abandoned(),
            // Nothing else was answered meanwhile: it is frozen, not slow at this one request.
            Outcome::TimedOut if self.load.silent_since(sent) => {
                self.load.timed_out(took, now);
                self.failures.fetch_add(1, Ordering::Relaxed);
                self.eject(config, now, "it does not answer");
                return false;
            }
            Outcome::TimedOut => self.load.timed_out(took, now),
        }
        self.failures.fetch_add(1, Ordering::Relaxed);
        if let Some(penalty) = self.outlier.failed(config, now, fastrand::f64()) {
            self.tell_ejected(penalty, "failures in a row");
        }
        false
    }

    /// Notes a success; true when it brings the endpoint back.
    fn note_success(&self, now: MonotonicNanos) -> bool {
        self.successes.fetch_add(1, Ordering::Relaxed);
        let is_back = self.outlier.succeeded(now);
        if is_back {
            self.started_at.store(now.nanos(), Ordering::Relaxed);
            self.lock_rate().clear();
            info!(endpoint = %self.address, "endpoint recovered");
        }
        is_back
    }

    /// No connection could be opened.
    pub fn note_unreachable(&self, config: &EjectionConfig, now: MonotonicNanos) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.eject(config, now, "it takes no connections");
    }

    /// Looks at the last seconds; called once a second by the control thread.
    pub fn judge_rate(&self, config: &EjectionConfig, now: MonotonicNanos) {
        let (successes, failures) = self.totals();
        let too_low = self.lock_rate().is_too_low(successes, failures, config);
        if too_low && !self.is_ejected() {
            self.eject(config, now, "too many failures");
        }
    }

    /// Requests that ended well and that did not, since the endpoint is known.
    pub fn totals(&self) -> (u64, u64) {
        (
            self.successes.load(Ordering::Relaxed),
            self.failures.load(Ordering::Relaxed),
        )
    }

    pub fn ejections(&self) -> u64 {
        self.ejections.load(Ordering::Relaxed)
    }

    /// Notes what the active health check found; true when that brings the endpoint back.
    pub fn set_healthy(&self, healthy: bool, now: MonotonicNanos) -> bool {
        if self.healthy.swap(healthy, Ordering::Relaxed) == healthy {
            return false;
        }
        match healthy {
            true => {
                self.started_at.store(now.nanos(), Ordering::Relaxed);
                info!(endpoint = %self.address, "endpoint passed its health check");
            }
            false => warn!(endpoint = %self.address, "endpoint failed its health check; it gets no requests"),
        }
        healthy
    }

    fn eject(&self, config: &EjectionConfig, now: MonotonicNanos, why: &'static str) {
        if let Some(penalty) = self.outlier.eject(config, now, fastrand::f64()) {
            self.tell_ejected(penalty, why);
        }
    }

    fn tell_ejected(&self, penalty: Duration, why: &'static str) {
        self.ejections.fetch_add(1, Ordering::Relaxed);
        let seconds = penalty.as_millis() as f64 / 1000.0;
        warn!(endpoint = %self.address, seconds, why, "endpoint ejected");
    }

    fn lock_rate(&self) -> std::sync::MutexGuard<'_, SuccessRate> {
        // Whoever panicked with it has left numbers, which are judged again in a second.
        self.rate.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: u64 = 1_000_000;
    const CONFIG: EjectionConfig = EjectionConfig {
        consecutive_failures: 7,
        success_percent: 80,
        minimum_requests: 5,
        first_penalty: Duration::from_secs(1),
        longest_penalty: Duration::from_secs(60),
    };

    fn at(millis: u64) -> MonotonicNanos {
        MonotonicNanos::from_nanos(millis * MILLI)
    }

    fn ask(endpoint: &Endpoint, sent: u64, outcome: Outcome, answered: u64) -> bool {
        assert!(endpoint.load().begin(10, at(sent)));
        let is_back = endpoint.note(outcome, at(sent), at(answered), &CONFIG);
        endpoint.load().ended();
        is_back
    }

    #[test]
    fn silence_ejects_and_an_answer_to_the_probe_brings_back() {
        let endpoint = Endpoint::new(([127, 0, 0, 1], 1).into(), 1, 0, at(0));
        for turn in 1..100 {
            assert!(!ask(&endpoint, turn, Outcome::Success, turn + 1));
        }
        assert!(!ask(&endpoint, 1_000, Outcome::TimedOut, 1_500));
        assert!(endpoint.is_ejected(), "it answered nothing at all");
        assert!(endpoint.load().latency(at(1_500)) >= 500 * MILLI);

        assert!(endpoint.claim_probe(at(5_000)), "the penalty is over");
        assert!(ask(&endpoint, 5_000, Outcome::Success, 5_002));
        assert!(!endpoint.is_ejected());
        assert!(!ask(&endpoint, 5_003, Outcome::Success, 5_004), "it is back already");
    }
}
