//! One pull: what the registry has, what of it is wanted and missing, and how it gets into its place.
//!
//! ```text
//! index ──► config.yaml ──► which versions are wanted ──► their files, the most wanted first
//!                                                            └─► place: versions, config.yaml; then remove what is needless
//! ```
//!
//! Everything is fetched before anything is placed, so that a new version and the configuration that speaks of it appear
//! together. What cannot be had does not keep the rest from being placed, but nothing is removed then.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;
use tracing::{info, warn};

use super::digest::Sha256;
use super::directory::{Directory, LARGEST_CONFIG, LocalConfig};
use super::download::{Downloads, Rejected, Wanted, blocking};
use super::error::RegistryError;
use super::index::{CONFIG, INDEX, Index, LARGEST_INDEX};
use super::policy::{Policy, superfluous};
use super::settings::RegistrySettings;
use super::source::{Got, Source, Want};
use super::status::PullStatus;
use crate::metrics::PullMetrics;

/// How a pull ended.
#[derive(Debug, Default)]
pub(super) struct Pulled {
    /// True if the directory has changed.
    pub(super) changed: bool,
    /// Reasons why wanted versions are missing.
    pub(super) problems: Vec<RegistryError>,
    /// Pulled versions that the registry no longer has; known only when the pull is complete.
    pub(super) withdrawn: Option<BTreeSet<u64>>,
}

/// The index as it was last read, with its tag.
#[derive(Debug, Clone)]
struct Known {
    etag: Option<String>,
    index: Arc<Index>,
}

/// Step for `config.yaml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConfigStep {
    Leave,
    /// It is the registry's already, and nothing says so yet.
    Record(Sha256),
    Place {
        digest: Sha256,
        is_first: bool,
    },
    Remove,
}

/// Final step of a pull, after all downloads.
struct Placing {
    directory: Directory,
    index: Arc<Index>,
    versions: Vec<u64>,
    config: ConfigStep,
    /// True if every wanted version is in place after it.
    is_complete: bool,
    /// Versions to remove if the policy agrees.
    superfluous: BTreeSet<u64>,
    policy: Arc<dyn Policy>,
}

/// Pulls into one model's directory, and remembers what it need not read again.
pub(super) struct Puller {
    /// Directory of the model: MODELS_DIR/NAME. Created when it is missing.
    directory: PathBuf,
    pub(super) policy: Arc<dyn Policy>,
    pub(super) status: watch::Sender<PullStatus>,
    pub(super) metrics: PullMetrics,
    known: Option<Known>,
    rejected: Rejected,
}

impl Puller {
    pub(super) fn new(directory: PathBuf, policy: Arc<dyn Policy>, metrics: PullMetrics) -> Self {
        Self {
            directory,
            policy,
            status: watch::Sender::default(),
            metrics,
            known: None,
            rejected: Rejected::new(),
        }
    }

    pub(super) async fn pull(&mut self, settings: &RegistrySettings) -> Result<Pulled, RegistryError> {
        let source = Source::open(settings)?;
        let directory = Directory::new(self.directory.clone());
        let locked = directory.clone();
        let _lock = blocking(directory.path(), move || locked.lock()).await?;

        let index = self.index(&source, settings).await?;
        let keep = index.digests();
        let swept = directory.clone();
        blocking(directory.path(), move || swept.sweep(&keep)).await?;

        let mut downloads = Downloads {
            source: &source,
            directory: &directory,
            status: &self.status,
            metrics: &self.metrics,
            rejected: &mut self.rejected,
        };
        let (config, text) = config(&mut downloads, settings, &index).await?;
        let wanted = wanted(self.policy.as_ref(), settings, &index, text.as_deref())?;
        let mut versions = Vec::new();
        let mut problems = Vec::new();
        for &number in &wanted {
            match fetch_version(&mut downloads, settings, &index, number).await {
                Ok(true) => versions.push(number),
                Ok(false) => {}
                Err(problem) => {
                    let goes_on = problem.concerns_one_version();
                    problems.push(problem);
                    if !goes_on {
                        break;
                    }
                }
            }
        }

        let listed = directory.clone();
        let pulled = blocking(directory.path(), move || listed.pulled()).await?;
        let offered: BTreeSet<u64> = index.versions.keys().copied().collect();
        let withdrawn = pulled.iter().filter(|number| !offered.contains(number));
        let withdrawn = problems.is_empty().then(|| withdrawn.copied().collect());
        let placing = Placing {
            directory: directory.clone(),
            versions,
            config,
            is_complete: problems.is_empty(),
            superfluous: superfluous(&pulled, &offered, &wanted, settings.keep_versions),
            policy: Arc::clone(&self.policy),
            index,
        };
        let changed = blocking(directory.path(), move || placing.run()).await?;
        Ok(Pulled {
            changed,
            problems,
            withdrawn,
        })
    }

    /// The index, anew or as it is known when it did not change.
    async fn index(&mut self, source: &Source, settings: &RegistrySettings) -> Result<Arc<Index>, RegistryError> {
        let name = settings.location.name(INDEX);
        let etag = self.known.as_ref().and_then(|known| known.etag.as_deref());
        let want = etag.map_or(Want::Whole, |etag| Want::Unless { etag });
        let object = match (source.get(INDEX, &name, want).await?, &self.known) {
            (Got::Object(object), _) => object,
            (Got::Unchanged, Some(known)) => return Ok(Arc::clone(&known.index)),
            (Got::Unchanged | Got::Other, _) => {
                return Err(RegistryError::Answer {
                    object: name,
                    answer: "the registry answers what was not asked for".to_owned(),
                });
            }
        };
        let etag = object.etag.clone();
        let mut body = object.body;
        let mut bytes: Vec<u8> = Vec::new();
        loop {
            let chunk: Option<Bytes> = body.chunk().await.map_err(|problem| RegistryError::BrokeOff {
                object: name.clone(),
                problem,
            })?;
            let Some(chunk) = chunk else { break };
            if (bytes.len() + chunk.len()) as u64 > LARGEST_INDEX {
                return Err(RegistryError::TooLarge {
                    object: name,
                    limit: LARGEST_INDEX,
                    setting: "an index",
                });
            }
            bytes.extend_from_slice(&chunk);
        }
        let index = Index::parse(&bytes).map_err(|fault| RegistryError::Index { object: name, fault })?;
        let index = Arc::new(index);
        self.known = Some(Known {
            etag,
            index: Arc::clone(&index),
        });
        Ok(index)
    }
}

/// The versions that the policy wants, of those that the index has.
fn wanted(
    policy: &dyn Policy,
    settings: &RegistrySettings,
    index: &Index,
    config: Option<&str>,
) -> Result<Vec<u64>, RegistryError> {
    let offered: Vec<u64> = index.versions.keys().copied().collect();
    let mut wanted = policy
        .wanted(&offered, config)
        .map_err(|problem| RegistryError::Config {
            object: settings.location.name(CONFIG),
            problem,
        })?;
    wanted.retain(|number| index.versions.contains_key(number));
    Ok(wanted)
}

/// The step for `config.yaml`, and its text after the step.
async fn config(
    downloads: &mut Downloads<'_>,
    settings: &RegistrySettings,
    index: &Index,
) -> Result<(ConfigStep, Option<String>), RegistryError> {
    let directory = downloads.directory;
    let seen = directory.clone();
    let local = blocking(directory.path(), move || seen.config()).await?;
    let step = match (index.config, local) {
        (None, LocalConfig::Missing | LocalConfig::ByHand(_)) => ConfigStep::Leave,
        (None, LocalConfig::Pulled(_)) => ConfigStep::Remove,
        (Some(digest), LocalConfig::Pulled(has)) if has == digest => ConfigStep::Leave,
        (Some(digest), LocalConfig::ByHand(has)) if has == digest => ConfigStep::Record(digest),
        (Some(_), LocalConfig::ByHand(_)) => {
            let path = directory.path().join(CONFIG);
            return Err(RegistryError::ConfigByHand { path });
        }
        (Some(digest), LocalConfig::Pulled(_)) => ConfigStep::Place {
            digest,
            is_first: false,
        },
        (Some(digest), LocalConfig::Missing) => ConfigStep::Place { digest, is_first: true },
    };
    let read = directory.clone();
    let name = settings.location.name(CONFIG);
    let bytes = match step {
        ConfigStep::Remove => None,
        ConfigStep::Leave | ConfigStep::Record(_) => {
            blocking(directory.path(), move || read.local_config_text()).await?
        }
        ConfigStep::Place { digest, .. } => {
            let wanted = Wanted {
                path: CONFIG,
                name: &name,
                digest,
                largest: LARGEST_CONFIG,
                limit: "a configuration",
            };
            downloads.fetch(&wanted).await?;
            blocking(directory.path(), move || read.pulled_config_text(digest)).await?
        }
    };
    let text = bytes
        .map(String::from_utf8)
        .transpose()
        .map_err(|_| RegistryError::Config {
            object: name,
            problem: "is not UTF-8 text".to_owned(),
        })?;
    Ok((step, text))
}

/// Has all files of a version among the parts, unless the version is in its place: whether it is to be placed.
async fn fetch_version(
    downloads: &mut Downloads<'_>,
    settings: &RegistrySettings,
    index: &Index,
    number: u64,
) -> Result<bool, RegistryError> {
    let Some(files) = index.versions.get(&number) else {
        return Ok(false);
    };
    let (seen, wanted) = (downloads.directory.clone(), files.clone());
    if blocking(downloads.directory.path(), move || seen.has_version(number, &wanted)).await? {
        return Ok(false);
    }
    info!(version = number, files = files.len(), from = %settings.location, "pulling a version");
    for (file, digest) in files {
        let path = index.path(number, file);
        let wanted = Wanted {
            path: &path,
            name: &settings.location.name(&path),
            digest: *digest,
            largest: settings.largest_file,
            limit: "MAX_MODEL_BYTES",
        };
        downloads.fetch(&wanted).await?;
    }
    Ok(true)
}

impl Placing {
    /// Returns true if the directory has changed.
    fn run(self) -> Result<bool, RegistryError> {
        let directory = &self.directory;
        let mut changed = false;
        // Nothing is served yet that it could contradict, and the first version is better loaded as it says.
        if let ConfigStep::Place { digest, is_first: true } = self.config {
            directory.place_config(digest)?;
            changed = true;
        }
        for &number in &self.versions {
            let Some(files) = self.index.versions.get(&number) else {
                continue;
            };
            directory.place_version(number, files)?;
            info!(version = number, path = %directory.path().display(), "pulled a version");
            changed = true;
        }
        if !self.is_complete {
            return Ok(changed);
        }
        match self.config {
            ConfigStep::Leave | ConfigStep::Place { is_first: true, .. } => {}
            ConfigStep::Record(digest) => directory.record_config(digest)?,
            ConfigStep::Place { digest, .. } => {
                directory.place_config(digest)?;
                info!(path = %directory.path().display(), "pulled {CONFIG}");
                changed = true;
            }
            ConfigStep::Remove => {
                directory.remove_config()?;
                warn!(path = %directory.path().display(), "removed {CONFIG}: no longer in the registry");
                changed = true;
            }
        }
        for &number in &self.superfluous {
            if !self.policy.may_remove(number) {
                continue;
            }
            directory.remove_version(number)?;
            info!(version = number, path = %directory.path().display(), "removed a version");
            changed = true;
        }
        directory.sweep(&BTreeSet::new())?;
        Ok(changed)
    }
}
