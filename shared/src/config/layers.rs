//! The layers merged, and typed values taken out of them.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use config::{Config, Map, Source, Value, ValueKind};

use super::secret::REDACTED;
use super::source::{DEFAULT_ORIGIN, Defaults, Environment, KeyDir};
use super::yaml::{self, Positions};
use super::{Fault, Faults, Key, Node, Secret, Setting, common, units};

pub(super) const CONFIG_FILE: &str = "CONFIG_FILE";
pub(super) const CONFIG_DIRS: &str = "CONFIG_DIRS";
pub(super) const SECRET_DIRS: &str = "SECRET_DIRS";

/// Where one service's settings come from.
#[derive(Clone)]
pub struct Layers {
    pub settings: Vec<Setting>,
    /// Keys of the mounted file that hold lists, such as `routes`, with their defaults as YAML.
    pub documents: &'static [Key],
    pub default_document: &'static str,
    pub default_file: &'static str,
    /// Colon-separated.
    pub default_config_dirs: &'static str,
    pub default_secret_dir: &'static str,
    /// `--config FILE`, stronger than the variable `CONFIG_FILE`.
    pub file: Option<PathBuf>,
    pub variables: BTreeMap<String, String>,
    /// The file said something before, so that its absence is a fault: without its routes and keys the defaults would open what
    /// it closed.
    pub file_held: bool,
}

impl Layers {
    /// Reads and merges every layer. What cannot be read becomes a fault of the result.
    pub fn load(&self) -> Settings {
        let mut faults = Faults::default();
        let mut builder = Config::builder()
            .add_source(Defaults(self.settings.clone()))
            .add_source(self.default_values());

        let file = self.file();
        let mut positions = None;
        if let Some((source, places)) = self.read_file(&file, &mut faults) {
            builder = builder.add_source(source);
            positions = Some(places);
        }
        let file_said = positions.is_some();
        builder = builder.add_source(Environment {
            settings: self.settings.clone(),
            variables: self.variables.clone(),
        });
        for source in self.key_dirs(&mut faults) {
            faults.0.extend(source.faults());
            builder = builder.add_source(source);
        }

        let values = match builder.build().and_then(|config| config.collect()) {
            Ok(values) => values,
            Err(error) => {
                faults.push("settings", "", error.to_string());
                Map::new()
            }
        };
        Settings {
            settings: self.settings.clone(),
            values,
            documents: self.documents,
            file: file.path,
            file_said,
            positions,
            faults,
        }
    }

    fn file(&self) -> ConfigFile {
        let named = self
            .file
            .clone()
            .or_else(|| self.variables.get(CONFIG_FILE).map(PathBuf::from));
        ConfigFile {
            required: named.is_some() || self.file_held,
            path: named.unwrap_or_else(|| PathBuf::from(self.default_file)),
        }
    }

    /// # Panics
    /// When the default document is no YAML: a mistake in the program, which every start would show.
    fn default_values(&self) -> ReadFile {
        match yaml::read(self.default_document, Path::new("default"), DEFAULT_ORIGIN) {
            Ok(document) => ReadFile(document.values),
            Err(fault) => panic!("{fault}"),
        }
    }

    /// The mounted file, if there is one and it can stand as a layer, and where its parts are.
    fn read_file(&self, file: &ConfigFile, faults: &mut Faults) -> Option<(ReadFile, Positions)> {
        let origin = file.origin();
        let text = match std::fs::read_to_string(&file.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !file.required => return None,
            Err(error) => {
                faults.push(origin, "", format!("cannot be read: {error}"));
                return None;
            }
        };
        let document = match yaml::read(&text, &file.path, &origin) {
            Ok(document) => document,
            Err(fault) => {
                faults.0.push(fault);
                return None;
            }
        };
        faults.0.extend(document.faults);
        if document.values.is_empty() {
            if self.file_held {
                let problem = "says nothing any more, which would put the defaults in place of what it said";
                faults.push(origin, "", problem);
            }
            return None;
        }
        let mut accepted = Map::new();
        for (key, mut value) in document.values {
            if let Some(problem) = self.refuse_entry(&key, &value.kind) {
                faults.0.push(Fault {
                    source: origin.clone(),
                    location: Some(document.positions.of_key(&key)),
                    setting: key,
                    problem,
                });
                continue;
            }
            // A setting with nothing behind its key is an empty text.
            if matches!(value.kind, ValueKind::Nil) && !self.is_document(&key) {
                value.kind = ValueKind::String(String::new());
            }
            accepted.insert(key, value);
        }
        Some((ReadFile(accepted), document.positions))
    }

    fn is_document(&self, key: &str) -> bool {
        self.documents.iter().any(|document| document.name == key)
    }

    /// Why an entry of the file cannot stand. A map is told here: merged over a default it would forget its origin.
    fn refuse_entry(&self, key: &str, value: &ValueKind) -> Option<String> {
        let is_map = matches!(value, ValueKind::Table(_));
        if self.is_document(key) {
            return is_map.then(|| "expected a list, found a map".to_owned());
        }
        match self.settings.iter().find(|setting| setting.key() == key) {
            Some(setting) if setting.secret => {
                Some("is a secret: give it in a Secret, as a mounted file or an environment variable".to_owned())
            }
            Some(setting) => is_map.then(|| format!("expected {}, found a list or a map", setting.scalar)),
            None => {
                let mut known: Vec<String> = self.settings.iter().filter(|s| !s.secret).map(Setting::key).collect();
                known.extend(self.documents.iter().map(|document| document.name.to_owned()));
                Some(format!("unknown setting; known are {}", known.join(", ")))
            }
        }
    }

    /// The mounted directories, those of secrets last.
    fn key_dirs(&self, faults: &mut Faults) -> Vec<KeyDir> {
        let mut sources = Vec::new();
        for (variable, default, secret) in [
            (CONFIG_DIRS, self.default_config_dirs, false),
            (SECRET_DIRS, self.default_secret_dir, true),
        ] {
            let named = self.variables.get(variable);
            let directories = named.map_or(default, String::as_str);
            for directory in directories.split(':').filter(|directory| !directory.is_empty()) {
                let directory = PathBuf::from(directory);
                if directory.is_dir() {
                    sources.push(KeyDir {
                        settings: self.settings.clone(),
                        directory,
                        secret,
                    });
                } else if named.is_some() {
                    let problem = format!("{} is not a directory", directory.display());
                    faults.push("environment", variable, problem);
                }
            }
        }
        sources
    }

    /// A number that changes when any file of these layers does.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let mut take = |path: &Path| match std::fs::read(path) {
            Ok(bytes) => (path, bytes).hash(&mut hasher),
            Err(error) => (path, error.kind()).hash(&mut hasher),
        };
        take(&self.file().path);
        // What is wrong with a directory is told when the layers are loaded.
        for directory in self.key_dirs(&mut Faults::default()) {
            directory.paths().for_each(|(_, path)| take(&path));
        }
        hasher.finish()
    }
}

struct ConfigFile {
    path: PathBuf,
    /// A file that somebody named must be there; the default one may be missing.
    required: bool,
}

impl ConfigFile {
    fn origin(&self) -> String {
        file_origin(&self.path)
    }
}

fn file_origin(path: &Path) -> String {
    format!("file {}", path.display())
}

/// A file's values, already checked key by key.
#[derive(Debug, Clone)]
struct ReadFile(Map<String, Value>);

impl Source for ReadFile {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

/// The settings that a reload changes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Changes {
    pub live: Vec<&'static str>,
    /// Those that only the next start of the process takes up.
    pub at_restart: Vec<&'static str>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.at_restart.is_empty()
    }
}

/// What every setting and every part of the file was at some time. There are secrets in it.
pub(super) struct Values(Map<String, Value>);

/// The merged layers of one start.
pub struct Settings {
    settings: Vec<Setting>,
    documents: &'static [Key],
    /// Secrets among them: nothing here is `Debug`.
    values: Map<String, Value>,
    file: PathBuf,
    file_said: bool,
    /// Of the mounted file, until all is read.
    positions: Option<Positions>,
    faults: Faults,
}

impl Settings {
    /// The value of `setting`, or its default with a fault noted.
    ///
    /// # Panics
    /// When the setting's own default does not parse: a mistake in the table, which every start would show.
    pub fn get<T>(&mut self, setting: &Setting, parse: impl Fn(&str) -> Option<T>) -> T {
        let found = self.values.get(&setting.key());
        let text = found.map(|value| value.clone().into_string());
        match text {
            Some(Ok(text)) => match setting.scalar.allows(&text).then(|| parse(&text)).flatten() {
                Some(value) => return value,
                None => self.refuse(setting, Some(&text)),
            },
            Some(Err(_)) => self.refuse(setting, None),
            None => {}
        }
        parse(setting.default).unwrap_or_else(|| panic!("the default of {} does not parse", setting.name))
    }

    /// The value of a secret setting; an empty one counts as not given.
    pub fn get_secret(&mut self, setting: &Setting) -> Option<Secret> {
        let text = self.get(setting, |text| Some(text.to_owned()));
        (!text.is_empty()).then(|| Secret::new(text))
    }

    /// Who answers: `POD_NAME`, or the host name, which in a pod is the pod's name.
    pub fn pod_name(&mut self) -> String {
        let expects_name = |text: &str| match text {
            "" => Some(None),
            text => units::name(text, 253).map(Some),
        };
        self.get(&common::POD_NAME, expects_name).unwrap_or_else(|| {
            // Absent on other systems than Linux, where nobody runs pods.
            let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            units::name(host_name.trim(), 253).unwrap_or_else(|| "unnamed".to_owned())
        })
    }

    /// A part of the mounted file that holds a list.
    pub fn document(&self, key: &Key) -> Node<'_> {
        let value = self.values.get(key.name);
        let origin = value.and_then(Value::origin).unwrap_or(DEFAULT_ORIGIN).to_owned();
        let from_file = origin == file_origin(&self.file);
        let positions = self.positions.as_ref().filter(|_| from_file);
        Node::new(key.name.to_owned(), origin, value, positions)
    }

    pub fn note(&mut self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.0.extend(faults);
    }

    /// Notes a fault of a setting whose value is valid but cannot stand beside the others.
    pub fn refuse_value(&mut self, setting: &Setting, problem: impl Into<String>) {
        self.note_refused(setting, problem.into());
    }

    fn note_refused(&mut self, setting: &Setting, problem: String) {
        let source = self.origin(setting);
        let from_file = source == file_origin(&self.file);
        let positions = self.positions.as_ref().filter(|_| from_file);
        let location = positions.map(|positions| positions.of_value(&setting.key()));
        self.faults.0.push(Fault {
            source,
            // As it is written there.
            setting: location.as_ref().map_or(setting.name.to_owned(), |_| setting.key()),
            problem,
            location,
        });
    }

    /// The mounted file's path, whether or not there is a file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether there is a mounted file that says something.
    pub(super) fn file_said_something(&self) -> bool {
        self.file_said
    }

    /// `value` when nothing was wrong, else every fault.
    pub fn finish<T>(&mut self, value: T) -> Result<T, Faults> {
        self.positions = None;
        self.faults.sort();
        match self.faults.0.is_empty() {
            true => Ok(value),
            false => Err(std::mem::take(&mut self.faults)),
        }
    }

    pub(super) fn values(&self) -> Values {
        Values(self.values.clone())
    }

    /// What differs from `before`, by name: settings, and parts of the file.
    pub(super) fn changes_since(&self, before: &Values) -> Changes {
        let kind_of = |values: &Map<String, Value>, key: &str| values.get(key).map(|value| value.kind.clone());
        let differs = |key: &str| kind_of(&self.values, key) != kind_of(&before.0, key);
        let changed = self.settings.iter().filter(|setting| differs(&setting.key()));
        let (live, at_restart): (Vec<&Setting>, Vec<&Setting>) = changed.partition(|setting| setting.live);
        let names = |settings: Vec<&Setting>| settings.iter().map(|setting| setting.name).collect();
        let mut changes = Changes {
            live: names(live),
            at_restart: names(at_restart),
        };
        changes
            .live
            .extend(self.documents.iter().map(|key| key.name).filter(|key| differs(key)));
        changes
    }

    /// Every effective setting with its source, secrets redacted: what `--print-config` shows.
    pub fn print(&self) -> String {
        let mut lines = String::new();
        for setting in &self.settings {
            let text = self
                .values
                .get(&setting.key())
                .cloned()
                .and_then(|value| value.into_string().ok());
            let text = text.unwrap_or_default();
            let shown = match setting.secret && !text.is_empty() {
                true => REDACTED,
                false => &text,
            };
            lines.push_str(&format!("{}={shown}  ({})\n", setting.name, self.origin(setting)));
        }
        lines
    }

    fn origin(&self, setting: &Setting) -> String {
        let value = self.values.get(&setting.key());
        value.and_then(Value::origin).unwrap_or(DEFAULT_ORIGIN).to_owned()
    }

    fn refuse(&mut self, setting: &Setting, text: Option<&str>) {
        let problem = match text {
            _ if setting.secret => format!("expected {}", setting.scalar),
            Some(text) => format!("expected {}, found {text:?}", setting.scalar),
            None => format!("expected {}, found a list or a map", setting.scalar),
        };
        self.note_refused(setting, problem);
    }
}
