//! One model from look to look: which of its versions are loaded, which could not be, and which still finish requests.
//!
//! ```text
//! found ─► steady? ─► load the wanted ones ─► all of them available? ─► unload the others
//!            └─ still being written: next time   └─ no: the next lower one, and what serves stays
//! ```
//!
//! A version that could not be loaded is not tried again until its file or the configuration changes or somebody asks for it. One that serves is let
//! go only for versions that are loaded, on request, or because its file is gone. A model that was unloaded on request is only
//! looked at until somebody asks for it.

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

/// What is said of the versions of a model that was unloaded on request.
const UNLOADED: &str = "unloaded";
/// And of versions that the policy leaves out.
const NOT_CHOSEN: &str = "the version policy does not choose it";

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
    /// What was found at the last look.
    seen: Option<ModelDir>,
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
    /// Versions that were let go. Kept until nothing else has them, so that none is taken apart in the middle of a request: a large
    /// one takes milliseconds.
    unloading: Vec<(u64, Arc<LoadedModel>)>,
    /// What the registry has no more: it serves only while nothing else can.
    withdrawn: BTreeSet<u64>,
    unloaded: bool,
}

/// Which files are taken for complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stability {
    /// Those that two looks saw the same.
    SeenTwice,
    /// All of them: who put them there says so.
    Assumed,
}

/// A version's file as it was when it was loaded, and what came of it.
#[derive(Debug)]
struct LoadAttempt {
    /// `None` is none that there can be: it is to be tried again.
    stamp: Option<FileStamp>,
    /// What the configuration had it run by.
    runtime: RuntimeChoice,
    /// Of the last try; a version that serves has one when a later content of its file could not be loaded.
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

    /// Wants what is found now, whatever came of it before. When there is no order any more, [`Tracker::outcome`] says what did.
    pub(super) fn load(&mut self, found: &ModelDir) {
        self.unloaded = false;
        if self.config_problem.is_some() {
            self.config_attempted = None;
        }
        self.attempts.retain(|_, attempt| attempt.loaded.is_some());
        self.retry_failed();
        self.look(Some(found), Stability::Assumed);
    }

    /// Lets all versions go, and wants none until [`Tracker::load`]. Requests that have one finish.
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

    /// From here on these versions serve only while no other can.
    pub(super) fn withdraw(&mut self, versions: BTreeSet<u64>) {
        self.withdrawn = versions;
    }

    /// Takes up what is found now; `None` when the model's directory is gone.
    pub(super) fn look(&mut self, found: Option<&ModelDir>, stability: Stability) {
        let found = found.cloned().unwrap_or_default();
        let before = self.seen.replace(found.clone());
        let before = before
            .as_ref()
            .filter(|_| stability == Stability::SeenTwice)
            .unwrap_or(&found);
        self.configure(
            found
                .config
                .as_ref()
                .filter(|config| before.config.as_ref() == Some(*config)),
            &found,
        );
        let is_steady = |number: &u64, seen: &ScannedFile| before.versions.get(number) == Some(seen);
        self.loadable = match self.wants_nothing() {
            true => BTreeMap::new(),
            false => {
                let steady = found.versions.iter().filter(|(number, seen)| is_steady(number, seen));
                steady.map(|(number, seen)| (*number, seen.clone())).collect()
            }
        };
    }

    /// Whether it was unloaded, or it is not known what should serve: without its configuration.
    fn wants_nothing(&self) -> bool {
        self.unloaded || self.is_unconfigured()
    }

    /// Whether there is a configuration, and none was read yet that could be.
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

    /// What was wrong may have been a golden request, or one to warm up with.
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

    /// Takes up what came of the last order.
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

    /// What should serve, as far as it is known to load.
    fn wanted(&self, there: &BTreeMap<u64, ScannedFile>) -> Vec<u64> {
        let may_serve = |number: &u64, seen: &ScannedFile| match self.attempts.get(number) {
            Some(attempt) => attempt.loaded.is_some() || !self.is_as_attempted(attempt, seen),
            None => true,
        };
        let candidates = there.iter().filter(|(number, seen)| may_serve(number, seen));
        self.choose(candidates.map(|(number, _)| *number))
    }

    /// What the policy wants of `there`, and of what was withdrawn only when there is nothing else.
    fn choose(&self, there: impl Iterator<Item = u64> + Clone) -> Vec<u64> {
        let kept = there.clone().filter(|number| !self.withdrawn.contains(number));
        let wanted = self.config.policy.choose(kept);
        match wanted.is_empty() {
            true => self.config.policy.choose(there),
            false => wanted,
        }
    }

    /// Whether all that is wanted of what was found serves, as it lies there.
    pub(super) fn outcome(&self, found: &ModelDir) -> Result<(), String> {
        if let Some(problem) = &self.config_problem {
            return Err(problem.clone());
        }
        if found.versions.is_empty() {
            return Err("there is no version of it".to_owned());
        }
        let wanted = self.choose(found.versions.keys().copied());
        if wanted.is_empty() {
            return Err("its version policy wants none of the versions that are there".to_owned());
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

    /// Lets go what is gone, and what is not wanted once all that is wanted serves. To be called when there is no order any more.
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
                let is_gone = !found.versions.contains_key(number);
                let is_unwanted = complete && !wanted.contains(number);
                if let Some(loaded) = attempt.loaded.take_if(|_| is_gone || is_unwanted) {
                    self.unloading.push((*number, loaded));
                }
                // One that is still there and could not be loaded is remembered.
                !is_gone && (attempt.loaded.is_some() || attempt.problem.is_some())
            });
            self.seen = Some(found);
        }
        self.reap_unloaded();
    }

    /// Whether requests still have versions that were let go.
    pub(super) fn is_unloading(&self) -> bool {
        !self.unloading.is_empty()
    }

    pub(super) fn reap_unloaded(&mut self) {
        self.unloading.retain(is_used);
    }

    /// How the model stands, for the catalog.
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
            let state = match attempt.loaded {
                Some(_) => VersionState::Available,
                None => VersionState::End,
            };
            add(*number, state, attempt.problem.clone(), attempt.loaded.clone());
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
        }
    }

    /// Whether nothing is left to say of it.
    pub(super) fn is_gone(&self) -> bool {
        let nothing_found = self.seen.as_ref().is_none_or(|found| *found == ModelDir::default());
        nothing_found && self.attempts.is_empty() && self.unloading.is_empty()
    }
}

/// Whether anything else has it: a request, or the catalog before.
fn is_used((_, loaded): &(u64, Arc<LoadedModel>)) -> bool {
    Arc::strong_count(loaded) > 1
}
