//! One model from scan to scan: its loaded versions, its rejected versions, and those that still finish requests.
//!
//! ```text
//! found ─► steady? ─► load the wanted ones ─► all of them available? ─► unload the others
//!            └─ still being written: next time   └─ no: the next lower one, and what serves stays
//! ```
//!
//! A rejected version is not retried until its file or the configuration changes, or a load is requested. A serving version is
//! unloaded only for versions that are loaded, or on request: one whose file is gone serves from memory until then, because a
//! volume that vanished looks like a model that was removed. A model that was unloaded on request stays so until a load is
//! requested.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use model_runtime::RuntimeChoice;

use super::model_config::ModelConfig;
use super::scan::{FileStamp, ModelDir, ScannedFile};
use crate::catalog::{Servable, Version, VersionState};
use crate::engine::LoadedModel;

#[cfg(test)]
mod tests;

/// Problem text for the versions of a model that was unloaded on request.
const UNLOADED: &str = "unloaded";
/// Problem text for versions that the version policy does not select.
const NOT_CHOSEN: &str = "not selected by the version policy";
/// Problem text for a version that serves although its file is gone.
const LOST: &str = "served from memory: its file is gone";

/// A version that is to be loaded.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub model: String,
    pub version: u64,
    pub path: PathBuf,
    pub config: ModelConfig,
}

#[derive(Debug)]
pub(super) struct Tracker {
    name: String,
    /// The model's directory at the last scan that could read it.
    seen: Option<ModelDir>,
    /// Why the last scan could not.
    unreadable: Option<String>,
    /// Those of its versions that may be loaded: their files are taken for complete.
    loadable: BTreeMap<u64, ScannedFile>,
    config: ModelConfig,
    /// The configuration's file that `config` was read from, and the last one that was read.
    config_stamp: Option<FileStamp>,
    config_attempted: Option<FileStamp>,
    /// Why a changed configuration does not hold.
    pub(super) config_problem: Option<String>,
    attempts: BTreeMap<u64, LoadAttempt>,
    /// The version that is being loaded, with its file as it is.
    loading: Option<(u64, FileStamp)>,
    /// Versions that are unloading. Kept until nothing else uses them, so that no request pays for the deallocation: a large one
    /// takes milliseconds.
    unloading: Vec<(u64, Arc<LoadedModel>)>,
    /// Versions that the registry no longer has. They serve only while no other version can.
    withdrawn: BTreeSet<u64>,
    unloaded: bool,
}

/// Rule by which a file counts as completely written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stability {
    /// Two scans saw the same file.
    SeenTwice,
    /// Every file: their writer says that they are complete.
    Assumed,
}

/// The last attempt to load a version: the file's stamp and the outcome.
#[derive(Debug)]
struct LoadAttempt {
    /// `None` is none that there can be: it is to be tried again.
    stamp: Option<FileStamp>,
    /// Runtime that the configuration named.
    runtime: RuntimeChoice,
    /// Problem of the last attempt. A serving version has one when a later content of its file was rejected.
    problem: Option<String>,
    loaded: Option<Arc<LoadedModel>>,
}

impl Tracker {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            seen: None,
            unreadable: None,
            loadable: BTreeMap::new(),
            config: ModelConfig::default(),
            config_stamp: None,
            config_attempted: None,
            config_problem: None,
            attempts: BTreeMap::new(),
            loading: None,
            unloading: Vec::new(),
            withdrawn: BTreeSet::new(),
            unloaded: false,
        }
    }

    /// Requests a load of what was found, whatever the outcome of earlier attempts. When no order is left, see [`Tracker::outcome`].
    pub(super) fn load(&mut self, found: &ModelDir) {
        self.unloaded = false;
        if self.config_problem.is_some() {
            self.config_attempted = None;
        }
        self.attempts.retain(|_, attempt| attempt.loaded.is_some());
        self.retry_failed();
        self.look(Some(found), Stability::Assumed);
    }

    /// Unloads all versions, and loads none until [`Tracker::load`]. Requests in progress finish.
    pub(super) fn unload(&mut self) {
        self.unloaded = true;
        self.loadable.clear();
        for (number, attempt) in std::mem::take(&mut self.attempts) {
            if let Some(loaded) = attempt.loaded {
                self.unloading.push((number, loaded));
            }
        }
    }

    pub(super) fn is_unloaded(&self) -> bool {
        self.unloaded
    }

    /// Withdraws versions: they serve only while no other version can.
    pub(super) fn withdraw(&mut self, versions: BTreeSet<u64>) {
        self.withdrawn = versions;
    }

    /// Records a scan; `None` when the model's directory is gone.
    pub(super) fn look(&mut self, found: Option<&ModelDir>, stability: Stability) {
        self.unreadable = None;
        let found = found.cloned().unwrap_or_default();
        let before = self.seen.replace(found.clone());
        let before = before
            .as_ref()
            .filter(|_| stability == Stability::SeenTwice)
            .unwrap_or(&found);
        // Labels and policy of what serves from memory hold too.
        let is_lost = found.config.is_none() && found.versions.is_empty() && self.serves();
        if !is_lost {
            let steady = found.config.as_ref();
            self.configure(steady.filter(|config| before.config.as_ref() == Some(*config)), &found);
        }
        let is_steady = |number: &u64, seen: &ScannedFile| before.versions.get(number) == Some(seen);
        self.loadable = match self.wants_nothing() {
            true => BTreeMap::new(),
            false => {
                let steady = found.versions.iter().filter(|(number, seen)| is_steady(number, seen));
                steady.map(|(number, seen)| (*number, seen.clone())).collect()
            }
        };
    }

    /// Records that a scan could not read the model's directory. Nothing changes but what is told.
    pub(super) fn look_failed(&mut self, problem: &str) {
        self.unreadable = Some(problem.to_owned());
    }

    fn serves(&self) -> bool {
        self.attempts.values().any(|attempt| attempt.loaded.is_some())
    }

    /// Versions that serve although their files are gone.
    pub(super) fn lost(&self) -> BTreeSet<u64> {
        let serving = self.attempts.iter().filter(|(_, attempt)| attempt.loaded.is_some());
        serving
            .map(|(number, _)| *number)
            .filter(|number| self.is_lost(*number))
            .collect()
    }

    fn is_lost(&self, number: u64) -> bool {
        self.unreadable.is_none()
            && self
                .seen
                .as_ref()
                .is_none_or(|found| !found.versions.contains_key(&number))
    }

    /// True if the model was unloaded, or its configuration was not read yet and the wanted versions are therefore unknown.
    fn wants_nothing(&self) -> bool {
        self.unloaded || self.is_unconfigured()
    }

    /// True if there is a configuration, and no valid one was read yet.
    fn is_unconfigured(&self) -> bool {
        self.config_stamp.is_none() && self.seen.as_ref().is_some_and(|found| found.config.is_some())
    }

    fn configure(&mut self, steady: Option<&ScannedFile>, found: &ModelDir) {
        if found.config.is_none() {
            if self.config_stamp.is_some() {
                self.config = ModelConfig::default();
                self.retry_failed();
            }
            (self.config_stamp, self.config_attempted, self.config_problem) = (None, None, None);
            return;
        }
        let Some(seen) = steady.filter(|seen| Some(seen.stamp) != self.config_attempted) else {
            return;
        };
        self.config_attempted = Some(seen.stamp);
        match ModelConfig::read(&seen.path) {
            Ok(config) => {
                self.config = config;
                self.retry_failed();
                self.config_stamp = Some(seen.stamp);
                self.config_problem = None;
            }
            Err(problem) => self.config_problem = Some(problem),
        }
    }

    /// Rejected versions are retried: the reason may have been a golden or warm-up request of the configuration before.
    fn retry_failed(&mut self) {
        for attempt in self.attempts.values_mut().filter(|attempt| attempt.problem.is_some()) {
            attempt.stamp = None;
        }
    }

    /// The next version to load; [`Tracker::done`] is to follow. Each is loaded or found to be one that cannot be, so this ends.
    pub(super) fn next(&mut self) -> Option<Order> {
        let (number, file) = self.next_to_load()?;
        let order = Order {
            model: self.name.clone(),
            version: number,
            path: file.path.clone(),
            config: self.config.clone(),
        };
        self.loading = Some((number, file.stamp));
        // Their memory may be what this one needs.
        self.unloading.retain(is_used);
        Some(order)
    }

    /// Records the outcome of the last order.
    pub(super) fn done(&mut self, number: u64, outcome: Result<LoadedModel, String>) {
        let stamp = self.loading.take().map(|(_, stamp)| stamp);
        let attempt = self.attempts.entry(number).or_insert_with(|| LoadAttempt {
            stamp: None,
            runtime: self.config.runtime,
            problem: None,
            loaded: None,
        });
        (attempt.stamp, attempt.runtime) = (stamp, self.config.runtime);
        match outcome {
            Ok(loaded) => {
                attempt.problem = None;
                if let Some(before) = attempt.loaded.replace(Arc::new(loaded)) {
                    self.unloading.push((number, before));
                }
            }
            Err(problem) => attempt.problem = Some(problem),
        }
    }

    /// The highest version that is wanted and was not tried as it is.
    fn next_to_load(&self) -> Option<(u64, &ScannedFile)> {
        let is_attempted = |number: &u64, seen: &ScannedFile| {
            self.attempts
                .get(number)
                .is_some_and(|attempt| self.is_as_attempted(attempt, seen))
        };
        let mut wanted = self.wanted(&self.loadable).into_iter();
        wanted.find_map(|number| {
            let seen = self.loadable.get(&number)?;
            (!is_attempted(&number, seen)).then_some((number, seen))
        })
    }

    fn is_as_attempted(&self, attempt: &LoadAttempt, seen: &ScannedFile) -> bool {
        (attempt.stamp, attempt.runtime) == (Some(seen.stamp), self.config.runtime)
    }

    /// Versions that should serve, without those that were rejected.
    fn wanted(&self, there: &BTreeMap<u64, ScannedFile>) -> Vec<u64> {
        let may_serve = |number: &u64, seen: &ScannedFile| match self.attempts.get(number) {
            Some(attempt) => attempt.loaded.is_some() || !self.is_as_attempted(attempt, seen),
            None => true,
        };
        let candidates = there.iter().filter(|(number, seen)| may_serve(number, seen));
        self.choose(candidates.map(|(number, _)| *number))
    }

    /// Versions of `there` that the policy selects. Withdrawn ones are selected only when there is no other.
    fn choose(&self, there: impl Iterator<Item = u64> + Clone) -> Vec<u64> {
        let kept = there.clone().filter(|number| !self.withdrawn.contains(number));
        let wanted = self.config.policy.choose(kept);
        match wanted.is_empty() {
            true => self.config.policy.choose(there),
            false => wanted,
        }
    }

    /// The outcome of a load request: an error unless every wanted version serves with the content that was found.
    pub(super) fn outcome(&self, found: &ModelDir) -> Result<(), String> {
        if let Some(problem) = &self.config_problem {
            return Err(problem.clone());
        }
        if found.versions.is_empty() {
            return Err("the model has no version".to_owned());
        }
        let wanted = self.choose(found.versions.keys().copied());
        if wanted.is_empty() {
            return Err("the version policy selects none of its versions".to_owned());
        }
        for number in wanted {
            let attempt = self.attempts.get(&number);
            let problem = attempt.and_then(|attempt| attempt.problem.as_deref());
            match (problem, attempt.and_then(|attempt| attempt.loaded.as_ref())) {
                (None, Some(_serves)) => {}
                (problem, _) => return Err(format!("version {number}: {}", problem.unwrap_or("it was not loaded"))),
            }
        }
        Ok(())
    }

    /// Starts to unload what is not wanted, once every wanted version serves. Called when no order is left.
    pub(super) fn start_unload(&mut self) {
        if !self.wants_nothing() {
            let found = self.seen.take().unwrap_or_default();
            let wanted = self.wanted(&found.versions);
            let is_loaded = |number: &u64| {
                self.attempts
                    .get(number)
                    .is_some_and(|attempt| attempt.loaded.is_some())
            };
            let complete = !wanted.is_empty() && wanted.iter().all(is_loaded);
            self.attempts.retain(|number, attempt| {
                let is_unwanted = complete && !wanted.contains(number);
                if let Some(loaded) = attempt.loaded.take_if(|_| is_unwanted) {
                    self.unloading.push((*number, loaded));
                }
                // One that is still there and could not be loaded is remembered.
                attempt.loaded.is_some() || (attempt.problem.is_some() && found.versions.contains_key(number))
            });
            self.seen = Some(found);
        }
        self.reap_unloaded();
    }

    /// True while requests still use versions that are unloading.
    pub(super) fn is_unloading(&self) -> bool {
        !self.unloading.is_empty()
    }

    pub(super) fn reap_unloaded(&mut self) {
        self.unloading.retain(is_used);
    }

    /// The model's catalog entry.
    pub(super) fn servable(&self) -> Servable {
        let mut versions: BTreeMap<u64, Version> = BTreeMap::new();
        let mut add = |number: u64, state: VersionState, problem: Option<String>, loaded: Option<Arc<LoadedModel>>| {
            let version = Version {
                number,
                state,
                problem,
                loaded,
            };
            versions.insert(number, version);
        };
        let nothing = BTreeMap::new();
        let there = self.seen.as_ref().map_or(&nothing, |found| &found.versions);
        let wanted = self.wanted(there);
        for number in there.keys() {
            let (state, problem) = if self.unloaded {
                (VersionState::End, Some(UNLOADED.to_owned()))
            } else if self.attempts.contains_key(number) {
                (VersionState::End, None)
            } else if let (Some(problem), None) = (&self.config_problem, self.config_stamp) {
                // None holds, so nothing is loaded.
                (VersionState::End, Some(problem.clone()))
            } else if wanted.contains(number) || self.is_unconfigured() {
                (VersionState::Start, None)
            } else {
                (VersionState::End, Some(NOT_CHOSEN.to_owned()))
            };
            add(*number, state, problem, None);
        }
        for (number, _loaded) in &self.unloading {
            add(*number, VersionState::Unloading, None, None);
        }
        for (number, attempt) in &self.attempts {
            let (state, problem) = match (&attempt.loaded, &self.unreadable) {
                (None, _) => (VersionState::End, attempt.problem.clone()),
                (Some(_), Some(unreadable)) => {
                    let problem = format!("served from memory: {unreadable}");
                    (VersionState::Available, Some(problem))
                }
                (Some(_), None) if self.is_lost(*number) => (VersionState::Available, Some(LOST.to_owned())),
                (Some(_), None) => (VersionState::Available, attempt.problem.clone()),
            };
            add(*number, state, problem, attempt.loaded.clone());
        }
        if let Some((number, _)) = self.loading {
            let serving = self.attempts.get(&number).and_then(|attempt| attempt.loaded.clone());
            if serving.is_none() {
                add(number, VersionState::Loading, None, None);
            }
        }
        Servable {
            versions: versions.into_values().collect(),
            labels: self.config.labels.clone(),
            policy: self.config.policy.clone(),
            unloaded: self.unloaded,
            problem: self.unreadable.clone(),
        }
    }

    /// True if the model has no directory, no attempt and no unloading version.
    pub(super) fn is_gone(&self) -> bool {
        let nothing_found = self.seen.as_ref().is_none_or(|found| *found == ModelDir::default());
        nothing_found && self.unreadable.is_none() && self.attempts.is_empty() && self.unloading.is_empty()
    }
}

/// True while a request or an earlier catalog holds the version.
fn is_used((_, loaded): &(u64, Arc<LoadedModel>)) -> bool {
    Arc::strong_count(loaded) > 1
}
