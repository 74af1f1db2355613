//! The load of an endpoint as the balancer sees it: requests in flight, and latency.
//!
//! The latency is a moving average with three properties that a plain one lacks. One slow answer does not make an
//! endpoint slow (a step up is bounded), a second one does. What nobody asks for a while fades, so that an
//! endpoint that was slow is tried again; and the first slow answer after that brings the old estimate back. And
//! while requests wait, the silence since the last answer counts as latency: a frozen endpoint looks slow before
//! the first timeout.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::upstream::monotonic::{MonotonicNanos, nanos};

/// An estimate that nothing renews loses 63 % in this time: linkerd's decay.
const DECAY: Duration = Duration::from_secs(10);
/// Younger estimates are taken as they are, which spares the request path the exponential.
const FRESH: Duration = Duration::from_millis(100);
/// An answer counts as at most this many times the estimate, unless it was that slow before.
const BOUND: u64 = 4;
/// Part of the difference that one answer moves the estimate by, upwards and downwards.
const RISE: u64 = 4;
const FALL: u64 = 8;

/// One request that waits for its answer's head, and one whose answer has not ended, in `counts`.
const AWAITING: u64 = 1 << 32;
const IN_FLIGHT: u64 = 1;

#[derive(Debug, Default)]
pub struct Load {
    /// High half: requests without an answer's head. Low half: requests whose answer has not ended.
    counts: AtomicU64,
    /// Estimated time to an answer's head in nanoseconds; 0 while nothing is known.
    latency: AtomicU64,
    estimated_at: AtomicU64,
    /// The last answer, or the request that found the endpoint without another one waiting.
    progress_at: AtomicU64,
}

impl Load {
    /// An endpoint that is expected to take as long as its neighbours.
    pub fn starting_at(latency: u64, now: MonotonicNanos) -> Self {
        Self {
            latency: AtomicU64::new(latency),
            estimated_at: AtomicU64::new(now.nanos()),
            ..Self::default()
        }
    }

    /// Takes a request in hand, unless `limit` are already.
    pub fn begin(&self, limit: u32, now: MonotonicNanos) -> bool {
        let before = self.counts.fetch_add(AWAITING + IN_FLIGHT, Ordering::Relaxed);
        if in_flight(before) >= limit {
            self.counts.fetch_sub(AWAITING + IN_FLIGHT, Ordering::Relaxed);
            return false;
        }
        if before < AWAITING {
            self.progress_at.store(now.nanos(), Ordering::Relaxed);
        }
        true
    }

    /// The head of an answer came after `took` nanoseconds.
    pub fn answered(&self, took: u64, now: MonotonicNanos) {
        self.counts.fetch_sub(AWAITING, Ordering::Relaxed);
        self.progress_at.store(now.nanos(), Ordering::Relaxed);
        let kept = self.latency.load(Ordering::Relaxed);
        let estimate = faded(kept, now.nanos_since(self.estimated_at.load(Ordering::Relaxed)));
        // Two workers may do this at once; then one answer is not counted, which is no harm to an average.
        self.latency.store(after(kept, estimate, took), Ordering::Relaxed);
        self.estimated_at.store(now.nanos(), Ordering::Relaxed);
    }

    /// Forgets how long answers took, and expects `latency` of the next: it was another state that the endpoint was in.
    /// Left to fade, the time of a freeze would keep requests from it for most of a minute.
    pub fn start_over(&self, latency: u64, now: MonotonicNanos) {
        self.latency.store(latency, Ordering::Relaxed);
        self.estimated_at.store(now.nanos(), Ordering::Relaxed);
    }

    /// The head of an answer came that says no: however fast it did, the endpoint must not look fast.
    pub fn refused(&self, took: u64, now: MonotonicNanos) {
        let estimate = self.latency(now);
        self.answered(took.max(estimate.saturating_mul(BOUND)), now);
    }

    /// No answer came in the time that was allowed: the endpoint takes at least that long.
    pub fn timed_out(&self, waited: u64, now: MonotonicNanos) {
        self.counts.fetch_sub(AWAITING, Ordering::Relaxed);
        let age = now.nanos_since(self.estimated_at.load(Ordering::Relaxed));
        let estimate = faded(self.latency.load(Ordering::Relaxed), age);
        self.latency.store(estimate.max(waited), Ordering::Relaxed);
        self.estimated_at.store(now.nanos(), Ordering::Relaxed);
    }

    /// The request was given up before its answer's head, and that says nothing about how long it takes.
    pub fn abandoned(&self) {
        self.counts.fetch_sub(AWAITING, Ordering::Relaxed);
    }

    /// The answer ended, or was given up.
    pub fn ended(&self) {
        self.counts.fetch_sub(IN_FLIGHT, Ordering::Relaxed);
    }

    pub fn in_flight(&self) -> u32 {
        in_flight(self.counts.load(Ordering::Relaxed))
    }

    /// Expected latency of an answer in nanoseconds; 0 when nothing is known.
    pub fn latency(&self, now: MonotonicNanos) -> u64 {
        let age = now.nanos_since(self.estimated_at.load(Ordering::Relaxed));
        let estimate = faded(self.latency.load(Ordering::Relaxed), age);
        match self.counts.load(Ordering::Relaxed) < AWAITING {
            true => estimate,
            false => estimate.max(self.silence(now)),
        }
    }

    /// Tells whether nothing was answered since `sent`.
    pub fn silent_since(&self, sent: MonotonicNanos) -> bool {
        self.progress_at.load(Ordering::Relaxed) <= sent.nanos()
    }

    fn silence(&self, now: MonotonicNanos) -> u64 {
        now.nanos_since(self.progress_at.load(Ordering::Relaxed))
    }
}

fn in_flight(counts: u64) -> u32 {
    // The low half: what is cut off is the other count.
    counts as u32
}

/// Remaining part of an estimate of this age.
fn faded(estimate: u64, age: u64) -> u64 {
    if age <= nanos(FRESH) {
        return estimate;
    }
    let left = (-(age as f64) / nanos(DECAY) as f64).exp();
    (estimate as f64 * left) as u64
}

/// The estimate after an answer that took `took`. `kept` is the estimate as it was left, `estimate` what has not faded of it.
fn after(kept: u64, estimate: u64, took: u64) -> u64 {
    if kept == 0 {
        return took.max(1);
    }
    let next = if took > estimate {
        let bound = kept.max(estimate.saturating_mul(BOUND));
        estimate + (took.min(bound) - estimate).div_ceil(RISE)
    } else {
        estimate - (estimate - took) / FALL
    };
    next.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MILLI: u64 = 1_000_000;

    fn at(millis: u64) -> MonotonicNanos {
        MonotonicNanos::from_nanos(millis * MILLI)
    }

    /// A load that has seen a hundred answers of one millisecond.
    fn steady() -> Load {
        let load = Load::default();
        for turn in 0..100 {
            assert!(load.begin(10, at(turn)));
            load.answered(MILLI, at(turn + 1));
            load.ended();
        }
        load
    }

    #[test]
    fn one_slow_answer_is_chance_and_two_are_not() {
        let load = steady();
        assert_eq!(load.latency(at(100)), MILLI);
        load.begin(10, at(100));
        load.answered(20 * MILLI, at(100));
        assert!(load.latency(at(100)) < 2 * MILLI);
        load.begin(10, at(100));
        load.answered(20 * MILLI, at(100));
        assert!(load.latency(at(100)) > 2 * MILLI);
    }

    #[test]
    fn silence_counts_while_a_request_waits_and_only_then() {
        let load = steady();
        assert_eq!(load.latency(at(150)), MILLI);
        assert!(load.begin(10, at(150)));
        assert_eq!(load.latency(at(150)), MILLI);
        assert_eq!(load.latency(at(190)), 40 * MILLI);
        assert!(load.silent_since(at(150)));
        load.answered(MILLI, at(190));
        assert!(!load.silent_since(at(150)));
        // The answer's body may take for ever: that is no silence.
        assert_eq!(load.in_flight(), 1);
        assert_eq!(load.latency(at(195)), MILLI);
    }

    #[test]
    fn what_was_slow_is_tried_again_and_believed_at_once_if_it_still_is() {
        let load = steady();
        for _ in 0..20 {
            assert!(load.begin(10, at(100)));
            load.answered(20 * MILLI, at(100));
            load.ended();
        }
        assert!(load.latency(at(100)) > 15 * MILLI);
        assert!(load.latency(at(30_000)) < 2 * MILLI);
        load.begin(10, at(30_000));
        load.answered(20 * MILLI, at(30_000));
        assert!(load.latency(at(30_000)) > 4 * MILLI);
    }

    #[test]
    fn a_fast_failure_does_not_look_fast() {
        let load = steady();
        for _ in 0..3 {
            load.begin(10, at(100));
            load.refused(MILLI / 10, at(100));
        }
        assert!(load.latency(at(100)) > 4 * MILLI);
    }

    #[test]
    fn a_timeout_counts_in_full() {
        let load = steady();
        load.begin(10, at(100));
        load.timed_out(500 * MILLI, at(600));
        assert_eq!(load.latency(at(600)), 500 * MILLI);
    }

    #[test]
    fn the_limit_holds_until_an_answer_has_ended() {
        let load = Load::default();
        assert!(load.begin(1, at(0)));
        assert!(!load.begin(1, at(0)));
        load.answered(MILLI, at(1));
        assert!(!load.begin(1, at(1)));
        load.ended();
        assert!(load.begin(1, at(1)));
        assert_eq!(load.in_flight(), 1);
    }

    proptest! {
        #[test]
        fn the_estimate_stays_between_what_was_seen(samples in prop::collection::vec(1u64..10_000_000_000, 1..200)) {
            let load = Load::default();
            for sample in &samples {
                load.begin(1, at(0));
                load.answered(*sample, at(0));
                load.ended();
            }
            let (least, most) = (samples.iter().min().expect("some"), samples.iter().max().expect("some"));
            let latency = load.latency(at(0));
            prop_assert!((*least..=*most).contains(&latency), "{latency} outside {least}..={most}");
        }

        #[test]
        fn an_estimate_only_fades(latency in 0u64..1_000_000_000_000, age in 0u64..100_000_000_000, more in 0u64..100_000_000_000) {
            prop_assert!(faded(latency, age) <= latency);
            prop_assert!(faded(latency, age.saturating_add(more)) <= faded(latency, age));
        }
    }
}
