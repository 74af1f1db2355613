//! The files of a run: the output under its working name, the rejected rows, the checkpoint.
//!
//! ```text
//! FILE.partial         the output until it is whole; then it is renamed to FILE
//! FILE.rejected.jsonl  the rows that were not scored, and why
//! FILE.checkpoint      what of both is valid; removed with the last row
//! ```
//!
//! What a killed run wrote behind its last checkpoint is cut off, and made again.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::checkpoint::{Checkpoint, CheckpointError, Mark};
use crate::row::Position;

/// The work that a kill costs at most. A checkpoint waits until both files are on the disk.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(250);

#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("cannot {what} {}: {error}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        error: io::Error,
    },
    #[error("{} is there already; --overwrite replaces it", .0.display())]
    Exists(PathBuf),
    #[error("another process is writing {}", .0.display())]
    Locked(PathBuf),
    #[error("cannot go on from {}: {error}; --restart begins anew", path.display())]
    Checkpoint { path: PathBuf, error: CheckpointError },
}

/// Where to write, and what to do with what is there.
#[derive(Debug, Clone)]
pub struct Place {
    pub output: PathBuf,
    pub overwrite: bool,
    pub restart: bool,
}

/// What there is to do.
#[derive(Debug)]
pub enum Opened {
    /// An earlier run came to its end, but for the checkpoint.
    Whole,
    Work(Box<Files>),
}

#[derive(Debug)]
pub struct Files {
    output: PathBuf,
    partial: PathBuf,
    partial_file: File,
    rejected: PathBuf,
    rejected_file: Option<File>,
    checkpoint_path: PathBuf,
    checkpoint: Checkpoint,
    saved: Instant,
    is_resumed: bool,
}

/// The output's path with something behind it.
fn beside(output: &Path, extension: &str) -> PathBuf {
    let mut name = OsString::from(output);
    name.push(extension);
    PathBuf::from(name)
}

fn io_error<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FilesError + use<'a> {
    move |error| FilesError::Io {
        what,
        path: path.to_owned(),
        error,
    }
}

impl Files {
    /// Opens the files of a new run, or of one that was interrupted.
    pub fn open(place: &Place, input: Mark, options: Map<String, Value>) -> Result<Opened, FilesError> {
        let output = place.output.clone();
        let partial = beside(&output, ".partial");
        let rejected = beside(&output, ".rejected.jsonl");
        let checkpoint_path = beside(&output, ".checkpoint");
        let refused = |error| FilesError::Checkpoint {
            path: checkpoint_path.clone(),
            error,
        };
        let found = match place.restart {
            true => None,
            false => Checkpoint::read(&checkpoint_path).map_err(refused)?,
        };
        if let Some(found) = &found {
            found.expect(&input, &options).map_err(refused)?;
            // It was renamed, and the checkpoint is all that is left.
            if found.is_whole && !partial.exists() && output.exists() {
                fs::remove_file(&checkpoint_path).map_err(io_error("remove", &checkpoint_path))?;
                return Ok(Opened::Whole);
            }
        } else if output.exists() && !place.overwrite {
            return Err(FilesError::Exists(output));
        }
        let mut partial_file = lock(&partial)?;
        let bytes = partial_file.metadata().map_err(io_error("read", &partial))?.len();
        if found.as_ref().is_some_and(|found| found.output_bytes > bytes) {
            let text = format!("{} lacks what it says was written", partial.display());
            return Err(refused(CheckpointError::Files(text)));
        }
        let is_resumed = found.is_some();
        let checkpoint = found.unwrap_or_else(|| Checkpoint::new(input, options));
        cut(&mut partial_file, checkpoint.output_bytes).map_err(io_error("write", &partial))?;
        let mut files = Self {
            output,
            partial,
            partial_file,
            rejected,
            rejected_file: None,
            checkpoint_path,
            checkpoint,
            saved: Instant::now(),
            is_resumed,
        };
        files.cut_rejected()?;
        Ok(Opened::Work(Box::new(files)))
    }

    /// Leaves of the rejected rows those that the checkpoint knows.
    fn cut_rejected(&mut self) -> Result<(), FilesError> {
        let bytes = self.checkpoint.rejected_bytes;
        if bytes == 0 {
            return match fs::remove_file(&self.rejected) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &self.rejected)(error)),
                _ => Ok(()),
            };
        }
        let found = fs::metadata(&self.rejected)
            .map_err(io_error("read", &self.rejected))?
            .len();
        if found < bytes {
            let text = format!("{} lacks what it says was written", self.rejected.display());
            return Err(FilesError::Checkpoint {
                path: self.checkpoint_path.clone(),
                error: CheckpointError::Files(text),
            });
        }
        let file = self.rejected_file()?;
        cut(file, bytes).map_err(io_error("write", &self.rejected))
    }

    fn rejected_file(&mut self) -> Result<&mut File, FilesError> {
        let file = match self.rejected_file.take() {
            Some(file) => file,
            None => {
                let mut open = OpenOptions::new();
                let open = open.create(true).write(true).truncate(false);
                open.open(&self.rejected).map_err(io_error("write", &self.rejected))?
            }
        };
        Ok(self.rejected_file.insert(file))
    }

    /// Where an earlier run stopped reading.
    pub fn position(&self) -> Position {
        self.checkpoint.position
    }

    /// Rows that were scored and rows that were rejected so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.checkpoint.scored, self.checkpoint.rejected)
    }

    /// Whether an earlier run began this one.
    pub fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Whether nothing has been written yet.
    pub fn is_empty(&self) -> bool {
        self.checkpoint.output_bytes == 0
    }

    /// Writes whole lines to the output, and to the rejected rows, after which the input has been read up to `position`.
    pub fn write(&mut self, lines: &Lines, position: Position) -> Result<(), FilesError> {
        let written = self.partial_file.write_all(lines.output.as_bytes());
        written.map_err(io_error("write", &self.partial))?;
        if !lines.rejected.is_empty() {
            let written = self.rejected_file()?.write_all(lines.rejected.as_bytes());
            written.map_err(io_error("write", &self.rejected))?;
        }
        self.checkpoint.output_bytes += lines.output.len() as u64;
        self.checkpoint.rejected_bytes += lines.rejected.len() as u64;
        self.checkpoint.scored += lines.scored;
        self.checkpoint.rejected += lines.rejects;
        self.checkpoint.position = position;
        if self.saved.elapsed() >= CHECKPOINT_EVERY {
            self.save()?;
        }
        Ok(())
    }

    /// Saves the checkpoint, behind what it speaks of.
    pub fn save(&mut self) -> Result<(), FilesError> {
        self.partial_file
            .sync_data()
            .map_err(io_error("write", &self.partial))?;
        if let Some(file) = &self.rejected_file {
            file.sync_data().map_err(io_error("write", &self.rejected))?;
        }
        let written = self.checkpoint.write(&self.checkpoint_path);
        written.map_err(io_error("write", &self.checkpoint_path))?;
        self.saved = Instant::now();
        Ok(())
    }

    /// Gives the output its name. With `convert` it is what that makes of the lines, from the first file into the second.
    pub fn finish(mut self, convert: Option<&Convert<'_>>) -> Result<(), FilesError> {
        self.checkpoint.is_whole = true;
        self.save()?;
        match convert {
            None => fs::rename(&self.partial, &self.output).map_err(io_error("rename to", &self.output))?,
            Some(convert) => {
                let converted = beside(&self.output, ".converted");
                let lines = File::open(&self.partial).map_err(io_error("read", &self.partial))?;
                let file = File::create(&converted).map_err(io_error("write", &converted))?;
                let written = convert(&lines, &file).and_then(|()| file.sync_data());
                written.map_err(io_error("write", &converted))?;
                fs::rename(&converted, &self.output).map_err(io_error("rename to", &self.output))?;
                fs::remove_file(&self.partial).map_err(io_error("remove", &self.partial))?;
            }
        }
        fs::remove_file(&self.checkpoint_path).map_err(io_error("remove", &self.checkpoint_path))
    }
}

/// Writes lines in another format.
pub type Convert<'c> = dyn Fn(&File, &File) -> io::Result<()> + 'c;

/// Opens the file, for this process alone.
fn lock(partial: &Path) -> Result<File, FilesError> {
    let mut open = OpenOptions::new();
    let open = open.create(true).write(true).truncate(false);
    let file = open.open(partial).map_err(io_error("write", partial))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(FilesError::Locked(partial.to_owned())),
        Err(TryLockError::Error(error)) => return Err(io_error("lock", partial)(error)),
    }
    // The process that had it may have finished, and given it the output's name, between the two.
    let opened = file.metadata().map_err(io_error("read", partial))?;
    match fs::metadata(partial) {
        Ok(named) if (named.dev(), named.ino()) == (opened.dev(), opened.ino()) => Ok(file),
        _ => Err(FilesError::Locked(partial.to_owned())),
    }
}

/// What a batch adds to the files.
#[derive(Debug, Default)]
pub struct Lines {
    pub output: String,
    pub scored: u64,
    pub rejected: String,
    pub rejects: u64,
}

fn cut(file: &mut File, bytes: u64) -> io::Result<()> {
    file.set_len(bytes)?;
    file.seek(SeekFrom::Start(bytes))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use shared::test_util::Scratch;

    use super::*;

    fn open(scratch: &Scratch) -> Result<Opened, FilesError> {
        let place = Place {
            output: scratch.path().join("scores.csv"),
            overwrite: false,
            restart: false,
        };
        let mark = Mark {
            bytes: 1,
            sha256: "00".to_owned(),
        };
        Files::open(&place, mark, Map::new())
    }

    fn work(scratch: &Scratch) -> Files {
        match open(scratch).expect("opens") {
            Opened::Work(files) => *files,
            Opened::Whole => panic!("there is work to do"),
        }
    }

    fn lines(output: &str, rejected: &str) -> Lines {
        Lines {
            output: output.to_owned(),
            scored: 1,
            rejected: rejected.to_owned(),
            rejects: 1,
        }
    }

    #[test]
    fn what_is_behind_the_checkpoint_is_cut_off() {
        let scratch = Scratch::new("files");
        let mut files = work(&scratch);
        files.write(&lines("a\n", "x\n"), Position::default()).expect("written");
        files.save().expect("saved");
        files.write(&lines("half", "ha"), Position::default()).expect("written");
        drop(files);
        let mut files = work(&scratch);
        assert!(files.is_resumed() && files.counts() == (1, 1));
        files.write(&lines("b\n", "y\n"), Position::default()).expect("written");
        files.finish(None).expect("finished");
        let read = |name| fs::read_to_string(scratch.path().join(name)).expect("there");
        assert_eq!(
            (read("scores.csv"), read("scores.csv.rejected.jsonl")),
            ("a\nb\n".to_owned(), "x\ny\n".to_owned())
        );
        assert!(matches!(open(&scratch), Err(FilesError::Exists(_))));
    }

    #[test]
    fn an_output_that_got_its_name_is_whole() {
        let scratch = Scratch::new("files");
        let mut files = work(&scratch);
        let one = Lines {
            output: "a\n".to_owned(),
            ..Lines::default()
        };
        files.write(&one, Position::default()).expect("written");
        files.checkpoint.is_whole = true;
        files.save().expect("saved");
        // Killed here.
        fs::rename(&files.partial, &files.output).expect("renamed");
        drop(files);
        assert!(matches!(open(&scratch), Ok(Opened::Whole)));
        assert_eq!(fs::read_dir(scratch.path()).expect("there").count(), 1);
    }

    #[test]
    fn a_checkpoint_of_more_than_there_is_is_refused() {
        for lost in ["scores.csv.partial", "scores.csv.rejected.jsonl"] {
            let scratch = Scratch::new("files");
            let mut files = work(&scratch);
            files.write(&lines("a\n", "x\n"), Position::default()).expect("written");
            files.save().expect("saved");
            drop(files);
            fs::write(scratch.path().join(lost), "").expect("written");
            let refused = open(&scratch).expect_err(lost).to_string();
            assert!(
                refused.contains(&format!("{lost} lacks what it says was written; --restart")),
                "{refused}"
            );
        }
    }
}
