//! How long the machine kept everybody waiting, so that its delays are not taken for the gateway's.
//!
//! A thread that wants to run every millisecond is the measure: when it comes late, no CPU was free for it, and most
//! likely none for the gateway, the replicas or the load either.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const BEAT: Duration = Duration::from_millis(1);
/// A beat that comes later than this is a stall: about what a scheduler lets others run at a time.
const STALL: Duration = Duration::from_millis(3);

/// Beats until it is dropped.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    stalls: Arc<Mutex<Vec<Stall>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A time in which a thread that was due did not run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stall {
    from: Instant,
    to: Instant,
}

impl Heartbeat {
    pub(crate) fn start() -> Self {
        let (stalls, over) = (Arc::<Mutex<Vec<Stall>>>::default(), Arc::<AtomicBool>::default());
        let (noted, ends) = (Arc::clone(&stalls), Arc::clone(&over));
        #[expect(
            clippy::disallowed_methods,
            reason = "its lateness is what is measured, on a thread of its own"
        )]
        let thread = thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let from = Instant::now() + BEAT;
                thread::sleep(BEAT);
                let to = Instant::now();
                if to.saturating_duration_since(from) > STALL {
                    noted
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(Stall { from, to });
                }
            }
        });
        Self {
            stalls,
            over,
            thread: Some(thread),
        }
    }

    pub(crate) fn stalls(&self) -> Stalls {
        Stalls(self.stalls.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It cannot panic, and a test that fails has more to say than this.
            let _ended = thread.join();
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Stalls(Vec<Stall>);

impl Stalls {
    /// How much of the time between `from` and `to` the machine stood still.
    pub(crate) fn between(&self, from: Instant, to: Instant) -> Duration {
        let overlap = |stall: &Stall| stall.to.min(to).saturating_duration_since(stall.from.max(from));
        self.0.iter().map(overlap).sum()
    }
}
