//! The threads that one run of a model may use.
//!
//! rten's own way is one pool for the process, which every run is sent to and waits for: 13 µs for a model that computes for
//! one. A compute thread therefore lives inside a pool of its own, and a run begins where it is.

use std::cell::RefCell;
use std::sync::Arc;

use rten::ThreadPool;

thread_local! {
    static CURRENT: RefCell<Option<Arc<ThreadPool>>> = const { RefCell::new(None) };
}

/// How many runs of one model there may be at the same time, and how many threads each of them has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parallelism {
    pub runs: usize,
    pub threads_per_run: usize,
}

/// A pool for one run at a time.
#[derive(Debug, Clone)]
pub struct RunThreads(Arc<ThreadPool>);

impl RunThreads {
    pub fn new(count: usize) -> Self {
        Self(Arc::new(ThreadPool::with_num_threads(count.max(1))))
    }

    /// Does `work` on one of the threads; models that it runs use this pool.
    pub fn within<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.0.run(|| {
            let _within = Within(CURRENT.replace(Some(Arc::clone(&self.0))));
            work()
        })
    }
}

/// Pool that a thread was in before. It is restored when this is dropped, also by a panic: a pool held by its own thread would
/// never end.
struct Within(Option<Arc<ThreadPool>>);

impl Drop for Within {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// Starts rten's pool for the process, which it uses for what it can compute while a model is opened. Its threads keep the priority of
/// the thread that calls this.
pub fn start_shared() {
    let _running = rten::thread_pool();
}

/// The pool that this thread belongs to; without one, a run goes to a pool of the whole process.
pub(crate) fn current() -> Option<Arc<ThreadPool>> {
    CURRENT.with_borrow(Clone::clone)
}
