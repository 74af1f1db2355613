//! A directory of this run alone, removed at its end.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

/// Directories of one name that are passed over.
const MOST_LEFT_BEHIND: u32 = 100;

#[derive(Debug)]
pub struct Workspace {
    directory: PathBuf,
}

impl Workspace {
    pub fn create() -> io::Result<Self> {
        let mut tried = 0;
        loop {
            let name = format!("mlops-lab.{}-{tried}", std::process::id());
            let directory = std::env::temp_dir().join(name);
            match DirBuilder::new().mode(0o700).create(&directory) {
                Ok(()) => return Ok(Self { directory }),
                // A run that was killed has left it behind.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tried < MOST_LEFT_BEHIND => tried += 1,
                Err(error) => return Err(error),
            }
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub fn create_directory(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir(&path)?;
        Ok(path)
    }

    /// Writes a file in one piece, as the kubelet brings a ConfigMap or a Secret: whoever watches its directory never sees a half.
    pub fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let new = self.path("new");
        fs::write(&new, text)?;
        let path = self.path(name);
        fs::rename(new, &path)?;
        Ok(path)
    }

    pub fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // What stays behind is in the temporary directory, where somebody sweeps.
        let _swept = fs::remove_dir_all(&self.directory);
    }
}
