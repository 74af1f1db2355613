//! A model from look to look: files come, change and go, and each look says what serves.

use std::fs;

use proptest::prelude::*;
use shared::test_util::Scratch;

use super::*;
use crate::catalog::VersionPolicy;
use crate::metrics::Metrics;
use crate::model::{BuiltIn, Model, ModelVersion};
use crate::repository::scan::scan;

/// Loads files that say "good", and keeps what it was told.
struct Fake {
    metrics: Metrics,
    loads: Vec<u64>,
    stages: Vec<Vec<(u64, VersionState)>>,
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

    /// Does what the tracker orders, as the watcher does.
    fn load_ordered(&mut self, tracker: &mut Tracker) {
        while let Some(order) = tracker.next() {
            self.stages.push(states(&tracker.servable()));
            self.loads.push(order.version);
            let text = fs::read_to_string(&order.path).expect("is there");
            let loaded = text.starts_with("good").then(|| loaded(order.version, &self.metrics));
            tracker.done(order.version, loaded.ok_or_else(|| format!("{text} cannot be loaded")));
            self.stages.push(states(&tracker.servable()));
        }
        tracker.start_unload();
        self.stages.push(states(&tracker.servable()));
    }
}

fn loaded(number: u64, metrics: &Metrics) -> LoadedModel {
    LoadedModel::new(
        Model::built_in(BuiltIn::Sum, ModelVersion::of_repository(number)),
        metrics,
    )
}

fn states(servable: &Servable) -> Vec<(u64, VersionState)> {
    let states = servable.versions.iter().map(|version| (version.number, version.state));
    states.collect()
}

struct Scene {
    scratch: Scratch,
    tracker: Tracker,
    fake: Fake,
    scans: usize,
}

/// A model named `m` in a directory of its own.
fn model() -> Scene {
    Scene {
        scratch: Scratch::new("tracker"),
        tracker: Tracker::new("m"),
        fake: Fake::new(),
        scans: 0,
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

    fn look_once(&mut self) -> Vec<(u64, VersionState)> {
        let scan = scan(self.scratch.path()).expect("can be seen");
        let stability = if self.scans == 0 {
            Stability::Assumed
        } else {
            Stability::SeenTwice
        };
        self.tracker.look(scan.models.get("m"), stability);
        self.fake.load_ordered(&mut self.tracker);
        self.scans += 1;
        states(&self.tracker.servable())
    }

    /// Two scans: a change counts when both see the same.
    fn look(&mut self) -> Vec<(u64, VersionState)> {
        self.look_once();
        self.look_once()
    }

    /// As somebody asks for it.
    fn load(&mut self) -> Result<(), String> {
        let scan = scan(self.scratch.path()).expect("can be seen");
        let found = &scan.models["m"];
        self.tracker.load(found);
        self.fake.load_ordered(&mut self.tracker);
        self.tracker.outcome(found)
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

use VersionState::{Available, End, Loading, Start, Unloading};

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
        [(1, End), (2, Available)],
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
    assert_eq!(model.look(), [(1, End), (2, Available)]);
    assert_eq!(model.problem(2), None);
}

#[test]
fn the_next_lower_version_serves_when_the_highest_is_broken_at_the_start() {
    let mut model = model();
    for (version, text) in [(1, "good 1"), (2, "good 2"), (3, "broken")] {
        model.put(version, text);
    }
    assert_eq!(model.look(), [(1, End), (2, Available), (3, End)]);
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
fn what_is_removed_makes_way_for_what_is_there_and_the_last_version_serves_from_memory() {
    let mut model = model();
    model.put(1, "good 1");
    model.put(2, "good 2");
    assert_eq!(model.look(), [(1, End), (2, Available)]);
    model.remove(2);
    assert_eq!(
        model.look(),
        [(1, Available)],
        "the policy wants the latest that there is"
    );
    model.remove(1);
    let serving = model.loaded(1);
    assert_eq!(model.look(), [(1, Available)], "what serves stays");
    assert_eq!(model.problem(1).as_deref(), Some(LOST));
    assert_eq!(model.tracker.lost(), BTreeSet::from([1]));
    model.put(3, "broken");
    assert_eq!(model.look(), [(1, Available), (3, End)]);
    model.put(1, "good again");
    assert_eq!(model.look(), [(1, Available), (3, End)]);
    assert_eq!((model.problem(1), model.tracker.lost()), (None, BTreeSet::new()));
    assert!(!Arc::ptr_eq(&serving, &model.loaded(1)), "it is another file");

    model.remove(1);
    model.put(3, "good 3");
    drop(serving);
    assert_eq!(model.look(), [(3, Available)]);
    model.remove(3);
    model.look();
    model.tracker.unload();
    assert_eq!(model.look(), []);
    assert!(model.tracker.is_gone());
}

#[test]
fn labels_and_policy_are_those_of_what_serves_from_memory() {
    let mut model = model();
    model.put(1, "good 1");
    model.put(2, "good 2");
    let config = model.scratch.path().join("m/config.yaml");
    fs::write(&config, "version_policy: all\nlabels: {stable: 1}\n").expect("writes");
    assert_eq!(model.look(), [(1, Available), (2, Available)]);
    fs::remove_dir_all(model.scratch.path().join("m")).expect("removes");
    assert_eq!(model.look(), [(1, Available), (2, Available)]);
    assert_eq!(model.tracker.servable().labels["stable"], 1);
    model.put(2, "good again");
    assert_eq!(model.look(), [(2, Available)], "the directory is another one");
    assert!(model.tracker.servable().labels.is_empty());
}

#[test]
fn a_directory_that_cannot_be_read_changes_nothing_but_what_is_told() {
    let mut model = model();
    model.put(1, "good 1");
    model.look();
    model.tracker.look_failed("m: permission denied");
    assert_eq!(states(&model.tracker.servable()), [(1, Available)]);
    assert_eq!(
        model.problem(1).as_deref(),
        Some("served from memory: m: permission denied")
    );
    assert_eq!(
        model.tracker.servable().problem.as_deref(),
        Some("m: permission denied")
    );
    assert_eq!(model.tracker.lost(), BTreeSet::new());
    assert_eq!(model.look(), [(1, Available)]);
    assert_eq!(model.problem(1), None);

    let mut unseen = Tracker::new("m");
    unseen.look_failed("m: permission denied");
    assert!(!unseen.is_gone(), "there is something to tell");
    unseen.look(None, Stability::SeenTwice);
    assert!(unseen.is_gone());
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
    assert_eq!(model.look(), [(1, Available), (2, End), (3, Available)]);
    let labels = BTreeSet::from_iter(model.tracker.servable().labels);
    assert_eq!(
        labels,
        BTreeSet::from([("stable".to_owned(), 1), ("canary".to_owned(), 3)])
    );

    fs::write(&config, "version_policy: [").expect("writes");
    assert_eq!(model.look(), [(1, Available), (2, End), (3, Available)]);
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
    assert_eq!(model.look(), [(1, End)]);
    let problem = model.problem(1).expect("it says why");
    assert!(problem.contains("config.yaml:1:9: labels: expected"), "{problem}");
    fs::write(&config, "labels: {stable: 1}\n").expect("writes");
    assert_eq!(model.look(), [(1, Available)]);
}

#[test]
fn what_was_refused_is_tried_again_with_another_configuration() {
    let mut model = model();
    model.put(1, "broken");
    assert_eq!(model.look(), [(1, End)]);
    let config = model.scratch.path().join("m/config.yaml");
    fs::write(&config, "labels: {stable: 1}\n").expect("writes");
    model.look();
    assert_eq!(model.fake.take_loads(), [1, 1]);
    model.look();
    assert!(model.fake.take_loads().is_empty(), "once with each");
    fs::remove_file(&config).expect("removes");
    model.look();
    assert_eq!(model.fake.take_loads(), [1]);
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
    assert_eq!(model.look(), [(1, End), (2, Available)]);

    model.put(2, "broken");
    assert_eq!(model.load(), refused);
    assert_eq!(model.look(), [(1, End), (2, Available)], "what serves stays");
    model.fake.take_loads();
    assert_eq!(model.load(), refused);
    assert_eq!(model.fake.take_loads(), [2], "and its new content is tried again");
}

#[test]
fn why_a_model_cannot_be_loaded_is_said() {
    let mut model = model();
    fs::create_dir(model.scratch.path().join("m")).expect("makes directories");
    assert_eq!(model.load(), Err("the model has no version".to_owned()));
    model.put(1, "good 1");
    let config = model.scratch.path().join("m/config.yaml");
    fs::write(&config, "version_policy: specific\nspecific: [7]\n").expect("writes");
    let none = "the version policy selects none of its versions";
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
    model.tracker.unload();
    assert_eq!(states(&model.tracker.servable()), [(1, Unloading)]);
    drop(in_use);
    assert_eq!(model.look(), [(1, End)]);
    assert_eq!(model.problem(1).as_deref(), Some("unloaded"));
    model.put(2, "good 2");
    assert_eq!(model.look(), [(1, End), (2, End)], "nor is what is new loaded");
    assert_eq!(model.fake.take_loads(), [1]);
    assert_eq!(model.load(), Ok(()));
    assert_eq!(model.look(), [(1, End), (2, Available)]);
    assert_eq!(model.problem(1).as_deref(), Some(NOT_CHOSEN));
}

#[test]
fn what_was_withdrawn_makes_way_for_what_loads_and_for_nothing_else() {
    let mut model = model();
    model.put(1, "broken");
    model.put(2, "good 2");
    assert_eq!(model.look(), [(1, End), (2, Available)]);
    model.tracker.withdraw(BTreeSet::from([2]));
    assert_eq!(model.look(), [(1, End), (2, Available)], "the other does not load");
    model.put(1, "good 1");
    assert_eq!(model.look(), [(1, Available), (2, End)]);
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

/// Does what the tracker orders: loads files whose path says "good". Gives how many it was.
fn load_ordered(tracker: &mut Tracker, metrics: &Metrics) -> usize {
    let mut loads = 0;
    while let Some(order) = tracker.next() {
        loads += 1;
        let loaded = order.path.starts_with("good").then(|| loaded(order.version, metrics));
        tracker.done(order.version, loaded.ok_or_else(|| "broken".to_owned()));
    }
    tracker.start_unload();
    loads
}

proptest! {
    /// Whatever happens in whatever order: what serves goes only for its like or on request; what is unloaded stays so;
    /// and a load request returns the truth.
    #[test]
    fn nothing_that_serves_is_lost(policy in policy(), steps in prop::collection::vec(step(), 0..40)) {
        let config = ScannedFile { path: "config.yaml".into(), stamp: FileStamp::numbered(u64::MAX) };
        let mut tracker = Tracker::new("m");
        tracker.config.policy = policy.clone();
        (tracker.config_stamp, tracker.config_attempted) = (Some(config.stamp), Some(config.stamp));
        let metrics = Metrics::new().expect("registers");
        let mut found = ModelDir { config: Some(config), ..ModelDir::default() };
        let serving = |tracker: &Tracker| -> BTreeSet<u64> {
            let versions = tracker.servable().versions;
            versions.iter().filter(|version| version.loaded.is_some()).map(|version| version.number).collect()
        };
        for (at, step) in steps.into_iter().enumerate() {
            let (before, mut loads) = (serving(&tracker), 0);
            match step {
                Step::Put(number, is_good) => {
                    let path = if is_good { "good" } else { "broken" }.into();
                    found.versions.insert(number, ScannedFile { path, stamp: FileStamp::numbered(at as u64) });
                }
                Step::Remove(number) => {
                    found.versions.remove(&number);
                }
                Step::Look => {
                    tracker.look(Some(&found), Stability::SeenTwice);
                    loads = load_ordered(&mut tracker, &metrics);
                }
                Step::Load => {
                    tracker.load(&found);
                    loads = load_ordered(&mut tracker, &metrics);
                    let outcome = tracker.outcome(&found);
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
                    tracker.unload();
                    prop_assert!(serving(&tracker).is_empty());
                }
                Step::Withdraw(versions) => tracker.withdraw(versions),
            }
            if tracker.is_unloaded() {
                prop_assert!(serving(&tracker).is_empty());
                prop_assert_eq!(loads, 0);
            } else if !before.is_empty() {
                prop_assert!(!serving(&tracker).is_empty(), "{before:?} served");
            }
        }
    }
}
