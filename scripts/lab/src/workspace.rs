//! A directory of this run alone, removed at its end.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

#[derive(Debug)]
pub struct Workspace {
    directory: PathBuf,
}

impl Workspace {
    pub fn create() -> io::Result<Self> {
        let directory = std::env::temp_dir().join(format!("mlops-lab.{}", std::process::id()));
        // It fails where somebody else has made it before.
        DirBuilder::new().mode(0o700).create(&directory)?;
        Ok(Self { directory })
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
