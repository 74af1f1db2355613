//! The phase of the process: one writer, any number of readers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::watch;

/// The phases of a process, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Not ready yet.
    Starting = 0,
    /// Ready.
    Serving = 1,
    /// Not ready, but still accepting; every response ends its connection.
    Draining = 2,
    /// The accept queue is emptied, the listener closed; requests in flight finish.
    Closing = 3,
}

/// The one writer.
#[derive(Debug)]
pub struct Lifecycle {
    sender: watch::Sender<Phase>,
    watch: PhaseWatch,
}

impl Default for Lifecycle {
    fn default() -> Self {
        let (sender, receiver) = watch::channel(Phase::Starting);
        let current = Arc::new(AtomicU8::new(Phase::Starting as u8));
        Self {
            sender,
            watch: PhaseWatch { receiver, current },
        }
    }
}

impl Lifecycle {
    /// A reader of the phase.
    pub fn watch(&self) -> PhaseWatch {
        self.watch.clone()
    }

    /// Moves on to `phase`; a life never goes back.
    pub fn enter(&self, phase: Phase) {
        self.sender.send_if_modified(|current| {
            let forward = phase > *current;
            if forward {
                *current = phase;
                self.watch.current.store(phase as u8, Ordering::Release);
            }
            forward
        });
    }
}

/// A reader: an atomic for the request path, a channel for those who wait.
#[derive(Debug, Clone)]
pub struct PhaseWatch {
    receiver: watch::Receiver<Phase>,
    current: Arc<AtomicU8>,
}

impl PhaseWatch {
    /// True when new work is accepted: the answer to a readiness probe.
    pub fn is_serving(&self) -> bool {
        self.current.load(Ordering::Acquire) == Phase::Serving as u8
    }

    /// True when a response should end its connection.
    pub fn is_draining(&self) -> bool {
        self.current.load(Ordering::Acquire) >= Phase::Draining as u8
    }

    /// Returns once the process is at `phase` or past it.
    pub async fn reached(&mut self, phase: Phase) {
        // The writer going away means that the process is ending: every phase is reached.
        let _ended = self.receiver.wait_for(|current| *current >= phase).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_life_never_goes_back() {
        let lifecycle = Lifecycle::default();
        let watch = lifecycle.watch();
        assert!(!watch.is_serving());
        lifecycle.enter(Phase::Serving);
        assert!(watch.is_serving());
        lifecycle.enter(Phase::Closing);
        lifecycle.enter(Phase::Serving);
        assert!(watch.is_draining() && !watch.is_serving());
        watch.clone().reached(Phase::Draining).await;
    }
}
