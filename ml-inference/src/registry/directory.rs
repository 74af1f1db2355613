//! The directory of the model that is pulled.
//!
//! ```text
//! MODELS_DIR/iris/2/model.onnx
//! MODELS_DIR/iris/2/SHA256SUMS              what was pulled; a version without it was put there by hand
//! MODELS_DIR/iris/config.yaml
//! MODELS_DIR/iris/.registry/lock            held while one process pulls
//! MODELS_DIR/iris/.registry/config.sha256   which config.yaml was pulled; another one was put there by hand
//! MODELS_DIR/iris/.registry/parts/DIGEST.partial, DIGEST.etag, and DIGEST when it is whole and right
//! MODELS_DIR/iris/.registry/staged/3        a version whose files are whole, before it is renamed into its place
//! ```
//!
//! A version appears by one rename, with everything in it on the disk. What was put there by hand is never touched.
//! All of it blocks: for threads that may.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::digest::Sha256;
use super::error::{RegistryError, files};
use super::index::{CONFIG, Files, LARGEST_INDEX, MARKER, read_files, version_number, write_files};

pub(super) const LARGEST_CONFIG: u64 = 1 << 20;
const LARGEST_MARKER: u64 = LARGEST_INDEX;

#[derive(Debug, Clone)]
pub(super) struct Directory {
    model: PathBuf,
    work: PathBuf,
}

/// Origin of the local `config.yaml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LocalConfig {
    Missing,
    Pulled(Sha256),
    ByHand(Sha256),
}

impl Directory {
    pub(super) fn new(model: PathBuf) -> Self {
        let work = model.join(".registry");
        Self { model, work }
    }

    pub(super) fn path(&self) -> &Path {
        &self.model
    }

    /// Makes what is missing of the directory, and keeps other processes from pulling into it until the file is dropped.
    pub(super) fn lock(&self) -> Result<File, RegistryError> {
        let parts = self.work.join("parts");
        fs::create_dir_all(&parts).map_err(files("make", &parts))?;
        let path = self.work.join("lock");
        let lock = File::options().write(true).create(true).truncate(false).open(&path);
        let lock = lock.map_err(files("write", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => Err(RegistryError::Busy {
                path: self.model.clone(),
            }),
            Err(TryLockError::Error(error)) => Err(files("lock", &path)(error)),
        }
    }

    pub(super) fn partial(&self, digest: Sha256) -> PathBuf {
        self.work.join(format!("parts/{digest}.partial"))
    }

    pub(super) fn etag(&self, digest: Sha256) -> PathBuf {
        self.work.join(format!("parts/{digest}.etag"))
    }

    /// Where a file is once it is whole and has this digest.
    pub(super) fn whole(&self, digest: Sha256) -> PathBuf {
        self.work.join(format!("parts/{digest}"))
    }

    /// True if the version is in place with these files. An error if another one has its number.
    pub(super) fn has_version(&self, number: u64, wanted: &Files) -> Result<bool, RegistryError> {
        if let Some(path) = self.with_leading_zeros(number)? {
            return Err(RegistryError::ByHand { path });
        }
        let path = self.version(number);
        if !exists(&path)? {
            return Ok(false);
        }
        let Some(pulled) = self.marker(number)? else {
            return Err(RegistryError::ByHand { path });
        };
        let differs = |path: &&String| pulled.get(*path) != wanted.get(*path);
        if let Some(file) = wanted.keys().chain(pulled.keys()).find(differs) {
            return Err(RegistryError::Changed {
                object: format!("{number}/{file}"),
                version: number,
            });
        }
        for file in wanted.keys() {
            // Somebody removed it: the version is pulled again.
            if !exists(&path.join(file))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The directory `003` that somebody made of version 3, if there is one.
    fn with_leading_zeros(&self, number: u64) -> Result<Option<PathBuf>, RegistryError> {
        for entry in fs::read_dir(&self.model).map_err(files("list", &self.model))? {
            let path = entry.map_err(files("list", &self.model))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if name.and_then(version_number) == Some(number) && path != self.version(number) {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// The versions that were pulled.
    pub(super) fn pulled(&self) -> Result<Vec<u64>, RegistryError> {
        let mut pulled = Vec::new();
        for entry in fs::read_dir(&self.model).map_err(files("list", &self.model))? {
            let entry = entry.map_err(files("list", &self.model))?;
            let number = entry.file_name().to_str().and_then(version_number);
            // What is pulled has no leading zeros.
            if let Some(number) = number
                && entry.path() == self.version(number)
                && exists(&entry.path().join(MARKER))?
            {
                pulled.push(number);
            }
        }
        Ok(pulled)
    }

    /// Puts a version in its place, all of whose files are whole.
    pub(super) fn place_version(&self, number: u64, wanted: &Files) -> Result<(), RegistryError> {
        let staged = self.work.join(format!("staged/{number}"));
        remove_all(&staged)?;
        fs::create_dir_all(&staged).map_err(files("make", &staged))?;
        for (file, digest) in wanted {
            let path = staged.join(file);
            let parent = path.parent().unwrap_or(&staged);
            fs::create_dir_all(parent).map_err(files("make", parent))?;
            self.give(*digest, &path)?;
            sync(parent)?;
        }
        let marker = staged.join(MARKER);
        write_whole(&marker, &write_files(wanted))?;
        sync(&staged)?;
        self.remove_version(number)?;
        let place = self.version(number);
        fs::rename(&staged, &place).map_err(files("make", &place))?;
        sync(&self.model)
    }

    /// A link, so that a file that is in two versions is there for both; a copy where there are no links.
    fn give(&self, digest: Sha256, path: &Path) -> Result<(), RegistryError> {
        let whole = self.whole(digest);
        if fs::hard_link(&whole, path).is_ok() {
            return Ok(());
        }
        fs::copy(&whole, path).map_err(files("write", path))?;
        sync(path)
    }

    /// Takes a version away whole, if it is there, and then its files.
    pub(super) fn remove_version(&self, number: u64) -> Result<(), RegistryError> {
        let place = self.version(number);
        let removed = self.work.join(format!("removed-{number}"));
        remove_all(&removed)?;
        match fs::rename(&place, &removed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(files("remove", &place)(error)),
            Ok(()) => remove_all(&removed),
        }
    }

    pub(super) fn config(&self) -> Result<LocalConfig, RegistryError> {
        let path = self.config_path();
        let Some(bytes) = read_if_there(&path, LARGEST_CONFIG)? else {
            return Ok(LocalConfig::Missing);
        };
        let digest = Sha256::of(&bytes);
        let record = read_if_there(&self.config_record(), LARGEST_CONFIG)?.unwrap_or_default();
        let is_ours = record == digest.to_string().as_bytes();
        Ok(match is_ours {
            true => LocalConfig::Pulled(digest),
            false => LocalConfig::ByHand(digest),
        })
    }

    /// The text of `config.yaml` as it lies there.
    pub(super) fn local_config_text(&self) -> Result<Option<Vec<u8>>, RegistryError> {
        read_if_there(&self.config_path(), LARGEST_CONFIG)
    }

    /// The text of a `config.yaml` that is whole and not yet in its place.
    pub(super) fn pulled_config_text(&self, digest: Sha256) -> Result<Option<Vec<u8>>, RegistryError> {
        read_if_there(&self.whole(digest), LARGEST_CONFIG)
    }

    pub(super) fn place_config(&self, digest: Sha256) -> Result<(), RegistryError> {
        let place = self.config_path();
        if exists(&self.whole(digest))? {
            fs::rename(self.whole(digest), &place).map_err(files("write", &place))?;
            sync(&self.model)?;
        }
        // After the file: between the two its digest is the registry's, which is proof enough.
        self.record_config(digest)
    }

    /// Remembers that this `config.yaml` is the registry's.
    pub(super) fn record_config(&self, digest: Sha256) -> Result<(), RegistryError> {
        write_whole(&self.config_record(), &digest.to_string())
    }

    pub(super) fn remove_config(&self) -> Result<(), RegistryError> {
        let place = self.config_path();
        fs::remove_file(&place).map_err(files("remove", &place))
    }

    /// Removes what was pulled for nothing, or is in its place: all but the parts with these digests.
    pub(super) fn sweep(&self, keep: &BTreeSet<Sha256>) -> Result<(), RegistryError> {
        let parts = self.work.join("parts");
        for entry in fs::read_dir(&parts).map_err(files("list", &parts))? {
            let entry = entry.map_err(files("list", &parts))?;
            let name = entry.file_name();
            let digest = name
                .to_str()
                .and_then(|name| Sha256::parse(name.get(..Sha256::HEX_LEN)?));
            if !digest.is_some_and(|digest| keep.contains(&digest)) {
                fs::remove_file(entry.path()).map_err(files("remove", &entry.path()))?;
            }
        }
        remove_all(&self.work.join("staged"))
    }

    fn version(&self, number: u64) -> PathBuf {
        self.model.join(number.to_string())
    }

    fn config_path(&self) -> PathBuf {
        self.model.join(CONFIG)
    }

    fn config_record(&self) -> PathBuf {
        self.work.join("config.sha256")
    }

    fn marker(&self, number: u64) -> Result<Option<Files>, RegistryError> {
        let text = read_if_there(&self.version(number).join(MARKER), LARGEST_MARKER)?;
        let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
        Ok(text.and_then(|text| read_files(&text)))
    }
}

pub(super) fn exists(path: &Path) -> Result<bool, RegistryError> {
    path.try_exists().map_err(files("read", path))
}

fn read_if_there(path: &Path, most: u64) -> Result<Option<Vec<u8>>, RegistryError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(files("read", path)(error)),
    };
    let mut bytes = Vec::new();
    let read = file
        .take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(files("read", path))?;
    if read as u64 > most {
        let problem = io::Error::other(format!("has more than {most} bytes"));
        return Err(files("read", path)(problem));
    }
    Ok(Some(bytes))
}

fn write_whole(path: &Path, text: &str) -> Result<(), RegistryError> {
    fs::write(path, text).map_err(files("write", path))?;
    sync(path)
}

/// A file's content, or a directory's entries, onto the disk.
fn sync(path: &Path) -> Result<(), RegistryError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(files("write", path))
}

fn remove_all(path: &Path) -> Result<(), RegistryError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(files("remove", path)(error)),
        _ => Ok(()),
    }
}
