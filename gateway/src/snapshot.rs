//! The settings that apply now, as requests read them, and which workers have them.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;

use crate::config::LiveSettings;
use crate::route::RouteTable;
use crate::upstream::Cluster;

/// Longest wait for every worker to apply new settings.
const ACKS_TIMEOUT: Duration = Duration::from_secs(1);

/// The settings that may change, as requests use them.
#[derive(Debug)]
pub struct Snapshot {
    /// Each has a greater one than those before.
    pub version: u64,
    pub live: LiveSettings,
    pub routes: RouteTable,
    pub clusters: Vec<Arc<Cluster>>,
}

/// Acknowledgements of the newest snapshot that any worker has applied.
#[derive(Debug, Clone, Default)]
pub struct WorkerAcks(watch::Sender<Acks>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Acks {
    version: u64,
    workers: usize,
}

impl WorkerAcks {
    /// Notes that one more worker has applied `snapshot`, for the requests it accepts from now on.
    pub fn note(&self, snapshot: &Snapshot) {
        let version = snapshot.version;
        self.0.send_modify(|acks| match version.cmp(&acks.version) {
            Ordering::Less => {}
            Ordering::Equal => acks.workers += 1,
            Ordering::Greater => *acks = Acks { version, workers: 1 },
        });
    }

    pub async fn by_all_workers(&self, version: u64, workers: usize) {
        let mut acks = self.0.subscribe();
        let all = acks.wait_for(|acks| *acks == Acks { version, workers });
        if timeout(ACKS_TIMEOUT, all).await.is_err() {
            warn!(
                seconds = ACKS_TIMEOUT.as_secs(),
                "settings applied; some workers not yet updated"
            );
        }
    }
}
