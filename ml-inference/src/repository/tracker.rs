//! One model from look to look: which of its versions are loaded, which could not be, and which still finish requests.
//!
//! ```text
//! found ─► steady? ─► load the wanted ones ─► all of them available? ─► unload the others
//!            └─ still being written: next time   └─ no: the next lower one, and what serves stays
//! ```
//!
//! A version that could not be loaded is not tried again until its file changes or somebody asks for it. One that serves is let
//! go only for versions that are loaded, on request, or because its file is gone. A model that was unloaded on request is only
//! looked at until somebody asks for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::catalog::{Servable, State, Version};
use super::layout::{Fingerprint, Found, Seen};
use super::model_config::ModelConfig;
use crate::engine::LoadedModel;
use crate::runtime::RuntimeChoice;

/// What is said of the versions of a model that was unloaded on request.
const UNLOADED: &str = "unloaded";

/// Makes a version of a model ready to serve, or says why it cannot.
pub(super) trait Load {
    fn load(&mut self, name: &str, number: u64, file: &Seen, config: &ModelConfig) -> Result<LoadedModel, String>;

    /// A version begins to load or has ended; `servable` is how the model stands.
    fn progress(&mut self, name: &str, servable: Servable);
}

#[derive(Debug)]
pub(super) struct Tracker {
    name: String,
    /// What was found at the last look.
    seen: Option<Found>,
    config: ModelConfig,
    /// The configuration's file that `config` was read from, and the last one that was read.
    config_print: Option<Fingerprint>,
    config_tried: Option<Fingerprint>,
    /// Why a changed configuration does not hold.
    pub(super) config_problem: Option<String>,
    tried: BTreeMap<u64, Tried>,
    /// The version that is being loaded.
    loading: Option<u64>,
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
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            seen: None,
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

    /// Loads what is wanted of what is found now, whatever came of it before. The error says why it does not serve.
    pub(super) fn load(&mut self, found: &Found, load: &mut impl Load) -> Result<(), String> {
        self.unloaded = false;
        if self.config_problem.is_some() {
            self.config_tried = None;
        }
        self.tried.retain(|_, tried| tried.loaded.is_some());
        for tried in self.tried.values_mut().filter(|tried| tried.problem.is_some()) {
            tried.print = None;
        }
        self.look(Some(found), Trust::All, load);
        self.outcome(found)
    }

    /// Lets all versions go, and loads none until [`Tracker::load`]. Requests that have one finish.
    pub(super) fn unload(&mut self, load: &mut impl Load) {
        self.unloaded = true;
        for (number, tried) in std::mem::take(&mut self.tried) {
            if let Some(loaded) = tried.loaded {
                self.leaving.push((number, loaded));
            }
        }
        load.progress(&self.name, self.servable());
    }

    pub(super) fn is_unloaded(&self) -> bool {
        self.unloaded
    }

    /// From here on these versions serve only while no other can.
    pub(super) fn withdraw(&mut self, versions: BTreeSet<u64>) {
        self.withdrawn = versions;
    }

    /// Takes up what is found now; `None` when the model's directory is gone.
    pub(super) fn look(&mut self, found: Option<&Found>, trust: Trust, load: &mut impl Load) {
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
        if self.unloaded {
            return self.forget_those_that_left(false, load);
        }
        if self.config_print.is_none() && found.config.is_some() {
            // Without its configuration it is not known what should serve.
            return;
        }
        let steady: BTreeMap<u64, &Seen> = found
            .versions
            .iter()
            .filter(|(number, seen)| before.versions.get(number) == Some(seen))
            .map(|(number, seen)| (*number, seen))
            .collect();
        self.load_wanted(&steady, load);
        self.let_go(&found, load);
    }

    fn configure(&mut self, steady: Option<&Seen>, found: &Found) {
        if found.config.is_none() {
            self.config = ModelConfig::default();
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
                self.config_print = Some(seen.print);
                self.config_problem = None;
            }
            Err(problem) => self.config_problem = Some(problem),
        }
    }

    fn load_wanted(&mut self, steady: &BTreeMap<u64, &Seen>, load: &mut impl Load) {
        // Each turn loads one version or finds one that cannot be, so this ends.
        while let Some((number, file)) = self.next_to_load(steady) {
            self.loading = Some(number);
            self.leaving.retain(is_used);
            load.progress(&self.name, self.servable());
            let outcome = load.load(&self.name, number, file, &self.config);
            self.loading = None;
            let tried = self.tried.entry(number).or_insert_with(|| Tried {
                print: None,
                runtime: self.config.runtime,
                problem: None,
                loaded: None,
            });
            (tried.print, tried.runtime) = (Some(file.print), self.config.runtime);
            match outcome {
                Ok(loaded) => {
                    tried.problem = None;
                    if let Some(before) = tried.loaded.replace(Arc::new(loaded)) {
                        self.leaving.push((number, before));
                    }
                }
                Err(problem) => tried.problem = Some(problem),
            }
            load.progress(&self.name, self.servable());
        }
    }

    /// The highest version that is wanted and was not tried as it is.
    fn next_to_load<'a>(&self, steady: &BTreeMap<u64, &'a Seen>) -> Option<(u64, &'a Seen)> {
        let is_tried = |number: &u64, seen: &Seen| {
            self.tried
                .get(number)
                .is_some_and(|tried| self.is_as_tried(tried, seen))
        };
        let mut wanted = self.wanted(steady).into_iter();
        wanted.find_map(|number| {
            let seen = *steady.get(&number)?;
            (!is_tried(&number, seen)).then_some((number, seen))
        })
    }

    fn is_as_tried(&self, tried: &Tried, seen: &Seen) -> bool {
        (tried.print, tried.runtime) == (Some(seen.print), self.config.runtime)
    }

    /// What should serve, as far as it is known to load.
    fn wanted(&self, there: &BTreeMap<u64, &Seen>) -> Vec<u64> {
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
    fn outcome(&self, found: &Found) -> Result<(), String> {
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

    fn let_go(&mut self, found: &Found, load: &mut impl Load) {
        let there: BTreeMap<u64, &Seen> = found.versions.iter().map(|(number, seen)| (*number, seen)).collect();
        let wanted = self.wanted(&there);
        let is_loaded = |number: &u64| self.tried.get(number).is_some_and(|tried| tried.loaded.is_some());
        let complete = !wanted.is_empty() && wanted.iter().all(is_loaded);
        let mut changed = false;
        self.tried.retain(|number, tried| {
            let is_gone = !found.versions.contains_key(number);
            let is_unwanted = complete && !wanted.contains(number);
            if let Some(loaded) = tried.loaded.take_if(|_| is_gone || is_unwanted) {
                self.leaving.push((*number, loaded));
                changed = true;
            }
            // One that is still there and could not be loaded is remembered.
            !is_gone && (tried.loaded.is_some() || tried.problem.is_some())
        });
        self.forget_those_that_left(changed, load);
    }

    /// Whether requests still have versions that were let go.
    pub(super) fn is_letting_go(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Tells of it if there are such, or something else `changed`.
    pub(super) fn forget_those_that_left(&mut self, changed: bool, load: &mut impl Load) {
        let leaving = self.leaving.len();
        self.leaving.retain(is_used);
        if changed || leaving != self.leaving.len() {
            load.progress(&self.name, self.servable());
        }
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
        for number in self.seen.iter().flat_map(|found| found.versions.keys()) {
            let (state, problem) = match self.unloaded {
                true => (State::End, Some(UNLOADED.to_owned())),
                false if self.tried.contains_key(number) => (State::End, None),
                false => (State::Start, None),
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
        if let Some(number) = self.loading {
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

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use shared::test_util::Scratch;

    use super::*;
    use crate::metrics::Metrics;
    use crate::model::{BuiltIn, Model};
    use crate::repository::VersionPolicy;
    use crate::repository::layout::scan;
    use crate::version::ModelVersion;

    /// Loads files that say "good", and keeps what it was told.
    struct Fake {
        metrics: Metrics,
        loads: Vec<u64>,
        stages: Vec<Vec<(u64, State)>>,
    }

    impl Fake {
        fn new() -> Self {
            Self {
                metrics: Metrics::new().expect("registers"),
                loads: Vec::new(),
                stages: Vec::new(),
            }
        }

        fn take_loads(&mut self) -> Vec<u64> {
            std::mem::take(&mut self.loads)
        }
    }

    impl Load for Fake {
        fn load(&mut self, name: &str, number: u64, file: &Seen, _config: &ModelConfig) -> Result<LoadedModel, String> {
            self.loads.push(number);
            let text = fs::read_to_string(&file.path).expect("is there");
            if !text.starts_with("good") {
                return Err(format!("{text} cannot be loaded"));
            }
            let mut model = Model::built_in(BuiltIn::Sum, ModelVersion::of_repository(number));
            model.name = name.to_owned();
            Ok(LoadedModel::new(model, &self.metrics))
        }

        fn progress(&mut self, _name: &str, servable: Servable) {
            self.stages.push(states(&servable));
        }
    }

    fn states(servable: &Servable) -> Vec<(u64, State)> {
        let states = servable.versions.iter().map(|version| (version.number, version.state));
        states.collect()
    }

    struct Scene {
        scratch: Scratch,
        tracker: Tracker,
        fake: Fake,
        looks: usize,
    }

    /// A model named `m` in a directory of its own.
    fn model() -> Scene {
        Scene {
            scratch: Scratch::new("tracker"),
            tracker: Tracker::new("m"),
            fake: Fake::new(),
            looks: 0,
        }
    }

    impl Scene {
        fn path(&self, version: u64) -> std::path::PathBuf {
            self.scratch.path().join(format!("m/{version}/model.onnx"))
        }

        /// Puts a version there by renaming, so that each content is another file.
        fn put(&self, version: u64, text: &str) {
            let new = self.scratch.file("new", text);
            fs::create_dir_all(self.path(version).parent().expect("below the root")).expect("makes directories");
            fs::rename(new, self.path(version)).expect("renames");
        }

        fn remove(&self, version: u64) {
            fs::remove_dir_all(self.path(version).parent().expect("below the root")).expect("removes");
        }

        fn look_once(&mut self) -> Vec<(u64, State)> {
            let listing = scan(self.scratch.path()).expect("can be seen");
            let trust = if self.looks == 0 { Trust::All } else { Trust::Steady };
            self.tracker.look(listing.models.get("m"), trust, &mut self.fake);
            self.looks += 1;
            states(&self.tracker.servable())
        }

        /// What changed counts when two looks saw the same.
        fn look(&mut self) -> Vec<(u64, State)> {
            self.look_once();
            self.look_once()
        }

        /// As somebody asks for it.
        fn load(&mut self) -> Result<(), String> {
            let listing = scan(self.scratch.path()).expect("can be seen");
            self.tracker.load(&listing.models["m"], &mut self.fake)
        }

        fn problem(&self, number: u64) -> Option<String> {
            let versions = self.tracker.servable().versions;
            versions.into_iter().find(|version| version.number == number)?.problem
        }

        fn loaded(&self, number: u64) -> Arc<LoadedModel> {
            let versions = self.tracker.servable().versions;
            let version = versions.into_iter().find(|version| version.number == number);
            version.and_then(|version| version.loaded).expect("available")
        }
    }

    use State::{Available, End, Loading, Start, Unloading};

    #[test]
    fn a_new_version_takes_over_when_it_is_loaded_and_not_before() {
        let mut model = model();
        model.put(1, "good 1");
        assert_eq!(
            model.look_once(),
            [(1, Available)],
            "what is there at the start is complete"
        );
        let in_use = model.loaded(1);

        model.put(2, "good 2");
        assert_eq!(
            model.look_once(),
            [(1, Available), (2, Start)],
            "it may still be written"
        );
        model.fake.stages.clear();
        assert_eq!(model.look_once(), [(1, Unloading), (2, Available)]);
        assert_eq!(
            model.fake.stages,
            [
                vec![(1, Available), (2, Loading)],
                vec![(1, Available), (2, Available)],
                vec![(1, Unloading), (2, Available)],
            ]
        );
        let version = Arc::downgrade(&in_use);
        drop(in_use);
        assert!(version.strong_count() > 0, "no request takes it apart");
        assert_eq!(
            model.look_once(),
            [(1, Start), (2, Available)],
            "it is let go when nobody uses it"
        );
        assert_eq!(version.strong_count(), 0);
        assert_eq!(model.fake.take_loads(), [1, 2]);
    }

    #[test]
    fn a_broken_version_never_replaces_a_good_one_and_is_tried_once() {
        let mut model = model();
        model.put(1, "good 1");
        model.look();
        model.put(2, "broken");
        assert_eq!(model.look(), [(1, Available), (2, End)]);
        assert_eq!(model.problem(2).as_deref(), Some("broken cannot be loaded"));
        model.look();
        assert_eq!(model.fake.take_loads(), [1, 2], "no second try of the same file");

        model.put(2, "good 2");
        assert_eq!(model.look(), [(1, Start), (2, Available)]);
        assert_eq!(model.problem(2), None);
    }

    #[test]
    fn the_next_lower_version_serves_when_the_highest_is_broken_at_the_start() {
        let mut model = model();
        for (version, text) in [(1, "good 1"), (2, "good 2"), (3, "broken")] {
            model.put(version, text);
        }
        assert_eq!(model.look(), [(1, Start), (2, Available), (3, End)]);
        assert_eq!(model.fake.take_loads(), [3, 2]);
    }

    #[test]
    fn a_file_that_is_replaced_by_a_broken_one_leaves_what_serves() {
        let mut model = model();
        model.put(1, "good 1");
        model.look();
        let before = model.loaded(1);
        model.put(1, "broken");
        assert_eq!(model.look(), [(1, Available)]);
        assert!(Arc::ptr_eq(&before, &model.loaded(1)));
        assert_eq!(model.problem(1).as_deref(), Some("broken cannot be loaded"));
        model.put(1, "good again");
        assert_eq!(model.look(), [(1, Available)]);
        assert!(!Arc::ptr_eq(&before, &model.loaded(1)));
        assert_eq!(model.problem(1), None);
    }

    #[test]
    fn a_file_that_is_being_written_is_left_alone() {
        let mut model = model();
        model.put(1, "good 1");
        model.look();
        for length in 1..5 {
            model.put(2, &"half ".repeat(length));
            assert_eq!(model.look_once(), [(1, Available), (2, Start)]);
        }
        model.put(2, "good 2");
        model.look();
        assert_eq!(model.fake.take_loads(), [1, 2], "no half of it was tried");
    }

    #[test]
    fn what_is_removed_is_unloaded_and_the_model_ends_with_its_last_version() {
        let mut model = model();
        model.put(1, "good 1");
        model.put(2, "good 2");
        assert_eq!(model.look(), [(1, Start), (2, Available)]);
        model.remove(2);
        assert_eq!(
            model.look(),
            [(1, Available)],
            "the policy wants the latest that there is"
        );
        model.remove(1);
        assert_eq!(model.look_once(), []);
        assert!(model.tracker.is_gone());
    }

    #[test]
    fn labels_and_policy_come_from_the_configuration_as_it_is_now() {
        let mut model = model();
        for version in 1..=3 {
            model.put(version, "good");
        }
        let config = model.scratch.path().join("m/config.yaml");
        fs::write(
            &config,
            "version_policy: specific\nspecific: [1, 3]\nlabels: {stable: 1, canary: 3}\n",
        )
        .expect("writes");
        assert_eq!(model.look(), [(1, Available), (2, Start), (3, Available)]);
        let labels = BTreeSet::from_iter(model.tracker.servable().labels);
        assert_eq!(
            labels,
            BTreeSet::from([("stable".to_owned(), 1), ("canary".to_owned(), 3)])
        );

        fs::write(&config, "version_policy: [").expect("writes");
        assert_eq!(model.look(), [(1, Available), (2, Start), (3, Available)]);
        let problem = model.tracker.config_problem.clone().expect("it is refused");
        assert!(problem.contains("config.yaml:"), "{problem}");

        fs::write(&config, "version_policy: all\n").expect("writes");
        assert_eq!(model.look(), [(1, Available), (2, Available), (3, Available)]);
        assert_eq!(model.tracker.config_problem, None);
        assert!(model.tracker.servable().labels.is_empty());
    }

    #[test]
    fn a_model_whose_first_configuration_is_broken_waits_for_a_better_one() {
        let mut model = model();
        model.put(1, "good");
        let config = model.scratch.path().join("m/config.yaml");
        fs::write(&config, "labels: 3\n").expect("writes");
        assert_eq!(model.look(), [(1, Start)]);
        fs::write(&config, "labels: {stable: 1}\n").expect("writes");
        assert_eq!(model.look(), [(1, Available)]);
    }

    #[test]
    fn what_is_asked_for_is_loaded_at_once_and_tried_again() {
        let mut model = model();
        model.put(1, "good 1");
        assert_eq!(model.look(), [(1, Available)]);
        let before = model.loaded(1);
        assert_eq!(model.load(), Ok(()));
        assert!(
            Arc::ptr_eq(&before, &model.loaded(1)),
            "what did not change is not loaded again"
        );
        assert_eq!(model.fake.take_loads(), [1]);

        model.put(2, "broken");
        let refused = Err("version 2: broken cannot be loaded".to_owned());
        assert_eq!(model.load(), refused, "without a second look");
        assert_eq!(model.look(), [(1, Available), (2, End)]);
        assert_eq!(model.load(), refused);
        assert_eq!(model.fake.take_loads(), [2, 2], "asked for twice, tried twice");

        drop(before);
        model.put(2, "good 2");
        assert_eq!(model.load(), Ok(()));
        assert_eq!(model.look(), [(1, Start), (2, Available)]);

        model.put(2, "broken");
        assert_eq!(model.load(), refused);
        assert_eq!(model.look(), [(1, Start), (2, Available)], "what serves stays");
        model.fake.take_loads();
        assert_eq!(model.load(), refused);
        assert_eq!(model.fake.take_loads(), [2], "and its new content is tried again");
    }

    #[test]
    fn why_a_model_cannot_be_loaded_is_said() {
        let mut model = model();
        fs::create_dir(model.scratch.path().join("m")).expect("makes directories");
        assert_eq!(model.load(), Err("there is no version of it".to_owned()));
        model.put(1, "good 1");
        let config = model.scratch.path().join("m/config.yaml");
        fs::write(&config, "version_policy: specific\nspecific: [7]\n").expect("writes");
        let none = "its version policy wants none of the versions that are there";
        assert_eq!(model.load(), Err(none.to_owned()));
        fs::write(&config, "version_policy: [").expect("writes");
        let refused = model.load().expect_err("the configuration is broken");
        assert!(refused.contains("config.yaml:"), "{refused}");
        fs::write(&config, "labels: {stable: 1}\n").expect("writes");
        assert_eq!(model.load(), Ok(()));
    }

    #[test]
    fn what_is_unloaded_stays_so_until_it_is_asked_for() {
        let mut model = model();
        model.put(1, "good 1");
        model.look();
        let in_use = model.loaded(1);
        model.tracker.unload(&mut model.fake);
        assert_eq!(states(&model.tracker.servable()), [(1, Unloading)]);
        drop(in_use);
        assert_eq!(model.look(), [(1, End)]);
        assert_eq!(model.problem(1).as_deref(), Some("unloaded"));
        model.put(2, "good 2");
        assert_eq!(model.look(), [(1, End), (2, End)], "nor is what is new loaded");
        assert_eq!(model.fake.take_loads(), [1]);
        assert_eq!(model.load(), Ok(()));
        assert_eq!(model.look(), [(1, Start), (2, Available)]);
        assert_eq!(model.problem(1), None);
    }

    #[test]
    fn what_was_withdrawn_makes_way_for_what_loads_and_for_nothing_else() {
        let mut model = model();
        model.put(1, "broken");
        model.put(2, "good 2");
        assert_eq!(model.look(), [(1, Start), (2, Available)]);
        model.tracker.withdraw(BTreeSet::from([2]));
        assert_eq!(model.look(), [(1, End), (2, Available)], "the other does not load");
        model.put(1, "good 1");
        assert_eq!(model.look(), [(1, Available), (2, Start)]);
        model.remove(1);
        assert_eq!(model.look(), [(2, Available)], "there is nothing else any more");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Put(u64, bool),
        Remove(u64),
        Look,
        Load,
        Unload,
        Withdraw(BTreeSet<u64>),
    }

    fn step() -> impl Strategy<Value = Step> {
        let number = || 1_u64..4;
        prop_oneof![
            3 => (number(), any::<bool>()).prop_map(|(number, is_good)| Step::Put(number, is_good)),
            1 => number().prop_map(Step::Remove),
            4 => Just(Step::Look),
            1 => Just(Step::Load),
            1 => Just(Step::Unload),
            1 => prop::collection::btree_set(number(), 0..3).prop_map(Step::Withdraw),
        ]
    }

    fn policy() -> impl Strategy<Value = VersionPolicy> {
        prop_oneof![
            (1_usize..3).prop_map(VersionPolicy::Latest),
            Just(VersionPolicy::All),
            prop::collection::btree_set(1_u64..4, 1..3).prop_map(VersionPolicy::Specific),
        ]
    }

    /// Loads files whose path says "good".
    struct ByName {
        metrics: Metrics,
        loads: usize,
    }

    impl Load for ByName {
        fn load(
            &mut self,
            _name: &str,
            number: u64,
            file: &Seen,
            _config: &ModelConfig,
        ) -> Result<LoadedModel, String> {
            self.loads += 1;
            match file.path.starts_with("good") {
                true => {
                    let model = Model::built_in(BuiltIn::Sum, ModelVersion::of_repository(number));
                    Ok(LoadedModel::new(model, &self.metrics))
                }
                false => Err("broken".to_owned()),
            }
        }

        fn progress(&mut self, _name: &str, _servable: Servable) {}
    }

    proptest! {
        /// Whatever happens in whatever order: what serves goes only for its like, on request, or with its file; what is
        /// unloaded stays so; and who asks for a model is told the truth.
        #[test]
        fn nothing_that_serves_is_lost(policy in policy(), steps in prop::collection::vec(step(), 0..40)) {
            let config = Seen { path: "config.yaml".into(), print: Fingerprint::numbered(u64::MAX) };
            let mut tracker = Tracker::new("m");
            tracker.config.policy = policy.clone();
            (tracker.config_print, tracker.config_tried) = (Some(config.print), Some(config.print));
            let mut load = ByName { metrics: Metrics::new().expect("registers"), loads: 0 };
            let mut found = Found { config: Some(config), ..Found::default() };
            let serving = |tracker: &Tracker| -> BTreeSet<u64> {
                let versions = tracker.servable().versions;
                versions.iter().filter(|version| version.loaded.is_some()).map(|version| version.number).collect()
            };
            for (at, step) in steps.into_iter().enumerate() {
                let (before, loads) = (serving(&tracker), load.loads);
                match step {
                    Step::Put(number, is_good) => {
                        let path = if is_good { "good" } else { "broken" }.into();
                        found.versions.insert(number, Seen { path, print: Fingerprint::numbered(at as u64) });
                    }
                    Step::Remove(number) => {
                        found.versions.remove(&number);
                    }
                    Step::Look => tracker.look(Some(&found), Trust::Steady, &mut load),
                    Step::Load => {
                        let outcome = tracker.load(&found, &mut load);
                        prop_assert!(!tracker.is_unloaded());
                        let kept = found.versions.keys().filter(|number| !tracker.withdrawn.contains(number));
                        let mut wanted = policy.choose(kept.copied());
                        if wanted.is_empty() {
                            wanted = policy.choose(found.versions.keys().copied());
                        }
                        let is_good = |number: &u64| found.versions[number].path.starts_with("good");
                        prop_assert_eq!(outcome.is_ok(), !wanted.is_empty() && wanted.iter().all(is_good));
                        if outcome.is_ok() {
                            prop_assert_eq!(serving(&tracker), wanted.into_iter().collect());
                        }
                    }
                    Step::Unload => {
                        tracker.unload(&mut load);
                        prop_assert!(serving(&tracker).is_empty());
                    }
                    Step::Withdraw(versions) => tracker.withdraw(versions),
                }
                if tracker.is_unloaded() {
                    prop_assert!(serving(&tracker).is_empty());
                    prop_assert_eq!(load.loads, loads);
                } else if before.iter().any(|number| found.versions.contains_key(number)) {
                    prop_assert!(!serving(&tracker).is_empty(), "{before:?} served");
                }
            }
        }
    }
}
