//! A running binary and everything it printed.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::spawned::Spawned;
use super::waiting::{DEADLINE, POLL};

/// Lines as they come, from both streams.
type Lines = Arc<Mutex<Vec<String>>>;

/// A process that is killed when the test lets go of it.
#[derive(Debug)]
pub struct Process {
    spawned: Spawned,
    stdout: Lines,
    stderr: Lines,
}

/// A process that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The exit status as a shell shows it: 128 + the number of the signal that ended it.
    pub code: i32,
    /// Everything on standard output.
    pub stdout: String,
    /// Everything on standard error.
    pub stderr: String,
}

impl Process {
    /// Starts `binary` with `environment` and `LOG_FORMAT=json`, and no other variable.
    pub fn start<K, V>(binary: impl AsRef<Path>, environment: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        Self::start_with(binary, &[], environment)
    }

    /// The same with command-line arguments.
    pub fn start_with<K, V>(
        binary: impl AsRef<Path>,
        arguments: &[&str],
        environment: impl IntoIterator<Item = (K, V)>,
    ) -> Self
    where
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        let binary = binary.as_ref();
        let mut command = Command::new(binary);
        command
            .args(arguments)
            .env_clear()
            .env("LOG_FORMAT", "json")
            .envs(environment);
        Self::spawn(command).unwrap_or_else(|error| panic!("cannot start {}: {error}", binary.display()))
    }

    /// Starts `command` as it is.
    pub fn spawn(command: Command) -> std::io::Result<Self> {
        let (stdout, stderr) = (Lines::default(), Lines::default());
        let spawned = Spawned::start(command, keep_in(&stdout), keep_in(&stderr))?;
        Ok(Self {
            spawned,
            stdout,
            stderr,
        })
    }

    /// The address that the log line `listening` names, once it is there.
    pub async fn listening(&self) -> SocketAddr {
        self.address_of("listening").await
    }

    /// The `address` of the log line with this `message`, as one can connect to it.
    pub async fn address_of(&self, message: &str) -> SocketAddr {
        let line = self.log_line(message).await;
        let address = line["address"].as_str().and_then(|text| text.parse().ok());
        let mut address: SocketAddr = address.unwrap_or_else(|| panic!("no address in {line}\n{}", self.output()));
        if address.ip().is_unspecified() {
            address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        address
    }

    /// The first log line with this `message`, once it is there.
    pub async fn log_line(&self, message: &str) -> Value {
        self.log_line_where(message, |line| line["message"] == message).await
    }

    /// The first log line that `matches`, once it is there.
    pub async fn log_line_where(&self, what: &str, matches: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(line) = self.log().into_iter().find(&matches) {
                return line;
            }
            // A process whose output ended will log no more.
            if self.spawned.is_silent() && !self.log().iter().any(&matches) {
                panic!("the process ended without logging {what:?}\n{}", self.output());
            }
            assert!(Instant::now() < deadline, "never logged {what:?}\n{}", self.output());
            sleep(POLL).await;
        }
    }

    /// Every line of standard output that is JSON.
    pub fn log(&self) -> Vec<Value> {
        let lines = lock(&self.stdout);
        lines
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Everything printed so far, for a failure's message.
    pub fn output(&self) -> String {
        let (stdout, stderr) = (text(&self.stdout), text(&self.stderr));
        format!("--- stdout of {}\n{stdout}--- stderr\n{stderr}---", self.spawned.id())
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.spawned.id()
    }

    /// Sends `signal`.
    pub fn signal(&self, signal: Signal) {
        self.spawned
            .signal(signal)
            .unwrap_or_else(|error| panic!("cannot send {signal:?}: {error}\n{}", self.output()));
    }

    /// True while the process runs.
    pub fn is_running(&mut self) -> bool {
        self.spawned.exit_code().expect("a child can be waited for").is_none()
    }

    /// Its output and its exit status, once it has ended.
    ///
    /// # Panics
    /// When it is still running after `deadline`.
    pub async fn wait_exit(&mut self, deadline: Duration) -> Finished {
        let Ok(exited) = timeout(deadline, self.spawned.exited()).await else {
            panic!("still running after {deadline:?}\n{}", self.output());
        };
        self.spawned.finish_output();
        Finished {
            code: exited.expect("a child can be waited for"),
            stdout: text(&self.stdout),
            stderr: text(&self.stderr),
        }
    }
}

fn keep_in(lines: &Lines) -> impl FnMut(&str) + Send + 'static {
    let lines = Arc::clone(lines);
    move |line| lock(&lines).push(line.to_owned())
}

/// A test that panicked while it held the lines has left them whole.
fn lock(lines: &Lines) -> std::sync::MutexGuard<'_, Vec<String>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

fn text(lines: &Lines) -> String {
    lock(lines).concat()
}
