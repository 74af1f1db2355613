//! When each request of a constant-rate load is due. Pure arithmetic, exact: the thousandth second is as full as the first.

use std::time::Duration;

const NANOS_A_SECOND: u128 = 1_000_000_000;

/// Requests at one rate, numbered from 0, the first at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Requests a second.
    rate: u32,
    /// Requests in all.
    total: u64,
}

impl Schedule {
    /// What is due before `length` is over.
    ///
    /// # Panics
    /// With a rate of 0.
    pub fn new(rate: u32, length: Duration) -> Self {
        assert!(rate > 0, "a rate of 0 has no first request");
        let endless = Self { rate, total: u64::MAX };
        let total = match length.checked_sub(Duration::from_nanos(1)) {
            Some(last) => endless.released_by(last),
            None => 0,
        };
        Self { rate, total }
    }

    pub fn total(&self) -> u64 {
        self.total
    }

    /// When request `number` is due.
    pub fn due(&self, number: u64) -> Duration {
        let nanos = u128::from(number) * NANOS_A_SECOND / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many requests are due up to and including `elapsed`.
    pub fn released_by(&self, elapsed: Duration) -> u64 {
        let due = ((elapsed.as_nanos() + 1) * u128::from(self.rate)).div_ceil(NANOS_A_SECOND);
        u64::try_from(due).unwrap_or(u64::MAX).min(self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_request_is_released_when_it_is_due_and_not_before(rate in 1u32..1_000_000, number in 0u64..10_000_000_000) {
            let schedule = Schedule { rate, total: u64::MAX };
            let due = schedule.due(number);
            prop_assert!(schedule.released_by(due) > number);
            if let Some(before) = due.checked_sub(Duration::from_nanos(1)) {
                prop_assert!(schedule.released_by(before) <= number);
            }
        }

        #[test]
        fn every_second_holds_the_rate(rate in 1u32..1_000_000, second in 0u64..100_000) {
            let schedule = Schedule { rate, total: u64::MAX };
            let before = |at: u64| schedule.released_by(Duration::from_secs(at) - Duration::from_nanos(1));
            let first = if second == 0 { 0 } else { before(second) };
            prop_assert_eq!(before(second + 1) - first, u64::from(rate));
        }

        #[test]
        fn the_total_is_what_is_due_before_the_end(rate in 1u32..100_000, millis in 1u64..100_000) {
            let length = Duration::from_millis(millis);
            let schedule = Schedule::new(rate, length);
            prop_assert!(schedule.total() >= 1);
            prop_assert!(schedule.due(schedule.total() - 1) < length);
            prop_assert!(schedule.due(schedule.total()) >= length);
            prop_assert_eq!(schedule.released_by(Duration::MAX / 4), schedule.total());
        }

        #[test]
        fn gaps_are_even(rate in 1u32..1_000_000, number in 0u64..1_000_000_000) {
            let schedule = Schedule { rate, total: u64::MAX };
            let gap = schedule.due(number + 1) - schedule.due(number);
            let even = Duration::from_nanos(1_000_000_000 / u64::from(rate));
            prop_assert!(gap.abs_diff(even) <= Duration::from_nanos(1));
        }
    }

    #[test]
    fn no_time_no_requests() {
        assert_eq!(Schedule::new(100, Duration::ZERO).total(), 0);
    }
}
