//! The thread that scans the models' directory, loads new versions and publishes the catalog.
//!
//! A thread of its own: file systems may stall, and a model takes as long to load as it takes, while requests are answered
//! by others. It polls instead of subscribing to file events, as `shared::reload::Reloader` does and for the same reasons.
//! Between two scans it handles commands (`commands.rs`) one after the other, so that no model is loaded and unloaded at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};

use model_runtime::{RunThreads, start_shared_threads};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::commands::{Command, CommandError, Commands};
use super::loader::Loader;
use super::publisher::Publisher;
use super::scan::{self, ModelDir, Scan};
use super::tracker::{Stability, Tracker};
use crate::background;
use crate::catalog::{Catalog, Servable};
use crate::engine::LoadedModel;

/// Interval at which unloading versions are checked for their last request.
const REAP_INTERVAL: Duration = Duration::from_millis(100);
/// Models that are unloaded and whose directories are gone are remembered too, until there are so many.
const MOST_UNLOADED: usize = 256;

/// Settings and parts of the repository thread.
pub struct WatcherSettings {
    pub directory: PathBuf,
    /// Interval between two scans.
    pub interval: Duration,
    /// Time limit for the reply to a load or unload command.
    pub load_timeout: Duration,
    /// The models that are part of the program; no directory takes their names.
    pub built_in: Catalog,
    pub loader: Loader,
    pub publisher: Publisher,
}

/// The repository thread. It ends after this and every [`Commands`] is dropped, when the load in progress is done.
#[derive(Debug)]
pub struct Watcher {
    /// Count of finished scans and commands.
    scans: watch::Receiver<u64>,
    commands: Commands,
    _thread: JoinHandle<()>,
}

impl Watcher {
    pub fn start(settings: WatcherSettings) -> io::Result<Self> {
        let (finished, scans) = watch::channel(0);
        let (commands, receiver) = Commands::new(settings.load_timeout);
        let watching = Watching {
            catalog: settings.built_in.clone(),
            settings,
            trackers: BTreeMap::new(),
            logged: LoggedOnce::default(),
        };
        let thread = thread::Builder::new().name("repository".to_owned());
        let low = thread::Builder::new().name("repository".to_owned());
        let low = low.spawn(|| {
            background::lower_priority();
            start_shared_threads();
        })?;
        let thread = thread.spawn(move || {
            // Whether it has started the threads or not, models can be loaded.
            let _started = low.join();
            // Models are opened and warmed up with one thread: this one, or those of `background.rs`.
            RunThreads::new(1).within(move || watching.run(&receiver, &finished));
        })?;
        Ok(Self {
            scans,
            commands,
            _thread: thread,
        })
    }

    pub fn commands(&self) -> Commands {
        self.commands.clone()
    }

    /// Waits until every model of the first scan is loaded or rejected.
    pub async fn first_scan(&self) -> Result<(), WatcherGone> {
        let mut scans = self.scans.clone();
        scans
            .wait_for(|scans| *scans > 0)
            .await
            .map(|_scans| ())
            .map_err(|_ended| WatcherGone)
    }

    /// Waits for the end of the scan or command that is in progress, or of the next one.
    pub async fn next_scan(&self) -> Result<(), WatcherGone> {
        let mut scans = self.scans.clone();
        let before = *scans.borrow();
        let waited = scans.wait_for(|scans| *scans > before).await;
        waited.map(|_scans| ()).map_err(|_ended| WatcherGone)
    }

    /// Returns when the thread has ended although it should not.
    pub async fn gone(&self) -> WatcherGone {
        while self.next_scan().await.is_ok() {}
        WatcherGone
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the thread that loads models has ended")]
pub struct WatcherGone;

struct Watching {
    settings: WatcherSettings,
    catalog: Catalog,
    trackers: BTreeMap<String, Tracker>,
    logged: LoggedOnce,
}

/// Messages that were logged already, so that each is logged once.
#[derive(Debug, Default)]
struct LoggedOnce {
    unreadable: Option<String>,
    warnings: Vec<String>,
    configs: BTreeMap<String, String>,
    /// Versions of each model that serve although their files are gone.
    lost: BTreeMap<String, BTreeSet<u64>>,
}

impl Watching {
    fn run(mut self, commands: &Receiver<Command>, finished: &watch::Sender<u64>) {
        self.settings.publisher.publish(self.catalog.clone());
        // A volume is there before its pod.
        let mut stability = Stability::Assumed;
        loop {
            self.look(std::mem::replace(&mut stability, Stability::SeenTwice));
            if std::mem::take(&mut self.catalog.is_scanning) {
                self.settings.publisher.publish(self.catalog.clone());
            }
            if self.settings.loader.defer_to_requests() {
                background::lower_priority();
            }
            finished.send_modify(|scans| *scans += 1);
            // Commands do not put the next look off, nor forward: two looks tell a file at rest by the time between them.
            let next = Instant::now() + self.settings.interval;
            while let Some(rest) = next.checked_duration_since(Instant::now()) {
                let is_unloading = self.trackers.values().any(Tracker::is_unloading);
                let wait = if is_unloading { rest.min(REAP_INTERVAL) } else { rest };
                match commands.recv_timeout(wait) {
                    Ok(command) => self.handle(command),
                    Err(RecvTimeoutError::Timeout) => self.reap_unloaded(),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                finished.send_modify(|scans| *scans += 1);
            }
        }
    }

    fn reap_unloaded(&mut self) {
        let letting_go = self.trackers.iter().filter(|(_, tracker)| tracker.is_unloading());
        let names: Vec<String> = letting_go.map(|(name, _)| name.clone()).collect();
        for name in names {
            let mut tracker = self.take_tracker(&name);
            tracker.reap_unloaded();
            self.keep_tracker(tracker);
        }
    }

    fn look(&mut self, stability: Stability) {
        let mut scan = match scan::scan(&self.settings.directory) {
            Ok(scan) => scan,
            Err(error) => {
                let problem = error.to_string();
                if self.logged.unreadable.as_ref() != Some(&problem) {
                    error!(problem, "cannot read MODELS_DIR; keeping loaded models");
                    self.logged.unreadable = Some(problem.clone());
                }
                for name in self.names() {
                    self.look_failed(&name, &problem);
                }
                return;
            }
        };
        if self.logged.unreadable.take().is_some() {
            info!("MODELS_DIR is readable again");
        }
        // Their memory may be what the next one needs.
        self.reap_unloaded();
        self.keep_built_ins(&mut scan);
        self.log_warnings(&scan);
        for name in scan.models.keys() {
            self.trackers.entry(name.clone()).or_insert_with(|| Tracker::new(name));
        }
        for (name, problem) in &scan.unreadable {
            // One that never was read has something to be asked for, too: the reason.
            if self.trackers.contains_key(name) || self.trackers.len() < scan::MOST_MODELS {
                self.look_failed(name, problem);
            }
        }
        for name in self.names() {
            if scan.unreadable.contains_key(&name) {
                continue;
            }
            let mut tracker = self.take_tracker(&name);
            tracker.look(scan.models.get(&name), stability);
            self.load_ordered(&mut tracker);
            self.keep_tracker(tracker);
        }
    }

    fn names(&self) -> Vec<String> {
        self.trackers.keys().cloned().collect()
    }

    /// The model could not be looked at: what serves stays.
    fn look_failed(&mut self, model: &str, problem: &str) {
        let mut tracker = self.take_tracker(model);
        tracker.look_failed(problem);
        self.keep_tracker(tracker);
    }

    fn handle(&mut self, command: Command) {
        self.reap_unloaded();
        match command {
            Command::Load(model, reply) => {
                let outcome = self.load(&model);
                match &outcome {
                    Ok(()) => info!(model, "model loaded on request"),
                    Err(problem) => warn!(model, %problem, "requested model load failed"),
                }
                // Who asked may have left.
                let _unheard = reply.send(outcome);
            }
            Command::Unload(model, reply) => {
                let _unheard = reply.send(self.unload(&model));
            }
            Command::Pulled(model, withdrawn) => {
                // The next look tells what is wrong with the directory.
                if let Ok(Some(found)) = self.find(&model) {
                    let mut tracker = self.take_tracker(&model);
                    if let Some(withdrawn) = withdrawn {
                        tracker.withdraw(withdrawn);
                    }
                    tracker.look(Some(&found), Stability::Assumed);
                    self.load_ordered(&mut tracker);
                    self.keep_tracker(tracker);
                }
            }
        }
    }

    fn load(&mut self, model: &str) -> Result<(), CommandError> {
        if self.settings.built_in.models.contains_key(model) {
            return Ok(());
        }
        let no_model = || CommandError::NoModel {
            model: model.to_owned(),
        };
        let found = self.find(model)?.ok_or_else(no_model)?;
        let mut tracker = self.take_tracker(model);
        tracker.load(&found);
        self.load_ordered(&mut tracker);
        let outcome = tracker.outcome(&found);
        self.keep_tracker(tracker);
        outcome.map_err(|problem| CommandError::Refused {
            model: model.to_owned(),
            problem,
        })
    }

    fn unload(&mut self, model: &str) -> Result<(), CommandError> {
        let name = || model.to_owned();
        if self.settings.built_in.models.contains_key(model) {
            return Err(CommandError::BuiltIn { model: name() });
        }
        match self.trackers.get(model) {
            None if self.find(model)?.is_none() => return Err(CommandError::NoModel { model: name() }),
            Some(tracker) if tracker.is_unloaded() => return Ok(()),
            _ => {}
        }
        if self.unloaded() >= MOST_UNLOADED {
            // Of those whose directories are gone nothing is left that could be loaded again.
            let models = &mut self.catalog.models;
            self.trackers.retain(|name, tracker| {
                let is_forgotten = tracker.is_unloaded() && tracker.is_gone();
                if is_forgotten {
                    models.remove(name);
                }
                !is_forgotten
            });
        }
        if self.unloaded() >= MOST_UNLOADED {
            return Err(CommandError::TooManyUnloaded { limit: MOST_UNLOADED });
        }
        let mut tracker = self.take_tracker(model);
        tracker.unload();
        self.keep_tracker(tracker);
        info!(model, "model unloaded on request");
        Ok(())
    }

    fn unloaded(&self) -> usize {
        self.trackers.values().filter(|tracker| tracker.is_unloaded()).count()
    }

    /// The model's directory entry, unless a built-in model has its name.
    fn find(&self, model: &str) -> Result<Option<ModelDir>, CommandError> {
        let scan = scan::scan(&self.settings.directory);
        let mut scan = scan.map_err(|error| CommandError::Unreadable {
            problem: error.to_string(),
        })?;
        if let Some(problem) = scan.unreadable.remove(model) {
            return Err(CommandError::Unreadable { problem });
        }
        self.keep_built_ins(&mut scan);
        Ok(scan.models.remove(model))
    }

    /// One model's tracker, to be given back with [`Watching::keep_tracker`].
    fn take_tracker(&mut self, name: &str) -> Tracker {
        self.trackers.remove(name).unwrap_or_else(|| Tracker::new(name))
    }

    /// Loads what the tracker orders, one version after the other, and publishes each step.
    fn load_ordered(&mut self, tracker: &mut Tracker) {
        while let Some(order) = tracker.next() {
            self.publish(tracker);
            let version = order.version;
            let outcome = self.settings.loader.load(order);
            tracker.done(version, outcome);
            self.publish(tracker);
        }
        tracker.start_unload();
    }

    /// Publishes what requests can see of a model, and remembers its tracker for as long as there is something to remember.
    fn keep_tracker(&mut self, tracker: Tracker) {
        log_config_problem(
            &mut self.logged.configs,
            tracker.name(),
            tracker.config_problem.as_ref(),
        );
        log_lost(&mut self.logged.lost, &tracker);
        self.publish(&tracker);
        // That it was unloaded holds for a directory that comes back, too.
        if !tracker.is_gone() || tracker.is_unloaded() {
            self.trackers.insert(tracker.name().to_owned(), tracker);
        }
    }

    fn publish(&mut self, tracker: &Tracker) {
        let (name, models) = (tracker.name(), &mut self.catalog.models);
        // One that was unloaded is there to say so.
        let is_other = if tracker.is_gone() && !tracker.is_unloaded() {
            models.remove(name).is_some()
        } else {
            let now = tracker.servable();
            let is_other = models.get(name).is_none_or(|before| !same(before, &now));
            if is_other {
                models.insert(name.to_owned(), now);
            }
            is_other
        };
        if is_other {
            self.settings.publisher.publish(self.catalog.clone());
        }
    }

    fn keep_built_ins(&self, scan: &mut Scan) {
        for name in self.settings.built_in.models.keys() {
            if scan.models.remove(name).is_some() || scan.unreadable.remove(name).is_some() {
                let problem = format!("{name}: a model of this name is part of the program; give it another");
                scan.warnings.push(problem);
            }
        }
    }

    fn log_warnings(&mut self, scan: &Scan) {
        let of_models = scan.models.values().flat_map(|found| &found.warnings);
        let unreadable: Vec<String> = scan.unreadable.values().cloned().collect();
        let ignored: Vec<String> = scan.warnings.iter().chain(of_models).cloned().collect();
        let is_new = |warning: &&String| !self.logged.warnings.contains(warning);
        for problem in unreadable.iter().filter(is_new) {
            warn!(problem, "cannot read a model; keeping its loaded versions");
        }
        for problem in ignored.iter().filter(is_new) {
            warn!(problem, "ignoring an entry of MODELS_DIR");
        }
        self.logged.warnings = [unreadable, ignored].concat();
    }
}

fn log_lost(logged: &mut BTreeMap<String, BTreeSet<u64>>, tracker: &Tracker) {
    let lost = tracker.lost();
    let before = logged.remove(tracker.name()).unwrap_or_default();
    for version in lost.difference(&before) {
        warn!(
            model = tracker.name(),
            version, "model file is gone; the version serves from memory until another one serves or it is unloaded"
        );
    }
    if !lost.is_empty() {
        logged.insert(tracker.name().to_owned(), lost);
    }
}

fn log_config_problem(logged: &mut BTreeMap<String, String>, model: &str, problem: Option<&String>) {
    match problem {
        Some(problem) if logged.get(model) != Some(problem) => {
            error!(model, problem, "model configuration rejected; keeping the previous one");
            logged.insert(model.to_owned(), problem.clone());
        }
        Some(_) => {}
        None => {
            logged.remove(model);
        }
    }
}

/// True if requests see no difference between the two.
fn same(one: &Servable, other: &Servable) -> bool {
    let pointer = |loaded: &Option<Arc<LoadedModel>>| loaded.as_ref().map(Arc::as_ptr);
    one.labels == other.labels
        && one.policy == other.policy
        && one.unloaded == other.unloaded
        && one.problem == other.problem
        && one.versions.len() == other.versions.len()
        && one.versions.iter().zip(&other.versions).all(|(one, other)| {
            one.number == other.number
                && one.state == other.state
                && one.problem == other.problem
                && pointer(&one.loaded) == pointer(&other.loaded)
        })
}
