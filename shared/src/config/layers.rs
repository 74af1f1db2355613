//! The layers, read and merged.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use config::{Config, Map, Source, Value, ValueKind};

use super::document::shape::Key;
use super::document::{self, Positions};
use super::error::{SettingError, SettingErrors};
use super::setting::Setting;
use super::settings::Settings;
use super::source::{DEFAULT_ORIGIN, Defaults, Environment, KeyDir, file_origin};

pub(super) const CONFIG_FILE: &str = "CONFIG_FILE";
pub(super) const CONFIG_DIRS: &str = "CONFIG_DIRS";
pub(super) const SECRET_DIRS: &str = "SECRET_DIRS";

/// The sources of one service's settings.
#[derive(Clone)]
pub struct Layers {
    /// The table of settings.
    pub settings: Vec<Setting>,
    /// Keys of the mounted file that hold lists, such as `routes`, with their defaults as YAML.
    pub documents: &'static [Key],
    /// The defaults of `documents` as YAML.
    pub default_document: &'static str,
    /// The mounted file where neither `file` nor `CONFIG_FILE` names one.
    pub default_file: &'static str,
    /// Colon-separated.
    pub default_config_dirs: &'static str,
    /// The directory of secret files where `SECRET_DIRS` names none.
    pub default_secret_dir: &'static str,
    /// `--config FILE`, stronger than the variable `CONFIG_FILE`.
    pub file: Option<PathBuf>,
    /// The environment variables by name.
    pub variables: BTreeMap<String, String>,
    /// The file said something before, so that its absence is a fault: without its routes and keys the defaults would open what
    /// it closed.
    pub file_held: bool,
}

impl Layers {
    /// Reads and merges every layer. What cannot be read becomes a fault of the result.
    pub fn load(&self) -> Settings {
        let mut faults = SettingErrors::default();
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
        match document::read(self.default_document.as_bytes(), Path::new("default"), DEFAULT_ORIGIN) {
            Ok(document) => ReadFile(document.values),
            Err(fault) => panic!("{fault}"),
        }
    }

    /// The mounted file as a layer, and the positions of its parts; `None` when there is no file or it is invalid as a whole.
    fn read_file(&self, file: &ConfigFile, faults: &mut SettingErrors) -> Option<(ReadFile, Positions)> {
        let origin = file.origin();
        let content = match std::fs::read(&file.path) {
            Ok(content) => content,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !file.required => return None,
            Err(error) => {
                faults.push(origin, "", format!("cannot be read: {error}"));
                return None;
            }
        };
        let document = match document::read(&content, &file.path, &origin) {
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
                faults.0.push(SettingError {
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

    /// The reason to reject an entry of the file. A map is rejected here: merged over a default it would lose its origin.
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
    fn key_dirs(&self, faults: &mut SettingErrors) -> Vec<KeyDir> {
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
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let mut take = |path: &Path| match std::fs::read(path) {
            Ok(bytes) => (path, bytes).hash(&mut hasher),
            Err(error) => (path, error.kind()).hash(&mut hasher),
        };
        take(&self.file().path);
        // An invalid directory is reported when the layers are loaded.
        for directory in self.key_dirs(&mut SettingErrors::default()) {
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
