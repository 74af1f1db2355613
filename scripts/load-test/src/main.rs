//! `load-test`: puts load on a URL and ends in a verdict. scripts/load-test.sh builds and runs it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use load_test::arguments::{self, Command, HELP, Options};
use load_test::load::{self, LoadError};
use load_test::report::Report;
use load_test::{html, summary};

const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_UNAVAILABLE: u8 = 3;

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Usage(#[from] arguments::UsageError),
    #[error("--{argument}: cannot write {}: {error}", path.display())]
    Unwritable {
        argument: &'static str,
        path: PathBuf,
        error: io::Error,
    },
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("cannot {what}: {error}")]
    System { what: &'static str, error: io::Error },
}

impl Error {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Unwritable { .. } => EXIT_USAGE,
            Self::Load(LoadError::Unavailable { .. }) => EXIT_UNAVAILABLE,
            Self::Load(LoadError::NotBegun | LoadError::System { .. }) | Self::System { .. } => EXIT_FAILED,
        }
    }

    /// What to do about it.
    fn advice(&self) -> &'static str {
        match self {
            Self::Usage(_) => "\n       scripts/load-test.sh --help lists the options",
            Self::Load(LoadError::Unavailable { .. }) => {
                "\n       start the pair with scripts/up.sh, deploy it with scripts/deploy.sh, or name another address with --url"
            }
            _ => "",
        }
    }
}

fn main() -> ExitCode {
    let ended = match arguments::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => say(HELP),
        Ok(Command::Run(options)) => run(&options),
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            // With standard error gone there is no place left to report to.
            let _unreported = writeln!(io::stderr(), "error: {error}{}", error.advice());
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(options: &Options) -> Result<ExitCode, Error> {
    // Opened before the load: a report that cannot be saved is known before minutes went into it.
    let json = create("json", options.json.as_deref())?;
    let page = create("html", options.html.as_deref())?;
    let system = |what| move |error| Error::System { what, error };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let finished = runtime
        .map_err(system("start the runtime"))?
        .block_on(load::run(options))?;
    let report = Report::new(options, finished);
    if let Some(file) = json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| system("make the JSON")(error.into()))?;
        save(file, &format!("{text}\n")).map_err(system("save the JSON"))?;
    }
    if let Some(file) = page {
        save(file, &html::page(&report)).map_err(system("save the page"))?;
    }
    let mut saved = String::new();
    for path in [&options.json, &options.html].into_iter().flatten() {
        saved.push_str(&format!("saved: {}\n", path.display()));
    }
    say(&format!("{}\n{saved}{}\n", summary::text(&report), report.verdict()))?;
    Ok(if report.passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_FAILED)
    })
}

fn create(argument: &'static str, path: Option<&Path>) -> Result<Option<File>, Error> {
    let create = |path: &Path| {
        // The report before stays until there is another.
        let open = OpenOptions::new().create(true).write(true).truncate(false).open(path);
        open.map_err(|error| Error::Unwritable {
            argument,
            path: path.to_owned(),
            error,
        })
    };
    path.map(create).transpose()
}

fn save(mut file: File, text: &str) -> io::Result<()> {
    // A pipe has nothing in it to be rid of.
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    file.write_all(text.as_bytes())
}

/// Prints to standard output. A reader that went away (`| head`) is no fault of ours.
fn say(text: &str) -> Result<ExitCode, Error> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let what = "write to standard output";
            Err(Error::System { what, error })
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}
