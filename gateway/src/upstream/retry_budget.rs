//! The number of requests that may be sent again: a part of those that were sent, and a few a second besides.
//!
//! Without a budget, an upstream in trouble gets every request several times, which is what keeps it there. One
//! worker's budget: each sees its own requests, and the parts add up. tower has one as well (`TpsBudget`); it takes
//! a lock and reads the clock for every request, where this one adds two numbers.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use super::monotonic::MonotonicNanos;
use crate::config::RetryBudgetConfig;

/// Seconds that are looked back on, as linkerd does.
const WINDOW: usize = 10;
const SECOND: u64 = 1_000_000_000;

#[derive(Debug)]
pub struct RetryBudget {
    config: RetryBudgetConfig,
    /// Requests of the running second.
    requests: Cell<u64>,
    window: RefCell<Window>,
}

#[derive(Debug, Default)]
struct Window {
    /// The second that `seconds[second % WINDOW]` stands for.
    second: u64,
    seconds: [Second; WINDOW],
}

#[derive(Debug, Default, Clone, Copy)]
struct Second {
    requests: u64,
    retries: u64,
}

impl RetryBudget {
    pub fn new(config: RetryBudgetConfig) -> Self {
        Self {
            config,
            requests: Cell::new(0),
            window: RefCell::default(),
        }
    }

    /// Counts a request. Which second it belongs to is settled when a retry is asked for, or by [`Self::tick`].
    pub fn note_request(&self) {
        self.requests.set(self.requests.get() + 1);
    }

    /// Moves the window on; called about once a second, so that requests are counted in the second they came in.
    pub fn tick(&self, now: MonotonicNanos) {
        self.window
            .borrow_mut()
            .advance(now.nanos() / SECOND, self.requests.take());
    }

    /// Takes one retry out of the budget, if there is one.
    pub fn withdraw(&self, now: MonotonicNanos) -> bool {
        self.tick(now);
        let mut window = self.window.borrow_mut();
        let requests: u64 = window.seconds.iter().map(|second| second.requests).sum();
        let retries: u64 = window.seconds.iter().map(|second| second.retries).sum();
        let free = u64::from(self.config.per_second) * WINDOW as u64;
        let allowed = retries < free + requests * u64::from(self.config.percent) / 100;
        if allowed {
            window.current().retries += 1;
        }
        allowed
    }
}

impl Window {
    fn advance(&mut self, second: u64, requests: u64) {
        // What was counted since the last look belongs to the second that ran then.
        self.current().requests += requests;
        let passed = second.saturating_sub(self.second).min(WINDOW as u64);
        self.second = self.second.max(second);
        for back in 0..passed {
            *self.at(self.second - back) = Second::default();
        }
    }

    fn current(&mut self) -> &mut Second {
        self.at(self.second)
    }

    fn at(&mut self, second: u64) -> &mut Second {
        &mut self.seconds[(second % WINDOW as u64) as usize]
    }
}

/// Interval of the calls of [`RetryBudget::tick`].
pub const TICK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::monotonic::nanos;
    use proptest::prelude::*;

    fn at(seconds: u64) -> MonotonicNanos {
        MonotonicNanos::from_nanos(seconds * nanos(TICK))
    }

    fn budget(percent: u32, per_second: u32) -> RetryBudget {
        RetryBudget::new(RetryBudgetConfig { percent, per_second })
    }

    fn granted(budget: &RetryBudget, now: MonotonicNanos) -> usize {
        (0..10_000).take_while(|_| budget.withdraw(now)).count()
    }

    #[test]
    fn a_quiet_service_has_its_free_retries_and_gets_them_back_after_the_window() {
        let budget = budget(20, 1);
        assert_eq!(granted(&budget, at(100)), 10);
        assert_eq!(granted(&budget, at(105)), 0);
        assert_eq!(granted(&budget, at(110)), 10);
    }

    #[test]
    fn requests_earn_retries_for_as_long_as_the_window_remembers_them() {
        let budget = budget(20, 0);
        budget.tick(at(100));
        (0..100).for_each(|_| budget.note_request());
        assert_eq!(granted(&budget, at(101)), 20);
        assert_eq!(granted(&budget, at(109)), 0);
        budget.tick(at(110));
        (0..50).for_each(|_| budget.note_request());
        assert_eq!(granted(&budget, at(112)), 10);
        assert_eq!(granted(&budget, at(130)), 0);
    }

    proptest! {
        #[test]
        fn retries_never_exceed_the_part_and_the_free_ones(
            percent in 0u32..=100,
            per_second in 0u32..20,
            seconds in prop::collection::vec((0u64..200, 0usize..200), 1..40),
        ) {
            let budget = budget(percent, per_second);
            let (mut requests, mut retries) = (0, 0);
            for (second, (count, asked)) in (1000..).zip(&seconds) {
                budget.tick(at(second));
                (0..*count).for_each(|_| budget.note_request());
                requests += count;
                retries += (0..*asked).filter(|_| budget.withdraw(at(second))).count() as u64;
            }
            // A window that begins anew gives its free retries anew.
            let windows = (seconds.len() as u64).div_ceil(WINDOW as u64) + 1;
            let free = u64::from(per_second) * WINDOW as u64 * windows;
            prop_assert!(retries <= free + requests * u64::from(percent) / 100);
        }
    }
}
