//! The layers that the `config` crate does not bring: the declared defaults, the environment by exact
//! name, and ConfigMaps and Secrets mounted as directories.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use config::{ConfigError, Map, Source, Value};

use super::error::SettingError;
use super::setting::Setting;

/// The origin of a default.
pub const DEFAULT_ORIGIN: &str = "default";
/// The origin of an environment variable's value.
pub const ENVIRONMENT_ORIGIN: &str = "environment";

/// The size in bytes beyond which a file cannot be a setting.
const LARGEST_FILE: u64 = 64 * 1024;

/// The origin of what the mounted file at `path` says.
pub(super) fn file_origin(path: &Path) -> String {
    format!("file {}", path.display())
}

fn value(origin: &str, text: impl Into<String>) -> Value {
    Value::new(Some(&origin.to_owned()), text.into())
}

/// The lowest layer: what the table of settings says.
#[derive(Debug, Clone)]
pub struct Defaults(pub Vec<Setting>);

impl Source for Defaults {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let settings = self.0.iter();
        Ok(settings
            .map(|setting| (setting.key(), value(DEFAULT_ORIGIN, setting.default)))
            .collect())
    }
}

/// Environment variables by the exact names of the table.
#[derive(Clone)]
pub struct Environment {
    /// The settings that are looked up.
    pub settings: Vec<Setting>,
    /// Every variable by name.
    pub variables: BTreeMap<String, String>,
}

impl fmt::Debug for Environment {
    /// Names only: among the values are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

impl Source for Environment {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let mut found = Map::new();
        for setting in &self.settings {
            let Some(text) = self.variables.get(setting.name) else {
                continue;
            };
            if is_service_link(setting.name, text) {
                continue;
            }
            let text = if setting.secret { without_line_break(text) } else { text };
            found.insert(setting.key(), value(ENVIRONMENT_ORIGIN, text));
        }
        Ok(found)
    }
}

/// A Service named `service` would make Kubernetes inject `SERVICE_PORT=tcp://10.0.0.1:80`, the one
/// service link that can carry the name of a setting. Its form gives it away.
/// <https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables>
fn is_service_link(name: &str, text: &str) -> bool {
    let scheme = ["tcp://", "udp://", "sctp://"];
    name.ends_with("_PORT") && scheme.iter().any(|prefix| text.starts_with(prefix))
}

/// A directory with one file a key, as the kubelet mounts a ConfigMap or a Secret. Other files in it are other
/// programs' settings.
#[derive(Debug, Clone)]
pub struct KeyDir {
    /// The settings that are looked up.
    pub settings: Vec<Setting>,
    /// The directory.
    pub directory: PathBuf,
    /// True for a directory of secrets, from which only secrets are read; from others only the rest is.
    pub secret: bool,
}

impl KeyDir {
    fn read(&self, file: &Path) -> io::Result<Option<String>> {
        let size = match std::fs::metadata(file) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if size > LARGEST_FILE {
            let problem = format!("holds {size} bytes, more than a setting's limit of {LARGEST_FILE}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        let text = std::fs::read(file)?;
        // The bytes stay out of the error: it will be logged.
        let text =
            String::from_utf8(text).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "is not UTF-8 text"))?;
        Ok(Some(without_line_break(&text).to_owned()))
    }

    /// The settings that are read from this directory, with their paths.
    pub fn paths(&self) -> impl Iterator<Item = (&Setting, PathBuf)> {
        let counting = self.settings.iter().filter(|setting| setting.secret == self.secret);
        counting.map(|setting| (setting, self.directory.join(setting.name)))
    }

    /// Each file that exists, with its text or the error of reading it.
    fn files(&self) -> impl Iterator<Item = (&Setting, String, io::Result<String>)> {
        let kind = if self.secret { "secret file" } else { "file" };
        self.paths().filter_map(move |(setting, file)| {
            let text = self.read(&file).transpose()?;
            Some((setting, format!("{kind} {}", file.display()), text))
        })
    }

    /// The errors of files that cannot be read; the other files count all the same.
    pub fn faults(&self) -> Vec<SettingError> {
        let unread = self.files().filter_map(|(setting, source, text)| {
            Some(SettingError {
                source,
                setting: setting.name.to_owned(),
                problem: text.err()?.to_string(),
                location: None,
            })
        });
        unread.collect()
    }
}

/// `echo key > file` and most editors end a text with a line break that is no part of the key, and
/// `kubectl create secret --from-file` keeps it.
fn without_line_break(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

impl Source for KeyDir {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let read = self
            .files()
            .filter_map(|(setting, origin, text)| Some((setting.key(), value(&origin, text.ok()?))));
        Ok(read.collect())
    }
}
