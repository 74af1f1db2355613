//! One model that is followed, in a directory of the test's own.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ml_inference::metrics::{Metrics, PullMetrics};
use ml_inference::registry::{Location, Policy, PullState, PullStatus, Registry, RegistrySettings};
use shared::config::Secret;
use shared::test_util::{DEADLINE, Scratch, eventually};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) struct Follower {
    pub(crate) settings: watch::Sender<RegistrySettings>,
    pub(crate) metrics: PullMetrics,
    status: watch::Receiver<PullStatus>,
    scratch: Scratch,
    task: JoinHandle<()>,
}

/// All that the registry has, and nothing else.
pub(crate) struct AllVersions;

impl Policy for AllVersions {
    fn wanted(&self, offered: &[u64], _config: Option<&str>) -> Result<Vec<u64>, String> {
        Ok(offered.iter().rev().copied().collect())
    }

    fn may_remove(&self, _version: u64) -> bool {
        true
    }

    fn pulled(&self, _withdrawn: Option<&BTreeSet<u64>>) -> bool {
        true
    }
}

/// What a test begins with: often, and soon given up.
pub(crate) fn settings(location: &str) -> RegistrySettings {
    RegistrySettings {
        location: Location::parse(location).expect("a location"),
        interval: Duration::from_millis(50),
        timeout: Duration::from_secs(10),
        largest_file: 1 << 30,
        keep_versions: 0,
        ca_file: None,
        s3_endpoint: None,
        s3_region: "us-east-1".to_owned(),
        user: None,
        password: None,
    }
}

pub(crate) fn with_credentials(settings: RegistrySettings, user: &str, password: &str) -> RegistrySettings {
    RegistrySettings {
        user: Some(Secret::new(user)),
        password: Some(Secret::new(password)),
        ..settings
    }
}

impl Follower {
    pub(crate) fn start(settings: RegistrySettings) -> Self {
        Self::start_in(Scratch::new("models"), settings, Arc::new(AllVersions))
    }

    pub(crate) fn start_in(scratch: Scratch, settings: RegistrySettings, policy: Arc<dyn Policy>) -> Self {
        let metrics = Metrics::new().expect("no metric is there twice").pulls;
        let registry = Registry::new(scratch.path().join("iris"), policy, metrics.clone());
        let status = registry.status();
        let (settings, held) = watch::channel(settings);
        Self {
            settings,
            metrics,
            status,
            scratch,
            task: tokio::spawn(registry.follow(held)),
        }
    }

    /// Ends it where it is; the directory is left as it is.
    pub(crate) async fn end(self) -> Scratch {
        self.task.abort();
        let ended = self.task.await;
        assert!(
            ended.is_err_and(|error| error.is_cancelled()),
            "it never ends by itself"
        );
        self.scratch
    }

    pub(crate) fn model(&self) -> PathBuf {
        self.scratch.path().join("iris")
    }

    pub(crate) fn read(&self, path: &str) -> Option<Vec<u8>> {
        fs::read(self.model().join(path)).ok()
    }

    /// The version directories that are there.
    pub(crate) fn versions(&self) -> BTreeSet<String> {
        versions(&self.model())
    }

    pub(crate) fn put(&self, path: &str, bytes: impl AsRef<[u8]>) {
        put(&self.model(), path, bytes);
    }

    /// Waits until a pull that began after this call has succeeded: the second to end, as one may be under way.
    pub(crate) async fn current(&self) {
        for _ in 0..2 {
            let before = self.status.borrow().last_success;
            self.wait_for("current", |status| status.last_success != before).await;
        }
    }

    /// Waits until a pull has failed with this in its problem, and gives the problem.
    pub(crate) async fn problem(&self, part: &str) -> String {
        let status = self
            .wait_for(part, |status| {
                status.state == PullState::Failing
                    && status.problem.as_ref().is_some_and(|problem| problem.contains(part))
            })
            .await;
        status.problem.expect("it has one")
    }

    pub(crate) async fn wait_for(&self, what: &str, is_so: impl Fn(&PullStatus) -> bool) -> PullStatus {
        let mut status = self.status.clone();
        match timeout(DEADLINE, status.wait_for(|status| is_so(status))).await {
            Ok(status) => status.expect("it is followed").clone(),
            Err(_) => panic!("never {what}: {:?}", self.status.borrow()),
        }
    }

    pub(crate) async fn has(&self, path: &str, bytes: &[u8]) {
        eventually(path, DEADLINE, async || self.read(path).as_deref() == Some(bytes)).await;
    }

    pub(crate) async fn has_versions(&self, expected: &[&str]) {
        let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        eventually("the versions are there", DEADLINE, async || self.versions() == expected).await;
    }
}

pub(crate) fn versions(model: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(model).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.parse::<u64>().is_ok()).collect()
}

pub(crate) fn put(directory: &Path, path: &str, bytes: impl AsRef<[u8]>) {
    let path = directory.join(path);
    fs::create_dir_all(path.parent().expect("below the directory")).expect("makes directories");
    fs::write(path, bytes).expect("writes");
}
