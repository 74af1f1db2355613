//! `batch-score`: scores a file of rows through the gateway. README.md says how.

use std::io::{self, Write};
use std::process::ExitCode;

use batch_score::arguments::{self, Command, HELP, Options};
use batch_score::client::ClientError;
use batch_score::files::FilesError;
use batch_score::score::{self, ScoreError, Summary};
use batch_score::scorer::ScorerError;

const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_UNAVAILABLE: u8 = 3;
const EXIT_BAD_ROWS: u8 = 4;
const EXIT_CHECKPOINT: u8 = 5;
const EXIT_INTERRUPTED: u8 = 6;

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Usage(#[from] arguments::UsageError),
    #[error(transparent)]
    Score(#[from] ScoreError),
    #[error("cannot {what}: {error}")]
    System { what: &'static str, error: io::Error },
}

impl Error {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => EXIT_USAGE,
            Self::System { .. } => EXIT_FAILED,
            Self::Score(error) => match error {
                ScoreError::Files(FilesError::Exists(_)) => EXIT_USAGE,
                ScoreError::Files(FilesError::Checkpoint { .. }) => EXIT_CHECKPOINT,
                ScoreError::Scorer(ScorerError::Client(ClientError::Unavailable { .. })) => EXIT_UNAVAILABLE,
                ScoreError::BadRow(_) | ScoreError::BadRows { .. } => EXIT_BAD_ROWS,
                ScoreError::Interrupted => EXIT_INTERRUPTED,
                ScoreError::Cut(signal) => signal.exit_code(),
                ScoreError::Input { .. }
                | ScoreError::InputChanged(_)
                | ScoreError::Files(_)
                | ScoreError::Scorer(_)
                | ScoreError::Reader
                | ScoreError::System { .. } => EXIT_FAILED,
            },
        }
    }

    /// What to do about it.
    fn advice(&self) -> &'static str {
        match self.exit_code() {
            EXIT_USAGE => "\n       batch-score --help lists the options",
            EXIT_UNAVAILABLE => "\n       the same command goes on from here",
            EXIT_BAD_ROWS => "\n       --on-bad-row skip and --max-bad-rows go on without such rows",
            _ => "",
        }
    }
}

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1);
    let ended = match arguments::parse(arguments, std::env::var_os("API_KEY")) {
        Ok(Command::Help) => say(HELP),
        Ok(Command::Version) => say(concat!("batch-score ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Command::Run(options)) => run(&options),
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With standard error gone there is no place left to report to.
            let _unreported = writeln!(io::stderr(), "error: {error}{}", error.advice());
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(options: &Options) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::System {
        what: "start the runtime",
        error,
    })?;
    let ended = runtime.block_on(score::run(options));
    // A thread that reads the input is not waited for.
    runtime.shutdown_background();
    let summary = ended?;
    let output = options.output.display();
    match summary {
        Summary { was_whole: true, .. } => say(&format!("{output} was whole already\n")),
        Summary {
            scored, rejected: 0, ..
        } => say(&format!("{scored} rows scored: {output}\n")),
        Summary { scored, rejected, .. } => say(&format!(
            "{scored} rows scored: {output}\n{rejected} rows rejected: {output}.rejected.jsonl\n"
        )),
    }
}

/// Prints to standard output. A reader that went away (`| head`) is no fault of ours.
fn say(text: &str) -> Result<(), Error> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let what = "write to standard output";
            Err(Error::System { what, error })
        }
        _ => Ok(()),
    }
}
