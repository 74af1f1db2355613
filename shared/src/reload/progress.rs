//! How the reloads went, for the status page and the log.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use serde_json::json;
use tracing::{info, warn};

use crate::config::Changes;

/// How a process's settings came to be what they are, for its status page.
#[derive(Debug, Default)]
pub struct Progress(ArcSwap<State>);

#[derive(Debug, Clone)]
pub struct State {
    /// 1 at the start, one more with each change of settings that was taken up.
    pub generation: u64,
    pub since: Instant,
    /// Settings that are not as they were at the start, and wait for the next one.
    pub at_restart: Vec<&'static str>,
    /// Why the files as they are now were refused.
    pub refused: Option<String>,
}

impl State {
    /// As a status page shows it.
    pub fn json(&self) -> serde_json::Value {
        json!({
            "generation": self.generation,
            "age_seconds": self.since.elapsed().as_secs(),
            "refused": self.refused,
            "at_restart": self.at_restart,
        })
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            generation: 1,
            since: Instant::now(),
            at_restart: Vec::new(),
            refused: None,
        }
    }
}

impl Progress {
    pub fn state(&self) -> Arc<State> {
        self.0.load_full()
    }

    pub(super) fn applied(&self, changes: &Changes, at_restart: Vec<&'static str>) {
        let generation = self.state().generation + 1;
        info!(generation, changed = changes.live.join(" "), "settings changed");
        // Those that were taken back are as the process has them.
        let mut waiting = changes.at_restart.clone();
        waiting.retain(|name| at_restart.contains(name));
        if !waiting.is_empty() {
            warn!(
                settings = waiting.join(" "),
                "these changed too, and hold from the next start on"
            );
        }
        self.0.store(Arc::new(State {
            generation,
            since: Instant::now(),
            at_restart,
            refused: None,
        }));
    }

    pub(super) fn refused(&self, problem: String) {
        self.judged(Some(problem));
    }

    /// The files say what holds already.
    pub(super) fn unchanged(&self) {
        if self.state().refused.is_some() {
            info!("the files say again what holds, nothing is refused any more");
        }
        self.judged(None);
    }

    fn judged(&self, refused: Option<String>) {
        let mut state = State::clone(&self.state());
        state.refused = refused;
        self.0.store(Arc::new(state));
    }
}
