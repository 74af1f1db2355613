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
use super::scan::{Fingerprint, Found, Seen};
use crate::catalog::{Servable, State, Version};
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
    seen: Option<Found>,
    /// Those of its versions that may be loaded: their files are taken for complete.
    loadable: BTreeMap<u64, Seen>,
    config: ModelConfig,
    /// The configuration's file that `config` was read from, and the last one that was read.
    config_print: Option<Fingerprint>,
    config_tried: Option<Fingerprint>,
    /// Why a changed configuration does not hold.
    pub(super) config_problem: Option<String>,
    tried: BTreeMap<u64, Tried>,
    /// The version that is being loaded, with its file as it is.
    loading: Option<(u64, Fingerprint)>,
    /// Versions that were let go. Kept until nothing else has them, so that none is taken apart in the middle of a request: a large
    /// one takes milliseconds.
    leaving: Vec<(u64, Arc<LoadedModel>)>,
    /// What the registry has no more: it serves only while nothing else can.
    withdrawn: BTreeSet<u64>,
    unloaded: bool,
}

/// Which files are taken for complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// Those that two looks saw the same.
    Steady,
    /// All of them: who put them there says so.
    All,
}

/// A version's file as it was when it was loaded, and what came of it.
#[derive(Debug)]
struct Tried {
    /// `None` is none that there can be: it is to be tried again.
    print: Option<Fingerprint>,
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
            config_print: None,
            config_tried: None,
            config_problem: None,
            tried: BTreeMap::new(),
            loading: None,
            leaving: Vec::new(),
            withdrawn: BTreeSet::new(),
            unloaded: false,
        }
    }

    /// Wants what is found now, whatever came of it before. When there is no order any more, [`Tracker::outcome`] says what did.
    pub(super) fn load(&mut self, found: &Found) {
        self.unloaded = false;
        if self.config_problem.is_some() {
            self.config_tried = None;
        }
        self.tried.retain(|_, tried| tried.loaded.is_some());
        self.try_the_refused_again();
        self.look(Some(found), Trust::All);
    }

    /// Lets all versions go, and wants none until [`Tracker::load`]. Requests that have one finish.
    pub(super) fn unload(&mut self) {
        self.unloaded = true;
        self.loadable.clear();
        for (number, tried) in std::mem::take(&mut self.tried) {
            if let Some(loaded) = tried.loaded {
                self.leaving.push((number, loaded));
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
    pub(super) fn look(&mut self, found: Option<&Found>, trust: Trust) {
        let found = found.cloned().unwrap_or_default();
        let before = self.seen.replace(found.clone());
        let before = before.as_ref().filter(|_| trust == Trust::Steady).unwrap_or(&found);
        self.configure(
            found
                .config
                .as_ref()
                .filter(|config| before.config.as_ref() == Some(*config)),
            &found,
        );
        let is_steady = |number: &u64, seen: &Seen| before.versions.get(number) == Some(seen);
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
        self.config_print.is_none() && self.seen.as_ref().is_some_and(|found| found.config.is_some())
    }

    fn configure(&mut self, steady: Option<&Seen>, found: &Found) {
        if found.config.is_none() {
            if self.config_print.is_some() {
                self.config = ModelConfig::default();
                self.try_the_refused_again();
            }
            (self.config_print, self.config_tried, self.config_problem) = (None, None, None);
            return;
        }
        let Some(seen) = steady.filter(|seen| Some(seen.print) != self.config_tried) else {
            return;
        };
        self.config_tried = Some(seen.print);
        match ModelConfig::read(&seen.path) {
            Ok(config) => {
                self.config = config;
                self.try_the_refused_again();
                self.config_print = Some(seen.print);
                self.config_problem = None;
            }
            Err(problem) => self.config_problem = Some(problem),
        }
    }

    /// What was wrong may have been a golden request, or one to warm up with.
    fn try_the_refused_again(&mut self) {
        for tried in self.tried.values_mut().filter(|tried| tried.problem.is_some()) {
            tried.print = None;
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
        self.loading = Some((number, file.print));
        // Their memory may be what this one needs.
        self.leaving.retain(is_used);
        Some(order)
    }

    /// Takes up what came of the last order.
    pub(super) fn done(&mut self, number: u64, outcome: Result<LoadedModel, String>) {
        let print = self.loading.take().map(|(_, print)| print);
        let tried = self.tried.entry(number).or_insert_with(|| Tried {
            print: None,
            runtime: self.config.runtime,
            problem: None,
            loaded: None,
        });
        (tried.print, tried.runtime) = (print, self.config.runtime);
        match outcome {
            Ok(loaded) => {
                tried.problem = None;
                if let Some(before) = tried.loaded.replace(Arc::new(loaded)) {
                    self.leaving.push((number, before));
                }
            }
            Err(problem) => tried.problem = Some(problem),
        }
    }

    /// The highest version that is wanted and was not tried as it is.
    fn next_to_load(&self) -> Option<(u64, &Seen)> {
        let is_tried = |number: &u64, seen: &Seen| {
            self.tried
                .get(number)
                .is_some_and(|tried| self.is_as_tried(tried, seen))
        };
        let mut wanted = self.wanted(&self.loadable).into_iter();
        wanted.find_map(|number| {
            let seen = self.loadable.get(&number)?;
            (!is_tried(&number, seen)).then_some((number, seen))
        })
    }

    fn is_as_tried(&self, tried: &Tried, seen: &Seen) -> bool {
        (tried.print, tried.runtime) == (Some(seen.print), self.config.runtime)
    }

    /// What should serve, as far as it is known to load.
    fn wanted(&self, there: &BTreeMap<u64, Seen>) -> Vec<u64> {
        let may_serve = |number: &u64, seen: &Seen| match self.tried.get(number) {
            Some(tried) => tried.loaded.is_some() || !self.is_as_tried(tried, seen),
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
    pub(super) fn outcome(&self, found: &Found) -> Result<(), String> {
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
            let tried = self.tried.get(&number);
            let problem = tried.and_then(|tried| tried.problem.as_deref());
            match (problem, tried.and_then(|tried| tried.loaded.as_ref())) {
                (None, Some(_serves)) => {}
                (problem, _) => return Err(format!("version {number}: {}", problem.unwrap_or("it was not loaded"))),
            }
        }
        Ok(())
    }

    /// Lets go what is gone, and what is not wanted once all that is wanted serves. To be called when there is no order any more.
    pub(super) fn let_go(&mut self) {
        if !self.wants_nothing() {
            let found = self.seen.take().unwrap_or_default();
            let wanted = self.wanted(&found.versions);
            let is_loaded = |number: &u64| self.tried.get(number).is_some_and(|tried| tried.loaded.is_some());
            let complete = !wanted.is_empty() && wanted.iter().all(is_loaded);
            self.tried.retain(|number, tried| {
                let is_gone = !found.versions.contains_key(number);
                let is_unwanted = complete && !wanted.contains(number);
                if let Some(loaded) = tried.loaded.take_if(|_| is_gone || is_unwanted) {
                    self.leaving.push((*number, loaded));
                }
                // One that is still there and could not be loaded is remembered.
                !is_gone && (tried.loaded.is_some() || tried.problem.is_some())
            });
            self.seen = Some(found);
        }
        self.forget_those_that_left();
    }

    /// Whether requests still have versions that were let go.
    pub(super) fn is_letting_go(&self) -> bool {
        !self.leaving.is_empty()
    }

    pub(super) fn forget_those_that_left(&mut self) {
        self.leaving.retain(is_used);
    }

    /// How the model stands, for the catalog.
    pub(super) fn servable(&self) -> Servable {
        let mut versions: BTreeMap<u64, Version> = BTreeMap::new();
        let mut add = |number: u64, state: State, problem: Option<String>, loaded: Option<Arc<LoadedModel>>| {
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
                (State::End, Some(UNLOADED.to_owned()))
            } else if self.tried.contains_key(number) {
                (State::End, None)
            } else if let (Some(problem), None) = (&self.config_problem, self.config_print) {
                // None holds, so nothing is loaded.
                (State::End, Some(problem.clone()))
            } else if wanted.contains(number) || self.is_unconfigured() {
                (State::Start, None)
            } else {
                (State::End, Some(NOT_CHOSEN.to_owned()))
            };
            add(*number, state, problem, None);
        }
        for (number, _loaded) in &self.leaving {
            add(*number, State::Unloading, None, None);
        }
        for (number, tried) in &self.tried {
            let state = match tried.loaded {
                Some(_) => State::Available,
                None => State::End,
            };
            add(*number, state, tried.problem.clone(), tried.loaded.clone());
        }
        if let Some((number, _)) = self.loading {
            let serving = self.tried.get(&number).and_then(|tried| tried.loaded.clone());
            if serving.is_none() {
                add(number, State::Loading, None, None);
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
        let nothing_found = self.seen.as_ref().is_none_or(|found| *found == Found::default());
        nothing_found && self.tried.is_empty() && self.leaving.is_empty()
    }
}

/// Whether anything else has it: a request, or the catalog before.
fn is_used((_, loaded): &(u64, Arc<LoadedModel>)) -> bool {
    Arc::strong_count(loaded) > 1
}
