//! One run from beginning to end.
//!
//! ```text
//! reader (a thread) ─► batches ─► requests, several at a time ─► in the order of the input ─► files
//! ```
//!
//! All queues are short, so that memory is bounded by the batches under way.

use std::fs::{File, Metadata};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use serde_json::{Map, Value, json};
use shared::lifecycle::{Signal, Signals};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::arguments::{OnBadRow, Options};
use crate::checkpoint::Mark;
use crate::client::{Client, ClientError, Patience};
use crate::files::{self, Files, FilesError, Opened};
use crate::input::{self, InputError, Rows};
use crate::layout::{Form, Keep};
use crate::output::{self, Lines};
use crate::progress::{Look, Progress, note};
use crate::reader::{self, Step};
use crate::row::{BadRow, Position};
use crate::scorer::{Outcome, Scorer, ScorerError};
#[cfg(feature = "parquet")]
use crate::table;

/// How often the progress looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    #[error("--input: {}: {error}", path.display())]
    Input { path: PathBuf, error: InputError },
    #[error("--input: {} changed while it was read", .0.display())]
    InputChanged(PathBuf),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Scorer(#[from] ScorerError),
    #[error("{}", bad_row(.0))]
    BadRow(BadRow),
    #[error("more than {most} bad rows (--max-bad-rows); the last: {}", bad_row(.last))]
    BadRows { most: u64, last: BadRow },
    #[error("ended by a signal; the same command goes on")]
    Interrupted,
    #[error("a second signal")]
    Cut(Signal),
    /// It has said why to standard error.
    #[error("the thread that reads the input has panicked")]
    Reader,
    #[error("cannot {what}: {error}")]
    System { what: &'static str, error: io::Error },
}

fn bad_row(bad: &BadRow) -> String {
    match bad.place.line {
        Some(line) => format!("row {} (line {line}): {}", bad.place.row, bad.reason),
        None => format!("row {}: {}", bad.place.row, bad.reason),
    }
}

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    pub scored: u64,
    pub rejected: u64,
    /// Whether an earlier run had done it all.
    pub was_whole: bool,
}

/// Scores a file. Needs a runtime.
pub async fn run(options: &Options) -> Result<Summary, ScoreError> {
    let mut signals = Signals::install().map_err(system("install the signal handlers"))?;
    let (stop, stopped) = watch::channel(false);
    let work = work(options, stopped);
    tokio::pin!(work);
    let mut is_stopping = false;
    loop {
        tokio::select! {
            ended = &mut work => return ended,
            signal = signals.next() => {
                if is_stopping {
                    return Err(ScoreError::Cut(signal));
                }
                is_stopping = true;
                note("a signal: the requests under way are waited for; a second one does not wait");
                stop.send_replace(true);
            }
        }
    }
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> ScoreError {
    move |error| ScoreError::System { what, error }
}

async fn work(options: &Options, stopped: watch::Receiver<bool>) -> Result<Summary, ScoreError> {
    let input_error = |error: InputError| ScoreError::Input {
        path: options.input.clone(),
        error,
    };
    let io_error = |error: io::Error| input_error(error.into());
    let file = File::open(&options.input).map_err(io_error)?;
    let before = seen(&file).map_err(io_error)?;
    if !before.is_file() {
        return Err(io_error(io::Error::other("it is no regular file")));
    }
    let mark = mark(&file, stopped.clone()).await?.map_err(io_error)?;
    let whole = mark.bytes;
    let place = files::Place {
        output: options.output.clone(),
        overwrite: options.overwrite,
        restart: options.restart,
    };
    let mut files = match Files::open(&place, mark, fingerprint(options))? {
        Opened::Work(files) => files,
        Opened::Whole => {
            return Ok(Summary {
                scored: 0,
                rejected: 0,
                was_whole: true,
            });
        }
    };
    let again = file.try_clone().map_err(io_error)?;
    let rows = input::open(
        again,
        options.format,
        &options.wanted,
        options.max_row_bytes,
        files.position(),
    );
    let rows = rows.map_err(input_error)?;
    if files.is_resumed() && !options.quiet {
        let (scored, rejected) = files.counts();
        note(&format!(
            "going on after {scored} rows scored and {rejected} rejected by an earlier run"
        ));
    }
    let lines = Lines {
        format: options.output_format,
        layout: rows.layout().clone(),
        row_numbers: options.row_numbers,
    };
    if files.is_empty() {
        let header = files::Lines {
            output: lines.header(),
            ..files::Lines::default()
        };
        files.write(&header, files.position())?;
    }
    let patience = Patience {
        timeout: options.timeout,
        max_attempts: options.max_attempts,
        max_retry_time: options.max_retry_time,
    };
    let client = Client::new(patience, options.api_key.clone(), stopped.clone()).map_err(ScorerError::from)?;
    let mut run = Run {
        options,
        lines: &lines,
        progress: Progress::new(options.quiet, options.progress_interval, files.counts().0),
        files: &mut files,
        whole,
    };
    let ended = match Scorer::new(options, &client, &lines.layout).await {
        Ok(scorer) => run.batches(&scorer, rows, stopped).await,
        Err(error) => Err(error.into()),
    };
    run.progress.end();
    // Whatever ended it, the rows that are written need not be scored again.
    if let Err(error) = ended {
        files.save()?;
        return Err(match error {
            ScoreError::Scorer(ScorerError::Client(ClientError::Stopped)) => ScoreError::Interrupted,
            error => error,
        });
    }
    let after = seen(&file).map_err(io_error)?;
    if (after.len(), after.modified().ok()) != (before.len(), before.modified().ok()) {
        return Err(ScoreError::InputChanged(options.input.clone()));
    }
    let (scored, rejected) = files.counts();
    finish(*files, &lines)?;
    Ok(Summary {
        scored,
        rejected,
        was_whole: false,
    })
}

#[cfg(feature = "parquet")]
fn finish(files: Files, lines: &Lines) -> Result<(), FilesError> {
    match lines.format {
        output::Format::Parquet => files.finish(Some(&|from, to| table::write(from, to, lines))),
        output::Format::Csv | output::Format::JsonLines => files.finish(None),
    }
}

#[cfg(not(feature = "parquet"))]
fn finish(files: Files, _lines: &Lines) -> Result<(), FilesError> {
    files.finish(None)
}

fn seen(file: &File) -> io::Result<Metadata> {
    file.metadata()
}

/// Reads the input once, beside the signals.
async fn mark(file: &File, mut stopped: watch::Receiver<bool>) -> Result<io::Result<Mark>, ScoreError> {
    let file = file.try_clone().map_err(system("open the input twice"))?;
    let read = tokio::task::spawn_blocking(move || Mark::of(&file));
    tokio::select! {
        Ok(_) = stopped.wait_for(|stop| *stop) => Err(ScoreError::Interrupted),
        read = read => read.map_err(|error| system("read the input")(io::Error::other(error))),
    }
}

/// The options that the output depends on.
fn fingerprint(options: &Options) -> Map<String, Value> {
    let wanted = &options.wanted;
    let members = [
        ("input-format", json!(format!("{:?}", options.format))),
        ("output-format", json!(format!("{:?}", options.output_format))),
        ("url", json!(options.url)),
        ("protocol", json!(format!("{:?}", options.protocol))),
        ("model", json!(options.model)),
        ("columns", json!(wanted.columns)),
        ("text-columns", json!(wanted.text)),
        (
            "keep",
            match &wanted.keep {
                Keep::None => json!("none"),
                Keep::All => json!("all"),
                Keep::Named(names) => json!(names),
            },
        ),
        (
            "rows-as",
            json!(wanted.form.map(|form| match form {
                Form::Value => "value",
                Form::List => "list",
                Form::Object => "object",
            })),
        ),
        ("row-numbers", json!(options.row_numbers)),
        ("max-row-bytes", json!(options.max_row_bytes)),
    ];
    members
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// What a run works with.
struct Run<'r> {
    options: &'r Options,
    lines: &'r Lines,
    files: &'r mut Files,
    progress: Progress,
    /// Bytes of the input.
    whole: u64,
}

impl Run<'_> {
    /// Scores all rows that are left.
    async fn batches(
        &mut self,
        scorer: &Scorer<'_>,
        rows: Box<dyn Rows>,
        mut stopped: watch::Receiver<bool>,
    ) -> Result<(), ScoreError> {
        let steps = reader::start(rows, self.options.rows_per_request, self.options.max_request_bytes);
        let steps = steps.map_err(system("start the reader"))?;
        let is_stopped = stopped.clone();
        let stop = async move {
            // An error: nobody will say stop any more.
            if stopped.wait_for(|stop| *stop).await.is_err() {
                std::future::pending().await
            }
        };
        let steps = stream::unfold(steps, |mut steps| async move { Some((steps.recv().await?, steps)) });
        let (most_bad, path) = (self.most_bad(), &self.options.input);
        let outcomes = steps.take_until(Box::pin(stop)).map(|step| async move {
            match step {
                Ok(Step::Batch(batch)) => Ok(Some((scorer.score(batch.entries, most_bad).await?, batch.end))),
                Ok(Step::End) => Ok(None),
                Err(error) => Err(ScoreError::Input {
                    path: path.clone(),
                    error,
                }),
            }
        });
        let mut outcomes = Box::pin(outcomes.buffered(self.options.concurrency));
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                outcome = outcomes.next() => match outcome {
                    Some(outcome) => match outcome? {
                        Some((outcomes, end)) => self.write(outcomes, end)?,
                        None => return Ok(()),
                    },
                    None if *is_stopped.borrow() => return Err(ScorerError::Client(ClientError::Stopped).into()),
                    None => return Err(ScoreError::Reader),
                },
                _ = looks.tick() => self.look(scorer),
            }
        }
    }

    /// Bad rows beyond which the run ends.
    fn most_bad(&self) -> u64 {
        match self.options.on_bad_row {
            OnBadRow::Stop => 0,
            OnBadRow::Skip(most) => most,
        }
    }

    /// Writes a batch, unless there is a bad row too many in it.
    fn write(&mut self, outcomes: Vec<Outcome>, end: Position) -> Result<(), ScoreError> {
        let mut lines = files::Lines::default();
        let (_, rejected) = self.files.counts();
        for outcome in outcomes {
            match outcome {
                Outcome::Scored {
                    row,
                    prediction,
                    version,
                } => {
                    self.lines.append(&mut lines.output, &row, &prediction, &version);
                    lines.scored += 1;
                }
                Outcome::Bad(bad) => {
                    lines.rejects += 1;
                    if rejected + lines.rejects > self.most_bad() {
                        return Err(match self.options.on_bad_row {
                            OnBadRow::Stop => ScoreError::BadRow(bad),
                            OnBadRow::Skip(most) => ScoreError::BadRows { most, last: bad },
                        });
                    }
                    output::append_rejected(&mut lines.rejected, &bad);
                }
            }
        }
        Ok(self.files.write(&lines, end)?)
    }

    fn look(&mut self, scorer: &Scorer<'_>) {
        let (scored, rejected) = self.files.counts();
        let (retries, last_failure) = scorer.retries();
        self.progress.show(&Look {
            scored,
            rejected,
            done: self.files.position().offset,
            whole: self.whole,
            retries,
            last_failure,
        });
    }
}
