//! Pauses between the attempts of a task that retries for as long as it runs.
//!
//! A pause doubles with each failure in a row, up to the longest. Jitter keeps replicas that failed together from retrying together.

use std::time::Duration;

/// Doublings beyond which a pause does not grow, whatever its longest is.
const MOST_DOUBLINGS: u32 = 16;

/// The failures in a row of one task, and the pause after each.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    failures: u32,
}

impl Backoff {
    /// A backoff without failures, whose first pause is `first`.
    pub const fn new(first: Duration) -> Self {
        Self { first, failures: 0 }
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Counts a failure and returns the pause after it, without jitter and no longer than `longest`.
    pub fn pause(&mut self, longest: Duration) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(MOST_DOUBLINGS));
        self.failures = self.failures.saturating_add(1);
        doubled.min(longest)
    }

    /// Starts over after a success, and returns the failures in a row that it ended.
    pub fn reset(&mut self) -> u32 {
        std::mem::take(&mut self.failures)
    }
}

/// A random time between `least`, a share from 0 to 1, of `pause` and the whole of it.
pub fn jittered(pause: Duration, least: f64) -> Duration {
    pause.mul_f64(least + fastrand::f64() * (1.0 - least))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pauses_double_until_a_success_starts_over() {
        let (first, longest) = (Duration::from_millis(250), Duration::from_secs(5));
        let mut backoff = Backoff::new(first);
        let pauses: Vec<u128> = (0..7).map(|_| backoff.pause(longest).as_millis()).collect();
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 5000, 5000]);
        assert_eq!(backoff.reset(), 7);
        assert_eq!((backoff.failures(), backoff.pause(longest)), (0, first));
    }

    proptest! {
        #[test]
        fn a_pause_grows_to_the_longest_and_never_beyond(
            first_ms in 1_u64..2000,
            longest_ms in 0_u64..4_000_000,
            failures in 0_usize..100,
        ) {
            let longest = Duration::from_millis(longest_ms);
            let mut backoff = Backoff::new(Duration::from_millis(first_ms));
            let mut last = Duration::ZERO;
            for _ in 0..=failures {
                let pause = backoff.pause(longest);
                prop_assert!(pause >= last && pause <= longest);
                last = pause;
            }
            prop_assert_eq!(last, Duration::from_millis(first_ms << failures.min(16)).min(longest));
        }

        #[test]
        fn jitter_keeps_at_least_its_share(pause_ms in 0_u64..4_000_000, least in 0.0..=1.0) {
            let pause = Duration::from_millis(pause_ms);
            let jittered = jittered(pause, least);
            prop_assert!(jittered <= pause);
            prop_assert!(jittered + Duration::from_nanos(1) >= pause.mul_f64(least));
        }
    }
}
