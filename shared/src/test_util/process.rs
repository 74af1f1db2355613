//! A running binary and everything it printed.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::waiting::{DEADLINE, POLL};

/// Lines as they come, from both streams.
type Lines = Arc<Mutex<Vec<String>>>;

/// A process that is killed when the test lets go of it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: Lines,
    stderr: Lines,
    readers: Vec<JoinHandle<()>>,
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
        let mut child = Command::new(binary)
            .args(arguments)
            .env_clear()
            .env("LOG_FORMAT", "json")
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", binary.display()));
        let mut readers = Vec::new();
        let stdout = child.stdout.take().map(|stream| collect(stream, &mut readers));
        let stderr = child.stderr.take().map(|stream| collect(stream, &mut readers));
        Self {
            child,
            stdout: stdout.unwrap_or_default(),
            stderr: stderr.unwrap_or_default(),
            readers,
        }
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
            let silent = self.readers.iter().all(JoinHandle::is_finished);
            if silent && !self.log().iter().any(&matches) {
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
        format!("--- stdout of {}\n{stdout}--- stderr\n{stderr}---", self.child.id())
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends `signal`.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal)
            .unwrap_or_else(|error| panic!("cannot send {signal:?}: {error}\n{}", self.output()));
    }

    /// True while the process runs.
    pub fn is_running(&mut self) -> bool {
        self.exit_status().is_none()
    }

    /// Its output and its exit status, once it has ended.
    ///
    /// # Panics
    /// When it is still running after `deadline`.
    pub async fn wait_exit(&mut self, deadline: Duration) -> Finished {
        let end = Instant::now() + deadline;
        let status = loop {
            if let Some(status) = self.exit_status() {
                break status;
            }
            assert!(
                Instant::now() < end,
                "still running after {deadline:?}\n{}",
                self.output()
            );
            sleep(POLL).await;
        };
        for reader in self.readers.drain(..) {
            // A reader that panicked has shown it already.
            let _ended = reader.join();
        }
        Finished {
            code: code(status),
            stdout: text(&self.stdout),
            stderr: text(&self.stderr),
        }
    }

    fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn collect(stream: impl Read + Send + 'static, readers: &mut Vec<JoinHandle<()>>) -> Lines {
    let lines = Lines::default();
    let kept = Arc::clone(&lines);
    readers.push(thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(stream.read_until(b'\n', &mut line), Ok(1..)) {
            lock(&kept).push(String::from_utf8_lossy(&line).into_owned());
            line.clear();
        }
    }));
    lines
}

/// A test that panicked while it held the lines has left them whole.
fn lock(lines: &Lines) -> std::sync::MutexGuard<'_, Vec<String>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

fn text(lines: &Lines) -> String {
    lock(lines).concat()
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;

    let by_signal = status.signal().map(|signal| 128 + signal);
    status.code().or(by_signal).unwrap_or(-1)
}
