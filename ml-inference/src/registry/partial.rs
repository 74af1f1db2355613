//! A file that is being pulled: written, hashed, and kept for the next time when its pull breaks off.
//!
//! It is named after the digest it must come to, so what is in it can only be the beginning of that content, or rubbish
//! that the digest shows at the end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::PathBuf;

use bytes::Bytes;

use super::digest::{Hasher, Sha256};
use super::error::{RegistryError, files};

const READ_AT_ONCE: usize = 256 * 1024;
/// A longer tag is not kept.
const LONGEST_ETAG: u64 = 1024;

/// All of it blocks: for threads that may.
pub(super) struct Partial {
    path: PathBuf,
    /// Where the object's tag is kept.
    tag: PathBuf,
    file: File,
    hasher: Hasher,
    length: u64,
}

impl Partial {
    /// Opens what there is, or makes it, and hashes it.
    pub(super) fn open(path: PathBuf, tag: PathBuf) -> Result<Self, RegistryError> {
        let opened = OpenOptions::new().read(true).append(true).create(true).open(&path);
        let mut file = opened.map_err(files("write", &path))?;
        let mut hasher = Hasher::default();
        let length = hash(&mut file, &mut hasher).map_err(files("read", &path))?;
        Ok(Self {
            path,
            tag,
            file,
            hasher,
            length,
        })
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn digest(&self) -> Sha256 {
        self.hasher.clone().finish()
    }

    /// The tag of the object whose beginning this is, if it had a strong one.
    pub(super) fn etag(&self) -> Option<String> {
        let file = File::open(&self.tag).ok()?;
        let mut tag = String::new();
        file.take(LONGEST_ETAG + 1).read_to_string(&mut tag).ok()?;
        (tag.len() as u64 <= LONGEST_ETAG).then_some(tag)
    }

    /// Forgets what there is; what comes next is of the object with this tag.
    pub(super) fn restart(&mut self, etag: Option<&str>) -> Result<(), RegistryError> {
        self.file.set_len(0).map_err(files("write", &self.path))?;
        self.hasher = Hasher::default();
        self.length = 0;
        match etag {
            Some(etag) => fs::write(&self.tag, etag).map_err(files("write", &self.tag)),
            None => remove_if_there(&self.tag),
        }
    }

    pub(super) fn append(&mut self, chunks: &[Bytes]) -> Result<(), RegistryError> {
        for chunk in chunks {
            self.file.write_all(chunk).map_err(files("write", &self.path))?;
            self.hasher.update(chunk);
            self.length += chunk.len() as u64;
        }
        Ok(())
    }

    /// Gives the file its final name, once all of it is on the disk.
    pub(super) fn finish(self, whole: &PathBuf) -> Result<(), RegistryError> {
        self.file.sync_all().map_err(files("write", &self.path))?;
        fs::rename(&self.path, whole).map_err(files("rename", &self.path))?;
        remove_if_there(&self.tag)
    }

    pub(super) fn discard(self) -> Result<(), RegistryError> {
        remove_if_there(&self.path)?;
        remove_if_there(&self.tag)
    }
}

fn remove_if_there(path: &PathBuf) -> Result<(), RegistryError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(files("remove", path)(error)),
        _ => Ok(()),
    }
}

fn hash(file: &mut File, hasher: &mut Hasher) -> io::Result<u64> {
    let mut buffer = vec![0; READ_AT_ONCE];
    let mut length = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(length),
            read => {
                hasher.update(&buffer[..read]);
                length += read as u64;
            }
        }
    }
}
