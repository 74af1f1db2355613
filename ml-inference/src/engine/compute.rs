//! The threads on which models run that would hold a worker up, and the queue in front of them.
//!
//! ```text
//! worker: Job ──► queue (bounded) ──► compute thread: run ──► worker, by a channel of one answer
//! ```
//!
//! A job whose client has left is passed over, and one that is running ends at its next batch. One job runs alone; jobs
//! that could share a run would be put together where a thread takes one from the queue.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use model_runtime::RunThreads;
use model_runtime::tensor::Tensor;
use prometheus::IntGauge;
use tokio::sync::oneshot;
use tracing::error;

use super::loaded_model::{EngineError, LoadedModel, Ran, RunLimits};

pub(crate) type RunResult = Result<Ran, EngineError>;

/// One request's run of a model.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) model: Arc<LoadedModel>,
    pub(crate) inputs: Vec<Tensor>,
    pub(crate) limits: RunLimits,
    pub(crate) queued: Instant,
    pub(crate) answer: oneshot::Sender<RunResult>,
}

/// The compute threads. They end with their owner.
#[derive(Debug)]
pub struct Compute {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    waiting: IntGauge,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    ended: bool,
}

impl Compute {
    /// So many runs at the same time, each with `threads_per_run` threads. `waiting` is kept at the number of jobs in the queue.
    pub fn start(runs: usize, threads_per_run: usize, waiting: IntGauge) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            work: Condvar::new(),
            waiting,
        });
        let mut compute = Self {
            shared,
            threads: Vec::new(),
        };
        for index in 0..runs.max(1) {
            let shared = Arc::clone(&compute.shared);
            let threads = RunThreads::new(threads_per_run);
            let thread = std::thread::Builder::new().name(format!("compute-{index}"));
            compute
                .threads
                .push(thread.spawn(move || threads.within(|| shared.work()))?);
        }
        Ok(compute)
    }

    /// Puts `job` into the queue, unless `most_waiting` are there: then it is dropped, and its sender with it.
    pub(crate) fn submit(&self, job: Job, most_waiting: usize) -> Result<(), EngineError> {
        let mut queue = self.shared.lock();
        if queue.jobs.len() >= most_waiting {
            queue.jobs.retain(|job| !job.answer.is_closed());
        }
        if queue.jobs.len() >= most_waiting {
            self.shared.count(&queue);
            return Err(EngineError::Busy { limit: most_waiting });
        }
        queue.jobs.push_back(job);
        self.shared.count(&queue);
        drop(queue);
        self.shared.work.notify_one();
        Ok(())
    }
}

#[cfg(test)]
impl Compute {
    pub(crate) fn waiting(&self) -> i64 {
        self.shared.waiting.get()
    }
}

impl Drop for Compute {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            // A thread catches what its jobs panic with, so it has nothing to tell.
            let _ended = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing runs under the lock that could leave the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, queue: &Queue) {
        self.waiting.set(i64::try_from(queue.jobs.len()).unwrap_or(i64::MAX));
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            let Job {
                model,
                inputs,
                limits,
                queued,
                answer,
            } = job;
            let waited = queued.elapsed();
            model.has_waited(waited);
            let run = || model.run(inputs, limits, || answer.is_closed());
            let outcome = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_panic| {
                // The panic hook has written what and where.
                error!(model = model.model.name, "model panicked; responding 500");
                Err(EngineError::Panicked)
            });
            // A client that has left wants no answer.
            let _taken = answer.send(outcome.map(|ran| Ran { queue: waited, ..ran }));
        }
    }

    /// The next job that somebody still waits for, or `None` when it is over.
    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if queue.ended {
                return None;
            }
            match queue.jobs.pop_front() {
                Some(job) => {
                    self.count(&queue);
                    if !job.answer.is_closed() {
                        return Some(job);
                    }
                }
                None => queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}
