//! Reading objects of a registry, whatever its kind: whole, from a place on, or only if they changed.

mod file;
mod http;
mod s3;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::io::AsyncReadExt;

use self::file::FileSource;
use self::http::HttpSource;
use self::s3::S3Source;
use super::error::{RegistryError, root_cause};
use super::location::Location;
use super::settings::Settings;

/// One pull's way to the registry, with the credentials of now.
pub(super) enum Source {
    Http(HttpSource),
    S3(S3Source),
    File(FileSource),
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Want<'a> {
    Whole,
    /// Nothing when it is still the one with this tag.
    Unless {
        etag: &'a str,
    },
    /// Only what follows so many bytes, and of the same object if its tag is known.
    From {
        offset: u64,
        etag: Option<&'a str>,
    },
}

pub(super) enum Got {
    Object(Object),
    /// To [`Want::Unless`].
    Unchanged,
    /// To [`Want::From`]: the object is another one, or ends before.
    Other,
}

pub(super) struct Object {
    /// Where the body begins; 0 also when more was asked for.
    pub(super) offset: u64,
    /// Of the whole object, where it is known.
    pub(super) size: Option<u64>,
    /// A strong one, which two different contents do not share.
    pub(super) etag: Option<String>,
    pub(super) body: Body,
}

impl Source {
    pub(super) fn open(settings: &Settings) -> Result<Self, RegistryError> {
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

/// The bytes as they come.
pub(super) enum Body {
    Http(reqwest::Response),
    S3(BoxStream<'static, object_store::Result<Bytes>>),
    File(tokio::fs::File),
}

/// As much as is read from a file at once: what is written at once.
const FILE_CHUNK: usize = 128 * 1024;

impl Body {
    /// The next bytes, or `None` at the end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        match self {
            Self::Http(response) => response.chunk().await.map_err(|error| root_cause(&error)),
            Self::S3(stream) => stream.next().await.transpose().map_err(|error| root_cause(&error)),
            Self::File(file) => {
                let mut chunk = Vec::with_capacity(FILE_CHUNK);
                let read = file.read_buf(&mut chunk).await.map_err(|error| error.to_string())?;
                Ok((read > 0).then(|| Bytes::from(chunk)))
            }
        }
    }
}

/// Tags that begin with `W/` are weak: the bytes may differ.
fn strong(etag: Option<&str>) -> Option<String> {
    etag.filter(|etag| !etag.starts_with("W/")).map(str::to_owned)
}
