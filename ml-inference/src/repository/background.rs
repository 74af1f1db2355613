//! Work that requests are not to feel: on a thread that runs where a processor has nothing else to do.
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

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use rustix::process::setpriority_process;
use rustix::thread::{Pid, gettid};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};
use tracing::{info, warn};

use crate::runtime::RunThreads;

/// How often a thread that works is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// At so many looks in a row it was kept from running: for a second.
const PATIENCE: u32 = 5;
/// Less than this between two looks is hardly anything: a tenth of a processor, in hundredths of a second as the kernel counts.
const LITTLE: u64 = 2;

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("no thread could be started for it: {0}")]
    Thread(#[from] std::io::Error),
    #[error("it panicked")]
    Panicked,
}

/// Waits for `work`. It may be begun a second time while the first goes on: one outcome is given back and the other dropped.
pub(super) fn run<T: Send + 'static>(work: impl Fn() -> T + Send + Sync + 'static) -> Result<T, Lost> {
    let work = Arc::new(work);
    let (outcome, outcomes) = mpsc::channel();
    let task = Arc::new(OnceLock::new());
    let watched = Arc::clone(&task);
    let begin = move || {
        if become_idle() {
            // A thread of its own: nothing else can have set it.
            let _first = watched.set(gettid());
        }
    };
    start("load-idle", begin, Arc::clone(&work), outcome.clone())?;
    let (mut starving, mut is_helped) = (Starving::default(), false);
    loop {
        match outcomes.recv_timeout(LOOK) {
            Ok(outcome) => return outcome,
            // Not before this function ends, which has a sender.
            Err(RecvTimeoutError::Disconnected) => return Err(Lost::Panicked),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let seen = task.get().and_then(|task| Seen::of(*task));
        if starving.look(seen) && !is_helped {
            info!(
                "a model waits for a processor that is not busy: it is loaded by a thread that has a share of a busy one, too"
            );
            start("load-low", || {}, Arc::clone(&work), outcome.clone())?;
            is_helped = true;
        }
    }
}

/// Does `work` on a thread after `begin`; both on the one that models are run on.
fn start<T: Send + 'static>(
    name: &str,
    begin: impl FnOnce() + Send + 'static,
    work: Arc<impl Fn() -> T + Send + Sync + 'static>,
    outcome: Sender<Result<T, Lost>>,
) -> std::io::Result<()> {
    let run = move || {
        let run = || {
            RunThreads::new(1).within(|| {
                begin();
                work()
            })
        };
        let done = catch_unwind(AssertUnwindSafe(run)).map_err(|_told_by_the_hook| Lost::Panicked);
        // The other thread may have been faster.
        let _unwanted = outcome.send(done);
    };
    let thread = thread::Builder::new().name(name.to_owned());
    thread.spawn(run).map(|_detached| ())
}

/// From here on this thread, and those that it starts, get about a tenth of a processor where all are busy.
pub(super) fn give_way() {
    const NICE: i32 = 10;
    if let Err(error) = setpriority_process(None, NICE) {
        warn!(%error, "loading models will not give way to requests");
    }
}

/// Whether this thread is of the idle class from here on: only where it can be seen whether it gets anything.
fn become_idle() -> bool {
    if Seen::of(gettid()).is_none() {
        return false;
    }
    let class = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let outcome = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, class);
    if let Err(error) = &outcome {
        warn!(?error, "loading models gives way to requests only by a low priority");
    }
    outcome.is_ok()
}

/// A thread as the kernel shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    /// It runs or could: it does not wait for a disk, a lock or for time to pass.
    is_runnable: bool,
    /// What it had of a processor, in hundredths of a second.
    used: u64,
}

impl Seen {
    fn of(task: Pid) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/self/task/{}/stat", task.as_raw_nonzero()));
        Self::parse(&stat.ok()?)
    }

    /// A line of `proc_pid_stat(5)`: the name stands in parentheses and may have some of its own.
    fn parse(stat: &str) -> Option<Self> {
        const UTIME: usize = 14 - 3;
        let (_id_and_name, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            is_runnable: *fields.first()? == "R",
            used: ticks(UTIME)?.saturating_add(ticks(UTIME + 1)?),
        })
    }
}

/// Whether a thread is kept from running, from look to look.
#[derive(Debug, Default)]
struct Starving {
    before: Option<Seen>,
    looks: u32,
}

impl Starving {
    fn look(&mut self, seen: Option<Seen>) -> bool {
        let before = std::mem::replace(&mut self.before, seen);
        let is_kept = before.zip(seen).is_some_and(|(before, seen)| {
            before.is_runnable && seen.is_runnable && seen.used.saturating_sub(before.used) < LITTLE
        });
        self.looks = if is_kept { self.looks + 1 } else { 0 };
        self.looks >= PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use proptest::prelude::*;
    use rustix::thread::{CpuSet, sched_setaffinity};
    use rustix::time::{ClockId, clock_gettime};

    use super::*;

    const SCHED_IDLE: &str = "5";

    /// The scheduling class of the thread that calls.
    fn class() -> String {
        let stat = fs::read_to_string("/proc/thread-self/stat").expect("is there");
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        fields.split_whitespace().nth(41 - 3).expect("a class").to_owned()
    }

    #[test]
    fn work_is_done_by_a_thread_of_the_idle_class() {
        let before = class();
        assert_eq!(run(class).expect("an outcome"), SCHED_IDLE);
        assert_eq!(class(), before, "who waits is what it was");
    }

    #[test]
    fn work_that_panics_has_no_outcome() {
        // Without the hook, whose backtrace takes long where every processor is busy.
        let outcome = run(|| -> u8 { std::panic::resume_unwind(Box::new("as the test wants it")) });
        assert!(matches!(outcome, Err(Lost::Panicked)), "{outcome:?}");
    }

    /// Computes for a third of a second.
    fn compute() {
        let used = || clock_gettime(ClockId::ThreadCPUTime);
        let began = used();
        let since = |now: rustix::time::Timespec| {
            (now.tv_sec - began.tv_sec) * 1000 + (now.tv_nsec - began.tv_nsec) / 1_000_000
        };
        while since(used()) < 333 {}
    }

    #[test]
    fn work_ends_where_the_processor_is_never_idle() {
        // Threads keep to what the one that starts them may use.
        let mut one = CpuSet::new();
        one.set(rustix::thread::sched_getcpu());
        sched_setaffinity(None, &one).expect("is allowed");
        let ending = Arc::new(AtomicBool::new(false));
        let busy = {
            let ending = Arc::clone(&ending);
            thread::spawn(move || while !ending.load(Ordering::Relaxed) {})
        };
        let begun = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&begun);
        let outcome = thread::spawn(move || {
            give_way();
            run(move || {
                counted.fetch_add(1, Ordering::Relaxed);
                compute();
                class()
            })
        });
        let outcome = outcome.join().expect("waits").expect("an outcome");
        ending.store(true, Ordering::Relaxed);
        busy.join().expect("ends");
        assert_ne!(outcome, SCHED_IDLE, "the second thread was first");
        assert_eq!(begun.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_line_of_the_kernel_is_read() {
        let line = "12 (a) R 1) R 1 2 3 4 5 6 7 8 9 10 30 12 0 0 20 0 1 0";
        let expected = Seen {
            is_runnable: true,
            used: 42,
        };
        assert_eq!(Seen::parse(line), Some(expected));
        assert_eq!(Seen::parse("12 (a) S 1 2"), None);
        assert_eq!(Seen::parse(""), None);
    }

    proptest! {
        /// What waits for something else, or gets its tenth now and then, is left alone.
        #[test]
        fn only_what_is_kept_from_running_all_the_time_starves(
            looks in prop::collection::vec((any::<bool>(), 0..4_u64), 0..40),
        ) {
            let (mut starving, mut used, mut seen) = (Starving::default(), 0, Vec::new());
            for (is_runnable, more) in looks {
                used += more;
                seen.push(Seen { is_runnable, used });
                let recent = &seen[seen.len().saturating_sub(PATIENCE as usize + 1)..];
                let is_kept = recent.len() > PATIENCE as usize
                    && recent.iter().all(|seen| seen.is_runnable)
                    && recent.windows(2).all(|two| two[1].used - two[0].used < LITTLE);
                prop_assert_eq!(starving.look(Some(Seen { is_runnable, used })), is_kept);
            }
        }
    }
}
