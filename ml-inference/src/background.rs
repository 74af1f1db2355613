//! Low-priority work beside requests: on a thread that runs where a processor has nothing else to do.
//!
//! ```text
//! run ──► idle thread: work ───────────────────────────────► outcome
//!          └─ kept from running for a second ──► low thread: the same work ──► whichever is done first
//! ```
//!
//! A low priority is not enough. A thread that has begun its slice keeps the processor for some milliseconds whatever wakes up
//! meanwhile, and that is what the slowest of a hundred requests waited for; a thread of Linux's class `SCHED_IDLE` gives way at
//! once. Such a thread gets next to nothing for as long as requests keep every processor busy, and an ordinary process may not
//! take the class back. Hence the second thread, which has a small share of a busy processor.

mod task;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;
use std::{io, thread};

use tracing::{info, warn};

use model_runtime::RunThreads;
pub(crate) use task::lower_priority;
use task::{Task, ThreadSample};

/// How often a thread that works is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// At so many looks in a row it was kept from running: for a second.
const PATIENCE: u32 = 5;
/// Less than this between two looks is hardly anything: a tenth of a processor, in hundredths of a second as the kernel counts.
const LITTLE: u64 = 2;

/// Panic of the work; the panic hook has logged it.
#[derive(Debug, thiserror::Error)]
#[error("the load panicked")]
pub(crate) struct Panicked;

/// Flag that tells a thread to stop: the other thread of the hedge has finished. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct CancelFlag {
    is_cancelled: Arc<AtomicBool>,
}

impl CancelFlag {
    /// True once another thread was faster: the outcome is dropped.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }
}

/// Low-priority work, one piece after the other.
#[derive(Debug, Default)]
pub(crate) struct LowPriority {
    /// An idle thread has one while it works. When another has done that work it may need long to notice, and keeps its memory until
    /// then: there is never a second.
    idle: Arc<()>,
}

impl LowPriority {
    /// Waits for `work`. It may be begun a second time while the first goes on: one outcome is given back and the other dropped.
    pub(crate) fn run<T, W>(&self, work: W) -> Result<T, Panicked>
    where
        T: Send + 'static,
        W: Fn(&CancelFlag) -> T + Send + Sync + 'static,
    {
        let (outcome, outcomes) = mpsc::channel();
        let hedge = Hedge {
            work: Arc::new(work),
            cancel: CancelFlag::default(),
            outcome,
        };
        let task = Arc::new(Task::default());
        let mut is_helped = !self.start_idle(&hedge, &task);
        if is_helped && let Err(error) = hedge.start("load-low", || {}) {
            warn!(%error, "cannot start a low-priority thread; loading the model on the repository thread");
            return Ok((hedge.work)(&hedge.cancel));
        }
        let mut starving = StarvationDetector::default();
        let outcome = loop {
            match outcomes.recv_timeout(LOOK) {
                Ok(outcome) => break outcome,
                // Not before this function ends, which has a sender.
                Err(RecvTimeoutError::Disconnected) => break Err(Panicked),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if starving.look(task.sample()) && !is_helped {
                is_helped = true;
                match hedge.start("load-low", || {}) {
                    Ok(()) => {
                        info!("model load starved by requests; starting a second thread with a small share of CPU")
                    }
                    Err(error) => warn!(%error, "cannot start a second load thread; the model load waits for idle CPU"),
                }
            }
        };
        hedge.cancel.is_cancelled.store(true, Ordering::Relaxed);
        outcome
    }

    /// Not while there is one whose work another thread has done.
    fn start_idle<T, W>(&self, hedge: &Hedge<T, W>, task: &Arc<Task>) -> bool
    where
        T: Send + 'static,
        W: Fn(&CancelFlag) -> T + Send + Sync + 'static,
    {
        if Arc::strong_count(&self.idle) > 1 {
            return false;
        }
        let (idle, task) = (Arc::clone(&self.idle), Arc::clone(task));
        let begin = move || {
            task.become_idle();
            idle
        };
        hedge.start("load-idle", begin).is_ok()
    }
}

/// State that the threads of one piece of work share.
struct Hedge<T, W> {
    work: Arc<W>,
    cancel: CancelFlag,
    outcome: Sender<Result<T, Panicked>>,
}

impl<T, W> Hedge<T, W>
where
    T: Send + 'static,
    W: Fn(&CancelFlag) -> T + Send + Sync + 'static,
{
    /// Has a thread begin and work; until it has worked it keeps what it began with.
    fn start<K: Send>(&self, name: &str, begin: impl FnOnce() -> K + Send + 'static) -> io::Result<()> {
        let (work, cancel, outcome) = (Arc::clone(&self.work), self.cancel.clone(), self.outcome.clone());
        let run = move || {
            // Both on the thread that models are run on.
            let run = || {
                RunThreads::new(1).within(|| {
                    let _kept = begin();
                    work(&cancel)
                })
            };
            let done = catch_unwind(AssertUnwindSafe(run)).map_err(|_told_by_the_hook| Panicked);
            // The other thread may have been faster.
            let _unwanted = outcome.send(done);
        };
        let thread = thread::Builder::new().name(name.to_owned());
        thread.spawn(run).map(|_detached| ())
    }
}

/// Detector of a thread that is kept from running, from sample to sample.
#[derive(Debug, Default)]
struct StarvationDetector {
    before: Option<ThreadSample>,
    looks: u32,
}

impl StarvationDetector {
    fn look(&mut self, sample: Option<ThreadSample>) -> bool {
        let before = std::mem::replace(&mut self.before, sample);
        let is_kept = before.zip(sample).is_some_and(|(before, sample)| {
            before.is_runnable && sample.is_runnable && sample.used.saturating_sub(before.used) < LITTLE
        });
        self.looks = if is_kept { self.looks + 1 } else { 0 };
        self.looks >= PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn work_that_panics_has_no_outcome() {
        // Without the hook, whose backtrace takes long where every processor is busy.
        let work = |_: &CancelFlag| -> u8 { std::panic::resume_unwind(Box::new("as the test wants it")) };
        let background = LowPriority::default();
        assert!(background.run(work).is_err());
        assert_eq!(background.run(|_| 7).expect("an outcome"), 7);
    }

    proptest! {
        /// A thread that waits for something else, or gets its tenth now and then, does not starve.
        #[test]
        fn only_what_is_kept_from_running_all_the_time_starves(
            looks in prop::collection::vec((any::<bool>(), 0..4_u64), 0..40),
        ) {
            let (mut starving, mut used, mut sample) = (StarvationDetector::default(), 0, Vec::new());
            for (is_runnable, more) in looks {
                used += more;
                sample.push(ThreadSample { is_runnable, used });
                let recent = &sample[sample.len().saturating_sub(PATIENCE as usize + 1)..];
                let is_kept = recent.len() > PATIENCE as usize
                    && recent.iter().all(|sample| sample.is_runnable)
                    && recent.windows(2).all(|two| two[1].used - two[0].used < LITTLE);
                prop_assert_eq!(starving.look(Some(ThreadSample { is_runnable, used })), is_kept);
            }
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests_of_linux {
    use std::fs;
    use std::sync::atomic::AtomicUsize;
    use std::time::Instant;

    use rustix::thread::{CapabilitySet, CpuSet, capabilities, sched_setaffinity, set_capabilities};
    use rustix::time::{ClockId, clock_gettime};
    use shared::test_util::DEADLINE;

    use super::*;

    const SCHED_IDLE: &str = "5";

    /// The scheduling class of the thread that calls.
    fn class() -> String {
        let stat = fs::read_to_string("/proc/thread-self/stat").expect("is there");
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        fields.split_whitespace().nth(41 - 3).expect("a class").to_owned()
    }

    /// On a thread of low priority that may not take a higher one, as in a pod.
    fn as_in_a_pod<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let mut own = capabilities(None).expect("are told");
                own.effective.remove(CapabilitySet::SYS_NICE);
                own.permitted.remove(CapabilitySet::SYS_NICE);
                set_capabilities(None, own).expect("fewer are allowed");
                lower_priority();
                work()
            });
            thread.join().expect("no panic")
        })
    }

    #[test]
    fn work_is_done_by_threads_of_the_idle_class_one_after_the_other() {
        let background = LowPriority::default();
        let (did, waits) = as_in_a_pod(|| ([(); 20].map(|()| background.run(|_| class())), class()));
        for class in did {
            assert_eq!(class.expect("an outcome"), SCHED_IDLE);
        }
        assert_ne!(waits, SCHED_IDLE);
    }

    /// Computes for a tenth of a second.
    fn compute() {
        let used = || clock_gettime(ClockId::ThreadCPUTime);
        let began = used();
        let milliseconds = || (used().tv_sec - began.tv_sec) * 1000 + (used().tv_nsec - began.tv_nsec) / 1_000_000;
        while milliseconds() < 100 {}
    }

    #[test]
    fn work_ends_where_the_processor_is_never_idle() {
        let is_ending = Arc::new(AtomicBool::new(false));
        let is_released = Arc::new(AtomicBool::new(false));
        let was_over = Arc::new(AtomicBool::new(false));
        let begun = Arc::new(AtomicUsize::new(0));
        let background = LowPriority::default();
        let classes = as_in_a_pod(|| {
            // Threads keep to the one processor of the one that starts them.
            let mut one = CpuSet::new();
            one.set(rustix::thread::sched_getcpu());
            sched_setaffinity(None, &one).expect("is allowed");
            let ending = Arc::clone(&is_ending);
            let busy = thread::spawn(move || while !ending.load(Ordering::Relaxed) {});
            let run = || {
                let (begun, released, over) = (Arc::clone(&begun), Arc::clone(&is_released), Arc::clone(&was_over));
                background.run(move |cancel| {
                    begun.fetch_add(1, Ordering::Relaxed);
                    if class() == SCHED_IDLE {
                        while !released.load(Ordering::Relaxed) {}
                        over.store(cancel.is_cancelled(), Ordering::Relaxed);
                    } else {
                        compute();
                    }
                    class()
                })
            };
            let classes = [run(), run()];
            is_ending.store(true, Ordering::Relaxed);
            busy.join().expect("ends");
            classes
        });
        for class in classes {
            assert_ne!(
                class.expect("an outcome"),
                SCHED_IDLE,
                "the thread with a share was first"
            );
        }
        let begun = begun.load(Ordering::Relaxed);
        assert_eq!(begun, 3, "one idle thread, and none beside it when it is of no use");
        is_released.store(true, Ordering::Relaxed);
        let end = Instant::now() + DEADLINE;
        while Arc::strong_count(&background.idle) > 1 {
            assert!(Instant::now() < end, "the idle thread goes on");
            thread::yield_now();
        }
        assert!(was_over.load(Ordering::Relaxed), "it could have known");
    }
}
