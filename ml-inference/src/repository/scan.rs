//! A scan of the models' directory.
//!
//! ```text
//! MODELS_DIR/iris/1/model.onnx      version 1 of iris
//! MODELS_DIR/iris/00000002/model.onnx   version 2, as TensorFlow Serving's exporters write it
//! MODELS_DIR/iris/config.yaml       optional: see model_config.rs
//! MODELS_DIR/wine.onnx              version 1 of wine, for who has just one file
//! ```
//!
//! Names that begin with a dot are passed over: volumes and tools keep their own things there.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::registry::version_number;

#[cfg(test)]
mod tests;

pub(super) const MODEL_FILE: &str = "model.onnx";
pub(super) const CONFIG_FILE: &str = "config.yaml";
const MODEL_EXTENSION: &str = "onnx";

/// A model's name is a metric label, a path segment and a directory.
const LONGEST_NAME: usize = 128;
pub(super) const MOST_MODELS: usize = 256;
const MOST_VERSIONS: usize = 1024;

/// A file's identity without reading it: size, time of the last change, device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileStamp {
    bytes: u64,
    changed: (i64, i64),
    file: (u64, u64),
}

impl FileStamp {
    /// One that no other number gives.
    #[cfg(test)]
    pub(super) fn numbered(number: u64) -> Self {
        Self {
            bytes: number,
            changed: (0, 0),
            file: (0, 0),
        }
    }

    fn of(metadata: &Metadata) -> Self {
        Self {
            bytes: metadata.size(),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
            file: (metadata.dev(), metadata.ino()),
        }
    }
}

/// A file and its stamp at one scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScannedFile {
    pub path: PathBuf,
    pub stamp: FileStamp,
}

/// One model's directory, or its file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ModelDir {
    pub config: Option<ScannedFile>,
    pub versions: BTreeMap<u64, ScannedFile>,
    /// Entries that are not versions, with the reason.
    pub warnings: Vec<String>,
}

/// The models of one scan by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Scan {
    pub models: BTreeMap<String, ModelDir>,
    /// Models that could not be read, with the reason. Their loaded versions stay.
    pub unreadable: BTreeMap<String, String>,
    /// Entries that are not models, with the reason.
    pub warnings: Vec<String>,
}

/// Scans the whole directory. An error means that it could not be listed, and says nothing about its content.
pub(super) fn scan(root: &Path) -> io::Result<Scan> {
    let mut scan = Scan::default();
    for (name, path) in entries(root)? {
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            // Gone between the two looks, or a link to nothing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                let problem = format!("{}: {error}", path.display());
                scan.unreadable.insert(model_name(&path).to_owned(), problem);
                continue;
            }
        };
        if metadata.is_dir() {
            if let Err(problem) = check_name(&name) {
                scan.warnings.push(format!("{}: {problem}", path.display()));
                continue;
            }
            match scan_model(&path) {
                Ok(found) => {
                    scan.models.insert(name, found);
                }
                Err(error) => {
                    scan.unreadable.insert(name, error.to_string());
                }
            }
        } else if is_model_file(&path) {
            let name = model_name(&path);
            if let Err(problem) = check_name(name) {
                scan.warnings.push(format!("{}: {problem}", path.display()));
                continue;
            }
            let stamp = FileStamp::of(&metadata);
            let name = name.to_owned();
            let found = ModelDir {
                versions: BTreeMap::from([(1, ScannedFile { path, stamp })]),
                ..ModelDir::default()
            };
            // A directory of this name was, or will be, seen too: the directory wins, as it can say more.
            if !scan.unreadable.contains_key(&name) {
                scan.models.entry(name).or_insert(found);
            }
        }
    }
    while scan.models.len() > MOST_MODELS
        && let Some((name, _)) = scan.models.pop_last()
    {
        let problem = format!("{name}: there are more than {MOST_MODELS} models");
        scan.unreadable.insert(name, problem);
    }
    Ok(scan)
}

fn is_model_file(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == MODEL_EXTENSION)
}

/// The name of the model that this would be.
fn model_name(path: &Path) -> &str {
    let name = if is_model_file(path) {
        path.file_stem()
    } else {
        path.file_name()
    };
    name.and_then(|name| name.to_str()).unwrap_or_default()
}

fn scan_model(directory: &Path) -> io::Result<ModelDir> {
    let mut found = ModelDir::default();
    for (name, path) in entries(directory)? {
        if name == CONFIG_FILE {
            found.config = see(&path)?;
            continue;
        }
        let Some(number) = version_number(&name) else {
            let problem = format!("{}: neither {CONFIG_FILE} nor a version such as 1", path.display());
            found.warnings.push(problem);
            continue;
        };
        match see(&path.join(MODEL_FILE))? {
            Some(seen) => {
                if let Some(other) = found.versions.insert(number, seen) {
                    return Err(same_number(number, &other.path, &path.join(MODEL_FILE)));
                }
            }
            None => found
                .warnings
                .push(format!("{}: there is no {MODEL_FILE}", path.display())),
        }
    }
    while found.versions.len() > MOST_VERSIONS
        && let Some((number, _)) = found.versions.pop_first()
    {
        let problem = format!(
            "{}: version {number} has {MOST_VERSIONS} newer ones",
            directory.display()
        );
        found.warnings.push(problem);
    }
    Ok(found)
}

/// Neither of the two may win: which one is served would depend on their names.
fn same_number(number: u64, one: &Path, other: &Path) -> io::Error {
    let problem = format!(
        "{} and {} are both version {number}; remove one of them",
        one.display(),
        other.display()
    );
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

/// The visible entries, in the order of their names.
fn entries(directory: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
    let in_directory = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", directory.display()));
    let mut entries = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(in_directory)? {
        let entry = entry.map_err(in_directory)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            entries.insert(name, entry.path());
        }
    }
    Ok(entries)
}

fn see(path: &Path) -> io::Result<Option<ScannedFile>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(ScannedFile {
            path: path.to_owned(),
            stamp: FileStamp::of(&metadata),
        })),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
    }
}

/// Checks a model's name, which is a directory's too.
pub fn check_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match name {
        "" => Err("a model needs a name".to_owned()),
        name if name.len() > LONGEST_NAME => Err(format!("a model's name has at most {LONGEST_NAME} characters")),
        name if name.starts_with('.') => Err("a model's name does not begin with a dot".to_owned()),
        name if name.chars().all(allowed) => Ok(()),
        _ => Err("a model's name is made of letters, digits, '-', '_' and '.'".to_owned()),
    }
}
