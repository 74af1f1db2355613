//! How often a version of a model was asked, and how long that took: totals since it was loaded, kept in atomics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The totals are independent: a reader may see one of a request's before another.
#[derive(Debug, Default)]
pub struct Statistics {
    /// Requests that the model answered, from the check of their inputs to the outputs.
    pub success: Total,
    /// Requests that it did not answer.
    pub fail: Total,
    /// The wait for a compute thread.
    pub queue: Total,
    /// The reading of a request into tensors.
    pub input: Total,
    /// The model itself.
    pub infer: Total,
    /// The writing of tensors into an answer.
    pub output: Total,
    rows: AtomicU64,
    runs: AtomicU64,
    last_milliseconds: AtomicU64,
}

impl Statistics {
    /// Notes that the model has answered for `rows` rows, in `runs` calls of its runtime.
    pub(super) fn ran(&self, rows: usize, runs: usize, took: Duration) {
        self.infer.add(took);
        self.rows.fetch_add(rows as u64, Relaxed);
        self.runs.fetch_add(runs as u64, Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_milliseconds
            .store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Rows of all requests; a request whose inputs have no rows counts as one.
    pub fn rows(&self) -> u64 {
        self.rows.load(Relaxed)
    }

    /// Calls of the runtime.
    pub fn runs(&self) -> u64 {
        self.runs.load(Relaxed)
    }

    /// When the model ran last, since 1970; 0 when it never did.
    pub fn last_milliseconds(&self) -> u64 {
        self.last_milliseconds.load(Relaxed)
    }
}

/// How often, and how long in all.
#[derive(Debug, Default)]
pub struct Total {
    count: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Total {
    pub fn add(&self, took: Duration) {
        self.count.fetch_add(1, Relaxed);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Relaxed);
    }

    /// The count, and the nanoseconds.
    pub fn read(&self) -> (u64, u64) {
        (self.count.load(Relaxed), self.nanoseconds.load(Relaxed))
    }
}
