//! The results of reloads, for the status page and the log.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use serde_json::json;
use tracing::{info, warn};

use crate::config::Changes;

/// The generation of a process's settings and the last rejection, for its status page.
#[derive(Debug, Default)]
pub struct Progress(ArcSwap<ReloadState>);

/// The result of the last reload and the age of the settings.
#[derive(Debug, Clone)]
pub struct ReloadState {
    /// 1 at the start, one more with each change of settings that was taken up.
    pub generation: u64,
    /// The time at which this generation was applied.
    pub since: Instant,
    /// Settings that are not as they were at the start, and wait for the next one.
    pub at_restart: Vec<&'static str>,
    /// The reason for which the files as they are now were rejected.
    pub refused: Option<String>,
}

impl ReloadState {
    /// The member `config` of a status page.
    pub fn json(&self) -> serde_json::Value {
        json!({
            "generation": self.generation,
            "age_seconds": self.since.elapsed().as_secs(),
            "refused": self.refused,
            "at_restart": self.at_restart,
        })
    }
}

impl Default for ReloadState {
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
    /// The state now.
    pub fn state(&self) -> Arc<ReloadState> {
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
                "settings changed that only a restart applies"
            );
        }
        self.0.store(Arc::new(ReloadState {
            generation,
            since: Instant::now(),
            at_restart,
            refused: None,
        }));
    }

    pub(super) fn refused(&self, problem: String) {
        self.judged(Some(problem));
    }

    /// The files say what is applied already.
    pub(super) fn unchanged(&self) {
        if self.state().refused.is_some() {
            info!("the files match the applied settings again");
        }
        self.judged(None);
    }

    fn judged(&self, refused: Option<String>) {
        let mut state = ReloadState::clone(&self.state());
        state.refused = refused;
        self.0.store(Arc::new(state));
    }
}
