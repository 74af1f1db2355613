//! The thread that looks at the models' directory, loads what is new and publishes what is loaded.
//!
//! A thread of its own: file systems may stall, and a model takes as long to load as it takes, while requests are answered
//! by others. It looks again and again instead of asking for events, as `shared::config::Reloader` does and for the same
//! reasons.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use rustix::process::setpriority_process;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::catalog::{Catalog, Servable};
use super::layout::{self, Listing, Seen};
use super::loader::Loader;
use super::model_config::ModelConfig;
use super::tracker::{Load, Tracker};
use crate::engine::LoadedModel;
use crate::runtime::RunThreads;

/// Hands a catalog to the requests.
pub type Publish = Box<dyn FnMut(Catalog) + Send>;

/// What the thread needs.
pub struct Settings {
    pub directory: PathBuf,
    /// From one look to the next.
    pub interval: Duration,
    /// The models that are part of the program; no directory takes their names.
    pub built_in: Catalog,
    pub loader: Loader,
    pub publish: Publish,
}

/// The thread, which ends soon after this is dropped: when it has loaded what it is loading.
#[derive(Debug)]
pub struct Watcher {
    /// How many looks were finished.
    looks: watch::Receiver<u64>,
    nudges: Sender<()>,
    _thread: JoinHandle<()>,
}

impl Watcher {
    pub fn start(settings: Settings) -> io::Result<Self> {
        let (looked, looks) = watch::channel(0);
        let (nudges, nudged) = channel();
        let watching = Watching {
            catalog: settings.built_in.clone(),
            settings,
            trackers: BTreeMap::new(),
            told: Told::default(),
        };
        let thread = thread::Builder::new().name("repository".to_owned());
        let thread = thread.spawn(move || {
            give_way();
            // Models are opened and warmed up with this one thread, which inherits the priority.
            RunThreads::new(1).within(move || watching.run(&nudged, &looked));
        })?;
        Ok(Self {
            looks,
            nudges,
            _thread: thread,
        })
    }

    /// Looks now instead of at the end of the interval.
    pub fn nudge(&self) {
        // Nobody listens only when the thread has panicked, which `looked` tells.
        let _ended = self.nudges.send(());
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

    /// Waits for the end of a look that is under way or comes next.
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

/// Others' requests go first: where all processors are busy, this thread gets about a tenth of one.
fn give_way() {
    const NICE: i32 = 10;
    if let Err(error) = setpriority_process(None, NICE) {
        warn!(%error, "loading models will not give way to requests");
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
    fn run(mut self, nudged: &Receiver<()>, looked: &watch::Sender<u64>) {
        (self.settings.publish)(self.catalog.clone());
        loop {
            self.look(*looked.borrow() == 0);
            looked.send_modify(|looks| *looks += 1);
            match nudged.recv_timeout(self.settings.interval) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn look(&mut self, at_start: bool) {
        let mut listing = match layout::scan(&self.settings.directory) {
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
        self.keep_built_ins(&mut listing);
        self.tell_oddities(&listing);
        for name in listing.models.keys() {
            self.trackers.entry(name.clone()).or_insert_with(|| Tracker::new(name));
        }
        for (name, tracker) in &mut self.trackers {
            let mut loading = Loading {
                settings: &mut self.settings,
                catalog: &mut self.catalog,
            };
            let before = tracker.servable();
            tracker.look(listing.models.get(name), at_start, &mut loading);
            tell_config(&mut self.told.configs, name, tracker.config_problem.as_ref());
            let after = tracker.servable();
            if tracker.is_gone() {
                self.catalog.models.remove(name);
                (self.settings.publish)(self.catalog.clone());
            } else if !same(&before, &after) || !self.catalog.models.contains_key(name) {
                self.catalog.models.insert(name.clone(), after);
                (self.settings.publish)(self.catalog.clone());
            }
        }
        self.trackers.retain(|_, tracker| !tracker.is_gone());
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
        let oddities: Vec<String> = listing.oddities.iter().chain(of_models).cloned().collect();
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
        && one.versions.len() == other.versions.len()
        && one.versions.iter().zip(&other.versions).all(|(one, other)| {
            one.number == other.number
                && one.state == other.state
                && one.problem == other.problem
                && pointer(&one.loaded) == pointer(&other.loaded)
        })
}

/// What a tracker loads with.
struct Loading<'a> {
    settings: &'a mut Settings,
    catalog: &'a mut Catalog,
}

impl Load for Loading<'_> {
    fn load(&mut self, name: &str, number: u64, file: &Seen, config: &ModelConfig) -> Result<LoadedModel, String> {
        self.settings.loader.load(name, number, file, config)
    }

    fn progress(&mut self, name: &str, servable: Servable) {
        self.catalog.models.insert(name.to_owned(), servable);
        (self.settings.publish)(self.catalog.clone());
    }
}
