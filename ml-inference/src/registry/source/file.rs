//! A directory as a registry: a volume that somebody else fills.

use std::io::{self, SeekFrom};
use std::path::PathBuf;

use tokio::fs::File;
use tokio::io::AsyncSeekExt;

use super::object::{Body, Got, Object, Want};
use crate::registry::error::{RegistryError, files};

pub(in crate::registry) struct FileSource {
    directory: PathBuf,
}

impl FileSource {
    pub(super) fn open(directory: PathBuf) -> Self {
        Self { directory }
    }

    pub(super) async fn get(&self, path: &str, name: &str, want: Want<'_>) -> Result<Got, RegistryError> {
        let path = self.directory.join(path);
        let mut file = match File::open(&path).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RegistryError::Missing {
                    object: name.to_owned(),
                    answer: error.to_string(),
                });
            }
            Err(error) => return Err(files("read", &path)(error)),
        };
        let size = file.metadata().await.map_err(files("read", &path))?.len();
        let offset = match want {
            Want::From { offset, .. } if offset >= size => return Ok(Got::Other),
            Want::From { offset, .. } => offset,
            Want::Whole | Want::Unless { .. } => 0,
        };
        file.seek(SeekFrom::Start(offset)).await.map_err(files("read", &path))?;
        Ok(Got::Object(Object {
            offset,
            size: Some(size),
            etag: None,
            body: Body::File(file),
        }))
    }
}
