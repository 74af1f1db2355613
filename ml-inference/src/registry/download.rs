//! One file from the registry to the disk: from where it broke off, hashed while it is written, never too large.
//!
//! ```text
//! control thread    read chunks ──► batch ──► batch …        the next one is read while the one before is written
//! blocking thread                    └─ write and hash
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::info;

use super::digest::Sha256;
use super::directory::{Directory, exists};
use super::error::RegistryError;
use super::partial::Partial;
use super::source::{Got, Object, Source, Want};
use super::status::{DownloadProgress, PullStatus};
use crate::background;
use crate::metrics::PullMetrics;

/// Written and hashed at once. So many take a fifth of a millisecond, after which whoever waits for the processor has it; with a
/// megabyte the slowest of a hundred requests beside a pull waited twice as long.
const BATCH: usize = 128 * 1024;
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// State that all downloads of a pull share.
pub(super) struct Downloads<'a> {
    pub(super) source: &'a Source,
    pub(super) directory: &'a Directory,
    pub(super) status: &'a watch::Sender<PullStatus>,
    pub(super) metrics: &'a PullMetrics,
    pub(super) rejected: &'a mut Rejected,
}

/// Objects whose content was not what the index says, by what it says. While the registry still has the same object it is
/// not read again: it may be large.
pub(super) type Rejected = BTreeMap<Sha256, Rejection>;

#[derive(Debug, Clone)]
pub(super) struct Rejection {
    etag: String,
    found: Sha256,
}

/// A file to pull.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    /// As the index calls it.
    pub(super) path: &'a str,
    /// As people call it.
    pub(super) name: &'a str,
    pub(super) digest: Sha256,
    pub(super) largest: u64,
    /// The setting that says so.
    pub(super) limit: &'static str,
}

impl Wanted<'_> {
    fn mismatch(&self, found: Sha256) -> RegistryError {
        RegistryError::Digest {
            object: self.name.to_owned(),
            expected: self.digest,
            found,
        }
    }
}

impl Downloads<'_> {
    /// Makes sure that the file is whole and right among the directory's parts.
    pub(super) async fn fetch(&mut self, wanted: &Wanted<'_>) -> Result<(), RegistryError> {
        let whole = self.directory.whole(wanted.digest);
        let (partial, tag) = (
            self.directory.partial(wanted.digest),
            self.directory.etag(wanted.digest),
        );
        let path = whole.clone();
        let opened = blocking(&whole, move || match exists(&path)? {
            true => Ok(None),
            false => Partial::open(partial, tag).map(Some),
        });
        let Some(mut partial) = opened.await? else {
            return Ok(());
        };
        if partial.digest() != wanted.digest {
            partial = self.read(partial, wanted).await?;
        }
        let found = partial.digest();
        if found != wanted.digest {
            if let Some(etag) = partial.etag() {
                self.rejected.insert(wanted.digest, Rejection { etag, found });
            }
            blocking(&whole, move || partial.discard()).await?;
            return Err(wanted.mismatch(found));
        }
        self.rejected.remove(&wanted.digest);
        let path = whole.clone();
        blocking(&whole, move || partial.finish(&path)).await
    }

    /// Reads what is missing of the file, or all of it when what is there is not its beginning.
    async fn read(&self, partial: Partial, wanted: &Wanted<'_>) -> Result<Partial, RegistryError> {
        let (partial, object) = self.ask(partial, wanted).await?;
        let too_large = || RegistryError::TooLarge {
            object: wanted.name.to_owned(),
            limit: wanted.largest,
            setting: wanted.limit,
        };
        if object.size.is_some_and(|size| size > wanted.largest) {
            return Err(too_large());
        }
        let mut body = object.body;
        let mut meter = Meter::new(self, wanted, partial.length(), object.size);
        let mut writer = Writer::new(partial, self.directory.path());
        let mut batch = Vec::new();
        let mut batched = 0;
        let ended = loop {
            match body.chunk().await {
                Ok(Some(chunk)) => {
                    meter.add(chunk.len());
                    if meter.bytes > wanted.largest {
                        break Err(too_large());
                    }
                    batched += chunk.len();
                    batch.push(chunk);
                }
                Ok(None) => break Ok(()),
                Err(problem) => {
                    let object = wanted.name.to_owned();
                    break Err(RegistryError::BrokeOff { object, problem });
                }
            }
            if batched >= BATCH {
                writer.write(std::mem::take(&mut batch)).await?;
                batched = 0;
            }
        };
        // Also what came before it broke off is kept.
        writer.write(batch).await?;
        let partial = writer.end().await?;
        match ended {
            Ok(()) => Ok(partial),
            Err(error @ RegistryError::TooLarge { .. }) => {
                blocking(self.directory.path(), move || partial.discard()).await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn ask(&self, partial: Partial, wanted: &Wanted<'_>) -> Result<(Partial, Object), RegistryError> {
        let offset = partial.length();
        if offset > 0 {
            let etag = partial.etag();
            let etag = etag.as_deref();
            let got = self
                .source
                .get(wanted.path, wanted.name, Want::From { offset, etag })
                .await?;
            if let Got::Object(object) = got {
                if object.offset == offset {
                    info!(file = wanted.path, bytes = offset, "resuming the download");
                    return Ok((partial, object));
                }
                return self.restart(partial, object).await;
            }
        }
        let rejection = self.rejected.get(&wanted.digest);
        let want = rejection.map_or(Want::Whole, |rejection| Want::Unless { etag: &rejection.etag });
        match (self.source.get(wanted.path, wanted.name, want).await?, rejection) {
            (Got::Object(object), _) => self.restart(partial, object).await,
            (Got::Unchanged, Some(rejection)) => Err(wanted.mismatch(rejection.found)),
            (Got::Unchanged | Got::Other, _) => Err(RegistryError::Answer {
                object: wanted.name.to_owned(),
                answer: "the registry answers what was not asked for".to_owned(),
            }),
        }
    }

    async fn restart(&self, mut partial: Partial, object: Object) -> Result<(Partial, Object), RegistryError> {
        let etag = object.etag.clone();
        let restarted = blocking(self.directory.path(), move || {
            partial.restart(etag.as_deref())?;
            Ok(partial)
        });
        Ok((restarted.await?, object))
    }
}

/// Has one batch written while the next is read.
struct Writer<'a> {
    partial: Option<Partial>,
    writing: Option<JoinHandle<Result<Partial, RegistryError>>>,
    path: &'a Path,
}

impl<'a> Writer<'a> {
    fn new(partial: Partial, path: &'a Path) -> Self {
        Self {
            partial: Some(partial),
            writing: None,
            path,
        }
    }

    async fn write(&mut self, batch: Vec<Bytes>) -> Result<(), RegistryError> {
        let mut partial = self.idle().await?;
        self.writing = Some(beside(move || partial.append(&batch).map(|()| partial)));
        Ok(())
    }

    async fn end(mut self) -> Result<Partial, RegistryError> {
        self.idle().await
    }

    async fn idle(&mut self) -> Result<Partial, RegistryError> {
        let given_up = || RegistryError::GivenUp {
            path: self.path.to_owned(),
        };
        match self.writing.take() {
            Some(writing) => writing.await.map_err(|_panicked| given_up())?,
            None => self.partial.take().ok_or_else(given_up),
        }
    }
}

/// Tells how far a file is.
struct Meter<'a> {
    status: &'a watch::Sender<PullStatus>,
    metrics: &'a PullMetrics,
    path: &'a str,
    bytes: u64,
    size: Option<u64>,
    told: Instant,
    logged: Instant,
}

impl<'a> Meter<'a> {
    fn new(downloads: &Downloads<'a>, wanted: &Wanted<'a>, bytes: u64, size: Option<u64>) -> Self {
        let now = Instant::now();
        let meter = Self {
            status: downloads.status,
            metrics: downloads.metrics,
            path: wanted.path,
            bytes,
            size,
            told: now,
            logged: now,
        };
        meter.tell();
        meter
    }

    fn add(&mut self, length: usize) {
        self.bytes += length as u64;
        self.metrics.bytes.inc_by(length as u64);
        if self.told.elapsed() >= PROGRESS_INTERVAL {
            self.told = Instant::now();
            self.tell();
        }
        if self.logged.elapsed() >= LOG_INTERVAL {
            self.logged = Instant::now();
            let percent = self.size.map(|size| self.bytes * 100 / size.max(1));
            info!(
                file = self.path,
                bytes = self.bytes,
                size = self.size,
                percent,
                "pulling"
            );
        }
    }

    fn tell(&self) {
        let progress = DownloadProgress {
            file: self.path.to_owned(),
            bytes: self.bytes,
            size: self.size,
        };
        self.status.send_modify(|status| status.progress = Some(progress));
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        self.status.send_modify(|status| status.progress = None);
    }
}

/// Runs what blocks where that disturbs nobody. `path` is what it works on.
pub(super) async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, RegistryError> + Send + 'static,
) -> Result<T, RegistryError> {
    let given_up = |_panicked| RegistryError::GivenUp { path: path.to_owned() };
    beside(work).await.map_err(given_up)?
}

/// Has a thread that may block do `work`, after requests.
fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    spawn_blocking(|| {
        background::lower_priority();
        work()
    })
}
