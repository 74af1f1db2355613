//! The command line's first words: which command is run, and what it ends with.

use std::ffi::OsString;

use crate::arguments::UsageError;
use crate::demo::Ended;
use crate::demos::{hpa, kill, reload, rolling_update, scale};
use crate::error::Error;
use crate::terminal::{print, print_error};
use crate::up;

const USAGE: &str = "Usage: lab up [options]
       lab demo scale|kill|reload|rolling-update|hpa [options]

scripts/up.sh, scripts/scale.sh and so on build this program and run it; --help after a command lists its options.
";

/// Runs the command that the arguments name, and gives the exit status.
pub async fn run(arguments: Vec<OsString>) -> u8 {
    let words: Vec<&str> = arguments.iter().map(|word| word.to_str().unwrap_or_default()).collect();
    let after = |words: usize| arguments[words..].to_vec();
    let (name, usage, ended) = match words.as_slice() {
        ["up", ..] => ("up", up::USAGE, run_up(after(1)).await),
        ["demo", "scale", ..] => ("scale", scale::USAGE, scale::run(after(2)).await),
        ["demo", "kill", ..] => ("kill", kill::USAGE, kill::run(after(2)).await),
        ["demo", "reload", ..] => ("reload", reload::USAGE, reload::run(after(2)).await),
        ["demo", "rolling-update", ..] => {
            let ended = rolling_update::run(after(2)).await;
            ("rolling-update", rolling_update::USAGE, ended)
        }
        ["demo", "hpa", ..] => ("hpa", hpa::USAGE, hpa::run(after(2)).await),
        ["--help" | "-h"] => ("", USAGE, Ok(Ended::Help)),
        other => {
            let error = UsageError::Unknown(other.join(" ")).into();
            print_error(USAGE);
            ("", USAGE, Err(error))
        }
    };
    match ended {
        Ok(Ended::Done) => 0,
        Ok(Ended::Help) => {
            print(usage);
            0
        }
        Err(error) => failed(name, &error),
    }
}

async fn run_up(arguments: Vec<OsString>) -> Result<Ended, Error> {
    match up::Options::parse(arguments)? {
        Some(options) => up::run(&options).await.map(|()| Ended::Done),
        None => Ok(Ended::Help),
    }
}

fn failed(name: &str, error: &Error) -> u8 {
    error.report();
    if error.is_usage() && !name.is_empty() {
        print_error(format_args!("       scripts/{name}.sh --help lists the options\n"));
    }
    error.exit_status()
}
