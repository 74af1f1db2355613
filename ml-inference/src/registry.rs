//! A model's versions from a registry: pulled at the start, looked for again and again, put where the repository finds them.
//!
//! ```text
//! MODEL_URI/SHA256SUMS ──► index ──► pull ──► download ──► directory: MODELS_DIR/NAME/VERSION
//!                            source: https, s3 or file ──┘
//! ```
//!
//! A failed pull is retried, with pauses that grow to REGISTRY_INTERVAL, and each problem is logged once; versions in the
//! directory stay and are served. Loading new ones is left to the repository.

mod client;
mod digest;
mod directory;
mod download;
mod error;
mod index;
mod location;
mod partial;
mod policy;
mod pull;
pub mod settings;
mod source;
mod status;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use shared::backoff::{Backoff, jittered};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

pub use digest::Sha256;
pub use error::RegistryError;
pub(crate) use index::version_number;
pub use location::Location;
pub use policy::Policy;
use pull::{Pulled, Puller};
pub use settings::RegistrySettings;
pub use status::{DownloadProgress, PullState, PullStatus};

use crate::metrics::PullMetrics;

const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// For a registry that is only asked until it has answered.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Limit of remembered problems; beyond it all are forgotten.
const MOST_LOGGED: usize = 64;

/// Follows one model's directory at a registry.
pub struct Registry {
    puller: Puller,
    /// Problems that were logged since the last success.
    logged: BTreeSet<String>,
    /// Withdrawn versions that the repository was last notified of.
    withdrawn: BTreeSet<u64>,
}

impl Registry {
    pub fn new(directory: PathBuf, policy: Arc<dyn Policy>, metrics: PullMetrics) -> Self {
        Self {
            puller: Puller::new(directory, policy, metrics),
            logged: BTreeSet::new(),
            withdrawn: BTreeSet::new(),
        }
    }

    pub fn status(&self) -> watch::Receiver<PullStatus> {
        self.puller.status.subscribe()
    }

    /// Pulls for as long as the process runs. New `settings` are taken up at the next pull, and end the wait for it.
    pub async fn follow(mut self, mut settings: watch::Receiver<RegistrySettings>) {
        let mut backoff = Backoff::new(SHORTEST_PAUSE);
        let mut warned = false;
        loop {
            let current = settings.borrow_and_update().clone();
            if current.shows_password() && !warned {
                warned = true;
                warn!(registry = %current.location, "REGISTRY_PASSWORD is sent unencrypted over http://");
            }
            let end = self.pull_and_report(&current).await;
            if end != End::Failed {
                backoff.reset();
            }
            let polls = !current.interval.is_zero();
            let pause = match end {
                End::Current => polls.then(|| jittered(current.interval, 0.9)),
                End::BrokeOff | End::Failed => {
                    let longest = if polls { current.interval } else { LONGEST_PAUSE };
                    Some(jittered(backoff.pause(longest), 0.5))
                }
            };
            wait(pause, &mut settings).await;
        }
    }

    async fn pull_and_report(&mut self, settings: &RegistrySettings) -> End {
        let bytes_before = self.puller.metrics.bytes.get();
        self.puller
            .status
            .send_modify(|status| status.state = PullState::Pulling);
        let pulled = self.puller.pull(settings).await.unwrap_or_else(|problem| Pulled {
            problems: vec![problem],
            ..Pulled::default()
        });
        self.notify_repository(&pulled);
        let problems: Vec<String> = pulled.problems.iter().map(RegistryError::to_string).collect();
        if problems.is_empty() {
            if !self.logged.is_empty() {
                self.logged.clear();
                info!(registry = %settings.location, "registry pull succeeded again");
            }
            self.puller.metrics.succeeded(pulled.changed);
        } else {
            self.puller
                .metrics
                .failed(pulled.problems.iter().map(RegistryError::kind));
        }
        if self.logged.len() > MOST_LOGGED {
            self.logged.clear();
        }
        for problem in &problems {
            if self.logged.insert(problem.clone()) {
                warn!(registry = %settings.location, problem, "registry pull failed; retrying");
            }
        }
        self.puller.status.send_modify(|status| {
            status.progress = None;
            status.state = match problems.is_empty() {
                true => PullState::Current,
                false => PullState::Failing,
            };
            if problems.is_empty() {
                status.last_success = Some(SystemTime::now());
            }
            status.problem = (!problems.is_empty()).then(|| problems.join("; "));
        });
        let broke_off = matches!(pulled.problems.last(), Some(RegistryError::BrokeOff { .. }));
        match problems.is_empty() {
            true => End::Current,
            false if broke_off && self.puller.metrics.bytes.get() > bytes_before => End::BrokeOff,
            false => End::Failed,
        }
    }

    /// Notifies the repository, so that pulled versions are loaded at once and withdrawn ones make way.
    fn notify_repository(&mut self, pulled: &Pulled) {
        let withdrawn = pulled.withdrawn.as_ref();
        let is_other = withdrawn.is_some_and(|withdrawn| *withdrawn != self.withdrawn);
        if (pulled.changed || is_other)
            && self.puller.policy.pulled(withdrawn)
            && let Some(withdrawn) = withdrawn
        {
            self.withdrawn.clone_from(withdrawn);
        }
    }
}

/// How a pull ended, for the pause after it.
#[derive(PartialEq, Eq)]
enum End {
    /// All that is wanted is there.
    Current,
    /// Not without having brought something, from where the next one goes on.
    BrokeOff,
    Failed,
}

/// Until the pause is over, if there is an end to it, or there are new settings.
async fn wait(pause: Option<Duration>, settings: &mut watch::Receiver<RegistrySettings>) {
    let over = async {
        match pause {
            Some(pause) => sleep(pause).await,
            None => std::future::pending().await,
        }
    };
    let renewed = async {
        if settings.changed().await.is_err() {
            // Nobody changes them any more.
            std::future::pending().await
        }
    };
    tokio::select! {
        () = over => {}
        () = renewed => {}
    }
}
