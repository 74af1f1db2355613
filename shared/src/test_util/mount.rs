//! A directory as the kubelet mounts a ConfigMap or a Secret: all of it changes at once.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::scratch::Scratch;

/// `KEY → ..data/KEY`, and `..data → ..1`, a link that the next version replaces with one to `..2`.
#[derive(Debug)]
pub struct Mount {
    scratch: Scratch,
    version: usize,
    keys: BTreeSet<String>,
}

impl Mount {
    /// A directory with these keys and their texts.
    pub fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let mut mount = Self {
            scratch: Scratch::new(name),
            version: 0,
            keys: BTreeSet::new(),
        };
        mount.publish(files);
        mount
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// The path of the file `key`.
    pub fn file(&self, key: &str) -> PathBuf {
        self.path().join(key)
    }

    /// Replaces all files, in the order in which the kubelet does it.
    pub fn publish(&mut self, files: &[(&str, &str)]) {
        const WRITABLE: &str = "a scratch directory is writable";
        let before = self.path().join(format!("..{}", self.version));
        self.version += 1;
        let name = format!("..{}", self.version);
        let directory = self.path().join(&name);
        fs::create_dir(&directory).expect(WRITABLE);
        for (key, text) in files {
            fs::write(directory.join(key), text).expect(WRITABLE);
        }
        let (link, data) = (self.path().join("..data_tmp"), self.path().join("..data"));
        symlink(name, &link).expect(WRITABLE);
        fs::rename(link, data).expect(WRITABLE);
        let keys: BTreeSet<String> = files.iter().map(|(key, _)| (*key).to_owned()).collect();
        for added in keys.difference(&self.keys) {
            symlink(Path::new("..data").join(added), self.file(added)).expect(WRITABLE);
        }
        for gone in self.keys.difference(&keys) {
            fs::remove_file(self.file(gone)).expect(WRITABLE);
        }
        self.keys = keys;
        if self.version > 1 {
            fs::remove_dir_all(before).expect(WRITABLE);
        }
    }
}
