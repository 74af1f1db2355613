//! Load beside something else: load-test processes, each with reports of its own, that run for as long as a demonstration takes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use shared::test_util::{Signal, Spawned};

use crate::terminal::{print, print_error, warn};

/// A request that takes longer has failed.
const LIMIT: &str = "5s";
/// Only a bound, in case the load is never ended.
const LONGEST: &str = "20m";

/// Exit status of a load that ended before it was to.
const ENDED_EARLY: i32 = 1;

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot start {}: {error}", path.display())]
    Start { path: PathBuf, error: io::Error },
    #[error("cannot end the load: {0}")]
    End(io::Error),
    #[error("cannot write {}: {error}", path.display())]
    Report { path: PathBuf, error: io::Error },
}

/// The requests of one load.
#[derive(Debug, Clone)]
pub struct Requests {
    pub url: String,
    pub rate: u32,
    pub connections: u32,
    /// More options of load-test.
    pub more: Vec<String>,
}

#[derive(Debug)]
struct Load {
    /// The reports' path without what tells them apart: .txt, .json, .html, .marks.
    report: PathBuf,
    /// `None` once it has ended.
    process: Option<Spawned>,
}

#[derive(Debug)]
pub struct Loads {
    load_test: PathBuf,
    reports: PathBuf,
    loads: Vec<Load>,
}

impl Loads {
    pub fn new(load_test: PathBuf, reports: PathBuf) -> Self {
        Self {
            load_test,
            reports,
            loads: Vec::new(),
        }
    }

    /// Gives true when any load was ever started.
    pub fn have_begun(&self) -> bool {
        !self.loads.is_empty()
    }

    /// Starts a load whose reports are called `name`, and gives its number.
    pub fn start(&mut self, name: &str, requests: &Requests) -> Result<usize, LoadError> {
        fs::create_dir_all(&self.reports).map_err(unwritable(&self.reports))?;
        let report = self.reports.join(name);
        let file = |extension| file_of(&report, extension);
        let create = |extension| File::create(file(extension)).map_err(unwritable(&file(extension)));
        create("marks")?;
        let output = Arc::new(create("txt")?);
        let mut command = Command::new(&self.load_test);
        command
            .args(["--url", &requests.url])
            .args(["--rate", &requests.rate.to_string()])
            .args(["--connections", &requests.connections.to_string()])
            .args(["--duration", LONGEST, "--timeout", LIMIT, "--quiet", "--marks"])
            .arg(file("marks"))
            .arg("--json")
            .arg(file("json"))
            .arg("--html")
            .arg(file("html"))
            .args(&requests.more)
            // Ctrl-C in the terminal reaches this program alone, which decides when the load ends.
            .process_group(0);
        let process = Spawned::start(command, append_to(&output), append_to(&output)).map_err(|error| {
            let path = self.load_test.clone();
            LoadError::Start { path, error }
        })?;
        self.loads.push(Load {
            report,
            process: Some(process),
        });
        Ok(self.loads.len() - 1)
    }

    /// Marks in every report what begins now.
    pub fn mark(&self, text: &str) -> Result<(), LoadError> {
        for load in &self.loads {
            let path = file_of(&load.report, "marks");
            let file = OpenOptions::new().append(true).open(&path);
            file.and_then(|mut file| writeln!(file, "{text}"))
                .map_err(unwritable(&path))?;
        }
        Ok(())
    }

    /// Ends what still runs, and waits for the requests under way. Gives the exit status: 0 when none failed.
    pub async fn end_all(&mut self) -> Result<i32, LoadError> {
        let mut status = 0;
        for number in 0..self.loads.len() {
            match self.end(number).await? {
                0 => {}
                failed => status = failed,
            }
        }
        Ok(status)
    }

    /// Ends one of them, and gives its exit status; 0 when it has ended before.
    pub async fn end(&mut self, number: usize) -> Result<i32, LoadError> {
        let load = &mut self.loads[number];
        let Some(mut process) = load.process.take() else {
            return Ok(0);
        };
        if process.exit_code().map_err(LoadError::End)?.is_some() {
            process.finish_output();
            warn("the load ended before its time:");
            print_error(text_of(&load.report)?);
            return Ok(ENDED_EARLY);
        }
        process.signal(Signal::TERM).map_err(LoadError::End)?;
        let status = process.exited().await.map_err(LoadError::End)?;
        process.finish_output();
        Ok(status)
    }

    /// Kills what still runs.
    pub fn drop_all(&mut self) {
        for load in &mut self.loads {
            load.process = None;
        }
    }

    /// Prints the summaries, and last the line "failed requests: N of M".
    pub fn show(&self) -> Result<(), LoadError> {
        let mut verdict = Some((0, 0));
        for load in &self.loads {
            let text = text_of(&load.report)?;
            let (summary, last) = split_last_line(&text);
            for line in summary.lines() {
                let indent = if line.is_empty() { "" } else { "    " };
                print(format_args!("{indent}{line}\n"));
            }
            print("\n");
            verdict = verdict
                .zip(failed_of(last))
                .map(|((failed, all), (more_failed, more))| (failed + more_failed, all + more));
        }
        match verdict {
            Some((failed, all)) => print(format_args!("failed requests: {failed} of {all}\n")),
            None => print("failed requests: unknown\n"),
        }
        Ok(())
    }
}

fn file_of(report: &Path, extension: &str) -> PathBuf {
    // Not `with_extension`: a report's own name may contain a dot.
    let mut path = report.as_os_str().to_owned();
    path.push(format!(".{extension}"));
    path.into()
}

fn unwritable(path: &Path) -> impl FnOnce(io::Error) -> LoadError {
    let path = path.to_owned();
    move |error| LoadError::Report { path, error }
}

fn append_to(file: &Arc<File>) -> impl FnMut(&str) + Send + 'static {
    let file = Arc::clone(file);
    move |line| {
        // A full disk costs the summary, which is missed when it is shown.
        let _missed = file.as_ref().write_all(line.as_bytes());
    }
}

fn text_of(report: &Path) -> Result<String, LoadError> {
    let path = file_of(report, "txt");
    fs::read_to_string(&path).map_err(|error| LoadError::Report { path, error })
}

fn split_last_line(text: &str) -> (&str, &str) {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.rsplit_once('\n').unwrap_or(("", text))
}

/// N and M of "failed requests: N of M".
fn failed_of(line: &str) -> Option<(u64, u64)> {
    let (failed, all) = line.strip_prefix("failed requests: ")?.split_once(" of ")?;
    Some((failed.parse().ok()?, all.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_summary_is_its_verdict() {
        assert_eq!(
            split_last_line("pods\n\nfailed requests: 3 of 1000\n"),
            ("pods\n", "failed requests: 3 of 1000")
        );
        assert_eq!(split_last_line("alone"), ("", "alone"));
        assert_eq!(failed_of("failed requests: 3 of 1000"), Some((3, 1000)));
        assert_eq!(failed_of("failed requests: unknown"), None);
        assert_eq!(failed_of("error: nothing answers"), None);
    }

    #[test]
    fn a_report_keeps_a_dot_in_its_name() {
        assert_eq!(file_of(Path::new("target/v1.0"), "json"), Path::new("target/v1.0.json"));
    }
}
