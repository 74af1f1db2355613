//! Requests to a registry, and an object as it arrives.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::io::AsyncReadExt;

use super::super::error::root_cause;

/// Part of an object that is requested.
#[derive(Debug, Clone, Copy)]
pub(in crate::registry) enum Want<'a> {
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

pub(in crate::registry) enum Got {
    Object(Object),
    /// To [`Want::Unless`].
    Unchanged,
    /// To [`Want::From`]: the object is another one, or ends before.
    Other,
}

pub(in crate::registry) struct Object {
    /// Offset of the body; 0 also when a later part was requested.
    pub(in crate::registry) offset: u64,
    /// Size of the whole object, where it is known.
    pub(in crate::registry) size: Option<u64>,
    /// A strong one, which two different contents do not share.
    pub(in crate::registry) etag: Option<String>,
    pub(in crate::registry) body: Body,
}

/// The bytes as they come.
pub(in crate::registry) enum Body {
    Http(reqwest::Response),
    S3(BoxStream<'static, object_store::Result<Bytes>>),
    File(tokio::fs::File),
}

/// As much as is read from a file at once: what is written at once.
const FILE_CHUNK: usize = 128 * 1024;

impl Body {
    /// The next bytes, or `None` at the end.
    pub(in crate::registry) async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
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
pub(super) fn strong(etag: Option<&str>) -> Option<String> {
    etag.filter(|etag| !etag.starts_with("W/")).map(str::to_owned)
}
