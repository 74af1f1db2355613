//! Reading objects of a registry, whatever its kind: whole, from a place on, or only if they changed.

mod file;
mod http;
mod object;
mod s3;

use self::file::FileSource;
use self::http::HttpSource;
pub(super) use self::object::{Got, Object, Want};
use self::s3::S3Source;
use super::error::RegistryError;
use super::location::Location;
use super::settings::RegistrySettings;

/// One pull's way to the registry, with the credentials of now.
pub(super) enum Source {
    Http(HttpSource),
    S3(S3Source),
    File(FileSource),
}

impl Source {
    pub(super) fn open(settings: &RegistrySettings) -> Result<Self, RegistryError> {
        Ok(match &settings.location {
            Location::Http(url) => Self::Http(HttpSource::open(settings, url.clone())?),
            Location::S3 { bucket, prefix } => Self::S3(S3Source::open(settings, bucket, prefix)?),
            Location::File(directory) => Self::File(FileSource::open(directory.clone())),
        })
    }

    /// Asks for the file that the index calls `path`; `name` is what people call it.
    pub(super) async fn get(&self, path: &str, name: &str, want: Want<'_>) -> Result<Got, RegistryError> {
        match self {
            Self::Http(source) => source.get(path, name, want).await,
            Self::S3(source) => source.get(path, name, want).await,
            Self::File(source) => source.get(path, name, want).await,
        }
    }
}
