//! The thread that looks at the models' directory, loads what is new and publishes what is loaded.
//!
//! A thread of its own: file systems may stall, and a model takes as long to load as it takes, while requests are answered
//! by others. It looks again and again instead of asking for events, as `shared::config::Reloader` does and for the same
//! reasons. Between two looks it does what it is asked to (`commands.rs`), one thing after the other, so that nothing is loaded
//! and let go at once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};

use model_runtime::{RunThreads, start_shared_threads};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::commands::{Command, Control, ControlError};
use super::loader::Loader;
use super::publisher::Publisher;
use super::scan::{self, Found, Listing};
use super::tracker::{Tracker, Trust};
use crate::background;
use crate::catalog::{Catalog, Servable};
use crate::engine::LoadedModel;

/// How long it may take to notice that the last request of a version that was let go has ended.
const LETTING_GO: Duration = Duration::from_millis(100);
/// Models that are unloaded and whose directories are gone are remembered too, until there are so many.
const MOST_UNLOADED: usize = 256;

/// What the thread needs.
pub struct Settings {
    pub directory: PathBuf,
    /// From one look to the next.
    pub interval: Duration,
    /// The longest wait of who asks for a model to be loaded or unloaded.
    pub load_timeout: Duration,
    /// The models that are part of the program; no directory takes their names.
    pub built_in: Catalog,
    pub loader: Loader,
    pub publisher: Publisher,
}

/// The thread, which ends soon after this and every [`Control`] is dropped: when it has loaded what it is loading.
#[derive(Debug)]
pub struct Watcher {
    /// How many looks and commands were finished.
    looks: watch::Receiver<u64>,
    control: Control,
    _thread: JoinHandle<()>,
}

impl Watcher {
    pub fn start(settings: Settings) -> io::Result<Self> {
        let (looked, looks) = watch::channel(0);
        let (control, commands) = Control::new(settings.load_timeout);
        let watching = Watching {
            catalog: settings.built_in.clone(),
            settings,
            trackers: BTreeMap::new(),
            told: Told::default(),
        };
        let thread = thread::Builder::new().name("repository".to_owned());
        let low = thread::Builder::new().name("repository".to_owned());
        let low = low.spawn(|| {
            background::give_way();
            start_shared_threads();
        })?;
        let thread = thread.spawn(move || {
            // Whether it has started the threads or not, models can be loaded.
            let _started = low.join();
            // Models are opened and warmed up with one thread: this one, or those of `background.rs`.
            RunThreads::new(1).within(move || watching.run(&commands, &looked));
        })?;
        Ok(Self {
            looks,
            control,
            _thread: thread,
        })
    }

    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Waits until everything that was there at the start is loaded or refused.
    pub async fn looked(&self) -> Result<(), WatcherGone> {
        let mut looks = self.looks.clone();
        looks
            .wait_for(|looks| *looks > 0)
            .await
            .map(|_looks| ())
            .map_err(|_ended| WatcherGone)
    }

    /// Waits for the end of a look or a command that is under way or comes next.
    pub async fn next_look(&self) -> Result<(), WatcherGone> {
        let mut looks = self.looks.clone();
        let before = *looks.borrow();
        let waited = looks.wait_for(|looks| *looks > before).await;
        waited.map(|_looks| ()).map_err(|_ended| WatcherGone)
    }

    /// Returns when the thread has ended although it should not.
    pub async fn gone(&self) -> WatcherGone {
        while self.next_look().await.is_ok() {}
        WatcherGone
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the thread that loads models has ended")]
pub struct WatcherGone;

struct Watching {
    settings: Settings,
    catalog: Catalog,
    trackers: BTreeMap<String, Tracker>,
    told: Told,
}

/// What was logged already, so that each thing is logged once.
#[derive(Debug, Default)]
struct Told {
    unseen: Option<String>,
    oddities: Vec<String>,
    configs: BTreeMap<String, String>,
}

impl Watching {
    fn run(mut self, commands: &Receiver<Command>, looked: &watch::Sender<u64>) {
        self.settings.publisher.publish(self.catalog.clone());
        // A volume is there before its pod.
        let mut trust = Trust::All;
        loop {
            self.look(std::mem::replace(&mut trust, Trust::Steady));
            if self.settings.loader.defer_to_requests() {
                background::give_way();
            }
            looked.send_modify(|looks| *looks += 1);
            // Commands do not put the next look off, nor forward: two looks tell a file at rest by the time between them.
            let next = Instant::now() + self.settings.interval;
            while let Some(rest) = next.checked_duration_since(Instant::now()) {
                let is_letting_go = self.trackers.values().any(Tracker::is_letting_go);
                let wait = if is_letting_go { rest.min(LETTING_GO) } else { rest };
                match commands.recv_timeout(wait) {
                    Ok(command) => self.obey(command),
                    Err(RecvTimeoutError::Timeout) => self.forget_those_that_left(),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                looked.send_modify(|looks| *looks += 1);
            }
        }
    }

    fn forget_those_that_left(&mut self) {
        let letting_go = self.trackers.iter().filter(|(_, tracker)| tracker.is_letting_go());
        let names: Vec<String> = letting_go.map(|(name, _)| name.clone()).collect();
        for name in names {
            let mut tracker = self.take_tracker(&name);
            tracker.forget_those_that_left();
            self.keep_tracker(tracker);
        }
    }

    fn look(&mut self, trust: Trust) {
        let mut listing = match scan::scan(&self.settings.directory) {
            Ok(listing) => listing,
            Err(error) => {
                let problem = error.to_string();
                if self.told.unseen.as_ref() != Some(&problem) {
                    error!(problem, "the models' directory cannot be read; what is loaded stays");
                    self.told.unseen = Some(problem);
                }
                return;
            }
        };
        if self.told.unseen.take().is_some() {
            info!("the models' directory can be read again");
        }
        // Their memory may be what the next one needs.
        self.forget_those_that_left();
        self.keep_built_ins(&mut listing);
        self.tell_oddities(&listing);
        for name in listing.models.keys() {
            self.trackers.entry(name.clone()).or_insert_with(|| Tracker::new(name));
        }
        let names: Vec<String> = self.trackers.keys().cloned().collect();
        for name in names {
            if listing.unseen.contains_key(&name) {
                // What serves stays.
                continue;
            }
            let mut tracker = self.take_tracker(&name);
            tracker.look(listing.models.get(&name), trust);
            self.carry_out(&mut tracker);
            self.keep_tracker(tracker);
        }
    }

    fn obey(&mut self, command: Command) {
        self.forget_those_that_left();
        match command {
            Command::Load(model, reply) => {
                let outcome = self.load(&model);
                match &outcome {
                    Ok(()) => info!(model, "the model serves as asked for"),
                    Err(problem) => warn!(model, %problem, "the model cannot be loaded as asked for"),
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
                    tracker.look(Some(&found), Trust::All);
                    self.carry_out(&mut tracker);
                    self.keep_tracker(tracker);
                }
            }
        }
    }

    fn load(&mut self, model: &str) -> Result<(), ControlError> {
        if self.settings.built_in.models.contains_key(model) {
            return Ok(());
        }
        let no_model = || ControlError::NoModel {
            model: model.to_owned(),
        };
        let found = self.find(model)?.ok_or_else(no_model)?;
        let mut tracker = self.take_tracker(model);
        tracker.load(&found);
        self.carry_out(&mut tracker);
        let outcome = tracker.outcome(&found);
        self.keep_tracker(tracker);
        outcome.map_err(|problem| ControlError::Refused {
            model: model.to_owned(),
            problem,
        })
    }

    fn unload(&mut self, model: &str) -> Result<(), ControlError> {
        let name = || model.to_owned();
        if self.settings.built_in.models.contains_key(model) {
            return Err(ControlError::BuiltIn { model: name() });
        }
        match self.trackers.get(model) {
            None if self.find(model)?.is_none() => return Err(ControlError::NoModel { model: name() }),
            Some(tracker) if tracker.is_unloaded() => return Ok(()),
            _ => {}
        }
        if self.unloaded() >= MOST_UNLOADED {
            // Of those whose directories are gone nothing is left that could be loaded again.
            self.trackers
                .retain(|_, tracker| !(tracker.is_unloaded() && tracker.is_gone()));
        }
        if self.unloaded() >= MOST_UNLOADED {
            return Err(ControlError::TooManyUnloaded { limit: MOST_UNLOADED });
        }
        let mut tracker = self.take_tracker(model);
        tracker.unload();
        self.keep_tracker(tracker);
        info!(model, "the model is unloaded as asked for");
        Ok(())
    }

    fn unloaded(&self) -> usize {
        self.trackers.values().filter(|tracker| tracker.is_unloaded()).count()
    }

    /// What lies in the directory under a name that is not taken.
    fn find(&self, model: &str) -> Result<Option<Found>, ControlError> {
        let listing = scan::scan(&self.settings.directory);
        let mut listing = listing.map_err(|error| ControlError::Unreadable {
            problem: error.to_string(),
        })?;
        if let Some(problem) = listing.unseen.remove(model) {
            return Err(ControlError::Unreadable { problem });
        }
        self.keep_built_ins(&mut listing);
        Ok(listing.models.remove(model))
    }

    /// One model's tracker, to be given back with [`Watching::keep_tracker`].
    fn take_tracker(&mut self, name: &str) -> Tracker {
        self.trackers.remove(name).unwrap_or_else(|| Tracker::new(name))
    }

    /// Loads what the tracker orders, one version after the other, and publishes each step.
    fn carry_out(&mut self, tracker: &mut Tracker) {
        while let Some(order) = tracker.next() {
            self.publish(tracker);
            let version = order.version;
            let outcome = self.settings.loader.load(order);
            tracker.done(version, outcome);
            self.publish(tracker);
        }
        tracker.let_go();
    }

    /// Publishes what requests can see of a model, and remembers its tracker for as long as there is something to remember.
    fn keep_tracker(&mut self, tracker: Tracker) {
        tell_config(&mut self.told.configs, tracker.name(), tracker.config_problem.as_ref());
        self.publish(&tracker);
        // That it was unloaded holds for a directory that comes back, too.
        if !tracker.is_gone() || tracker.is_unloaded() {
            self.trackers.insert(tracker.name().to_owned(), tracker);
        }
    }

    fn publish(&mut self, tracker: &Tracker) {
        let (name, models) = (tracker.name(), &mut self.catalog.models);
        let is_other = if tracker.is_gone() {
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

    fn keep_built_ins(&self, listing: &mut Listing) {
        for name in self.settings.built_in.models.keys() {
            if listing.models.remove(name).is_some() {
                let problem = format!("{name}: a model of this name is part of the program; give it another");
                listing.oddities.push(problem);
            }
        }
    }

    fn tell_oddities(&mut self, listing: &Listing) {
        let of_models = listing.models.values().flat_map(|found| &found.oddities);
        let all = listing.oddities.iter().chain(listing.unseen.values()).chain(of_models);
        let oddities: Vec<String> = all.cloned().collect();
        for oddity in &oddities {
            if !self.told.oddities.contains(oddity) {
                warn!(problem = oddity, "not a model");
            }
        }
        self.told.oddities = oddities;
    }
}

fn tell_config(told: &mut BTreeMap<String, String>, model: &str, problem: Option<&String>) {
    match problem {
        Some(problem) if told.get(model) != Some(problem) => {
            error!(
                model,
                problem, "the model's configuration is refused; the one before holds"
            );
            told.insert(model.to_owned(), problem.clone());
        }
        Some(_) => {}
        None => {
            told.remove(model);
        }
    }
}

/// Whether requests would see no difference.
fn same(one: &Servable, other: &Servable) -> bool {
    let pointer = |loaded: &Option<Arc<LoadedModel>>| loaded.as_ref().map(Arc::as_ptr);
    one.labels == other.labels
        && one.policy == other.policy
        && one.unloaded == other.unloaded
        && one.versions.len() == other.versions.len()
        && one.versions.iter().zip(&other.versions).all(|(one, other)| {
            one.number == other.number
                && one.state == other.state
                && one.problem == other.problem
                && pointer(&one.loaded) == pointer(&other.loaded)
        })
}
