//! One process of the pair: started, waited for, ended in order.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shared::test_util::{Signal, Spawned};
use tokio::time::{Instant, sleep, timeout};

use crate::environment::given;
use crate::probe::Probe;
use crate::terminal::{prefix, print, print_error, warn};

const READY_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Time for a process's end beyond its drain.
const SLACK: Duration = Duration::from_secs(5);
/// Lines that are shown of a process that ended by itself.
const LAST_LINES: usize = 20;

#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("{name} cannot be started: {error}")]
    Start { name: String, error: io::Error },
    #[error("{name} ended by itself with status {status}{}", meaning(*status))]
    Ended {
        name: String,
        status: i32,
        last_lines: String,
    },
    #[error("{name} is not ready after {} s: {url} does not answer 200", READY_WITHIN.as_secs())]
    NotReady { name: String, url: String },
    #[error("no replica is left")]
    NoReplica,
    #[error("{name} cannot be waited for: {error}")]
    Wait { name: String, error: io::Error },
}

fn meaning(status: i32) -> &'static str {
    match status {
        78 => ": a setting is wrong",
        126 | 127 => ": the program cannot be executed",
        137 => ": killed",
        _ => "",
    }
}

/// The destination of a process's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// The terminal, each line after the process's name.
    Terminal,
    /// The last lines only, which are shown when the process ends by itself.
    Kept,
}

/// Program and environment of a process.
#[derive(Debug)]
pub struct Program {
    pub binary: PathBuf,
    /// Variables beside this program's own environment.
    pub environment: Vec<(String, OsString)>,
    pub without: &'static [&'static str],
}

#[derive(Debug)]
pub struct Service {
    name: String,
    spawned: Spawned,
    output: Output,
    last_lines: LastLines,
}

type LastLines = Arc<Mutex<VecDeque<String>>>;

impl Service {
    pub fn start(name: String, program: Program, output: Output) -> Result<Self, ServiceError> {
        let mut command = Command::new(&program.binary);
        command.envs(program.environment);
        for variable in program.without {
            command.env_remove(variable);
        }
        // A group of its own: Ctrl-C in the terminal reaches this program alone, and every service gets exactly one signal. Its
        // second would end it at once.
        command.process_group(0);
        let last_lines = LastLines::default();
        let receive = || receiver(&name, output, &last_lines);
        match Spawned::start(command, receive(), receive()) {
            Ok(spawned) => Ok(Self {
                name,
                spawned,
                output,
                last_lines,
            }),
            Err(error) => Err(ServiceError::Start { name, error }),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until `url` answers 200, as long as the process lives.
    pub async fn ready(&mut self, probe: &Probe, url: &str) -> Result<(), ServiceError> {
        let deadline = Instant::now() + READY_WITHIN;
        while !probe.answers_200(url).await {
            self.still_runs()?;
            if Instant::now() >= deadline {
                let (name, url) = (self.name.clone(), url.to_owned());
                return Err(ServiceError::NotReady { name, url });
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// An error when the process has ended.
    pub fn still_runs(&mut self) -> Result<(), ServiceError> {
        let name = self.name.clone();
        match self.spawned.exit_code() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                self.spawned.finish_output();
                let last_lines = self.last_lines();
                Err(ServiceError::Ended {
                    name,
                    status,
                    last_lines,
                })
            }
            Err(error) => Err(ServiceError::Wait { name, error }),
        }
    }

    fn last_lines(&self) -> String {
        match self.output {
            Output::Terminal => format!("    its last lines are above, after \"{}\"\n", self.name),
            Output::Kept => {
                let lines = self.last_lines.lock().unwrap_or_else(PoisonError::into_inner);
                lines.iter().map(|line| format!("    {line}")).collect()
            }
        }
    }

    /// Sends a signal; a process that has ended gets none.
    pub fn signal(&mut self, signal: Signal) {
        if matches!(self.spawned.exit_code(), Ok(None)) {
            // It may end between the look and the signal, which is what the signal is for.
            let _ended = self.spawned.signal(signal);
        }
    }

    /// Waits, after SIGTERM, until the drain is over, and gives the exit status. Kills what takes far too long.
    pub async fn stopped(&mut self) -> i32 {
        let exited = match timeout(drain_takes() + SLACK, self.spawned.exited()).await {
            Ok(exited) => exited,
            Err(_) => {
                warn(format_args!(
                    "{} is still there long after SIGTERM: killing it",
                    self.name
                ));
                self.signal(Signal::KILL);
                self.spawned.exited().await
            }
        };
        self.spawned.finish_output();
        exited.unwrap_or(-1)
    }
}

impl ServiceError {
    /// Says that a process ended, and shows its last lines.
    pub fn report(&self) {
        warn(self);
        if let Self::Ended { last_lines, .. } = self {
            print_error(last_lines);
        }
    }
}

fn receiver(name: &str, output: Output, last_lines: &LastLines) -> impl FnMut(&str) + Send + 'static {
    let start = prefix(name);
    let last_lines = Arc::clone(last_lines);
    move |line| match output {
        Output::Terminal => print(format_args!("{start}{}\n", line.trim_end_matches('\n'))),
        Output::Kept => {
            let mut lines = last_lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() == LAST_LINES {
                lines.pop_front();
            }
            lines.push_back(line.to_owned());
        }
    }
}

/// A short drain, so that Ctrl-C is quick; a pod keeps the services' own default.
const DRAIN: [(&str, &str); 2] = [("DRAIN_WINDOW", "1"), ("DRAIN_TIMEOUT", "20")];

/// The drain's settings, as every service of this pair gets them.
pub(super) fn drain_settings() -> Vec<(String, OsString)> {
    let setting = |(name, default): (&str, &str)| (name.to_owned(), given(name).unwrap_or_else(|| default.into()));
    DRAIN.into_iter().map(setting).collect()
}

/// The two settings may be fractions of a second; whole seconds and some slack are enough here.
fn drain_takes() -> Duration {
    let seconds = drain_settings().into_iter().map(|(_, value)| {
        let value = value.to_string_lossy();
        let whole = value.split('.').next().and_then(|whole| whole.parse().ok());
        whole.unwrap_or(READY_WITHIN.as_secs())
    });
    Duration::from_secs(seconds.sum())
}
