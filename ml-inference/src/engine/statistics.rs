//! How often a version of a model was asked, and how long that took: totals since it was loaded.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Totals of one version. All of a request's are entered together, when it is over, and read together: clients that
/// measure between two readings (perf_analyzer) demand equal counts of all parts.
#[derive(Debug, Default)]
pub struct Statistics {
    // Held for a few additions: less than six atomics that a reader could not see as one.
    totals: Mutex<Totals>,
}

/// Totals, as of one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests that were answered, from the body's last byte to the written answer.
    pub success: Total,
    /// Requests that the model did not answer.
    pub fail: Total,
    /// The wait for a compute thread; 0 for models that need none.
    pub queue: Total,
    /// The reading of a request into tensors.
    pub input: Total,
    /// The model itself.
    pub infer: Total,
    /// The writing of tensors into an answer.
    pub output: Total,
    /// Rows of all answered requests; a request whose inputs have no rows counts as one.
    pub rows: u64,
    /// Calls of the runtime.
    pub runs: u64,
    /// When a request was answered last, since 1970; 0 when none was.
    pub last_milliseconds: u64,
}

/// Times of one answered request.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    pub whole: Duration,
    pub input: Duration,
    pub queue: Duration,
    pub infer: Duration,
    pub output: Duration,
    pub rows: usize,
    /// Calls of the runtime.
    pub runs: usize,
}

impl Statistics {
    pub fn answered(&self, request: Answered) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut totals = self.lock();
        totals.success.add(request.whole);
        totals.input.add(request.input);
        totals.queue.add(request.queue);
        totals.infer.add(request.infer);
        totals.output.add(request.output);
        totals.rows += request.rows as u64;
        totals.runs += request.runs as u64;
        totals.last_milliseconds = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    }

    pub fn failed(&self, took: Duration) {
        self.lock().fail.add(took);
    }

    pub fn totals(&self) -> Totals {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Totals> {
        // Additions cannot panic halfway.
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often, and how long in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Total {
    pub count: u64,
    pub nanoseconds: u64,
}

impl Total {
    fn add(&mut self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.count += 1;
        self.nanoseconds = self.nanoseconds.saturating_add(nanoseconds);
    }
}
