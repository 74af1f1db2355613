//! The settings that hold, as requests use them, and how far the workers have taken them up.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use shared::config::Secret;
use shared::lifecycle::DrainTimes;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;

use crate::config::UpstreamConfig;
use crate::route::RouteTable;
use crate::upstream::Cluster;

/// New settings are said to hold when every worker has them, or after this.
const ADOPTION: Duration = Duration::from_secs(1);

/// The settings that may change, as requests use them.
#[derive(Debug)]
pub struct Snapshot {
    /// Each has a greater one than those before.
    pub version: u64,
    pub routes: Arc<RouteTable>,
    /// In the order of the configuration, as routes refer to them.
    pub clusters: Vec<Arc<Cluster>>,
    pub upstream: UpstreamConfig,
    pub access_log: bool,
    pub max_body_bytes: u64,
    pub tunnel_idle_timeout: Duration,
    pub api_keys: Vec<Secret>,
    pub drain: DrainTimes,
}

/// How many workers use the newest snapshot that any of them uses.
#[derive(Debug, Clone, Default)]
pub struct Adoption(watch::Sender<Adopted>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Adopted {
    version: u64,
    workers: usize,
}

impl Adoption {
    /// Notes that one more worker uses `snapshot`, for requests that come from now on.
    pub fn note(&self, snapshot: &Snapshot) {
        let version = snapshot.version;
        self.0.send_modify(|adopted| match version.cmp(&adopted.version) {
            Ordering::Less => {}
            Ordering::Equal => adopted.workers += 1,
            Ordering::Greater => *adopted = Adopted { version, workers: 1 },
        });
    }

    pub async fn by_all(&self, version: u64, workers: usize) {
        let mut adopted = self.0.subscribe();
        let all = adopted.wait_for(|adopted| *adopted == Adopted { version, workers });
        if timeout(ADOPTION, all).await.is_err() {
            warn!(
                seconds = ADOPTION.as_secs(),
                "the settings hold, though not every worker has taken them up"
            );
        }
    }
}
