//! The layers that the `config` crate does not bring: the declared defaults, the environment by exact
//! name, and a Secret mounted as a directory.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use config::{ConfigError, Map, Source, Value};

use super::Setting;

pub const DEFAULT_ORIGIN: &str = "default";
pub const ENVIRONMENT_ORIGIN: &str = "environment";

/// A secret file larger than this is not a credential but a mistake.
const LARGEST_SECRET: u64 = 64 * 1024;

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
#[derive(Debug, Clone)]
pub struct Environment {
    pub settings: Vec<Setting>,
    pub variables: BTreeMap<String, String>,
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

/// A directory with one file a key, as the kubelet mounts a Secret.
#[derive(Debug, Clone)]
pub struct SecretDir {
    pub settings: Vec<Setting>,
    pub directory: PathBuf,
}

impl SecretDir {
    fn read(&self, file: &Path) -> io::Result<Option<String>> {
        let size = match std::fs::metadata(file) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if size > LARGEST_SECRET {
            let problem = format!("holds {size} bytes, more than a secret's limit of {LARGEST_SECRET}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        let text = std::fs::read(file)?;
        // The bytes stay out of the error: it will be logged.
        let text =
            String::from_utf8(text).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "is not UTF-8 text"))?;
        // `echo key > file` and most editors end the file with a line break that is no part of the key.
        let trimmed = text.strip_suffix('\n').unwrap_or(&text);
        let trimmed = trimmed.strip_suffix('\r').unwrap_or(trimmed);
        Ok(Some(trimmed.to_owned()))
    }
}

impl Source for SecretDir {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let mut found = Map::new();
        for setting in self.settings.iter().filter(|setting| setting.secret) {
            let file = self.directory.join(setting.name);
            let origin = format!("secret file {}", file.display());
            match self.read(&file) {
                Ok(Some(text)) => found.insert(setting.key(), value(&origin, text)),
                Ok(None) => continue,
                Err(error) => return Err(ConfigError::Message(format!("{origin}: {error}"))),
            };
        }
        Ok(found)
    }
}
