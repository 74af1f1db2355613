//! A child process, its output line by line: what [`Process`](super::Process) and scripts/lab start the services with.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use super::waiting::POLL;

/// A process without input, which is killed when its owner lets go of it.
#[derive(Debug)]
pub struct Spawned {
    child: Child,
    readers: Vec<JoinHandle<()>>,
}

impl Spawned {
    /// Starts `command`. Each line of its output, with its end, goes to `stdout` or to `stderr` as it comes, on threads of their own.
    pub fn start(
        mut command: Command,
        stdout: impl FnMut(&str) + Send + 'static,
        stderr: impl FnMut(&str) + Send + 'static,
    ) -> io::Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut readers = Vec::new();
        if let Some(stream) = child.stdout.take() {
            readers.push(thread::spawn(move || read_lines(stream, stdout)));
        }
        if let Some(stream) = child.stderr.take() {
            readers.push(thread::spawn(move || read_lines(stream, stderr)));
        }
        Ok(Self { child, readers })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends `signal` to the process; an error when it has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// The exit status as a shell shows it, once the process has ended: 128 + the number of the signal that ended it.
    pub fn exit_code(&mut self) -> io::Result<Option<i32>> {
        Ok(self.child.try_wait()?.map(code))
    }

    /// Waits for the end. A child can only be polled without a thread or a signal handler of its own.
    pub async fn exited(&mut self) -> io::Result<i32> {
        loop {
            if let Some(code) = self.exit_code()? {
                return Ok(code);
            }
            sleep(POLL).await;
        }
    }

    /// True when both streams have ended: no line will come any more.
    pub fn is_silent(&self) -> bool {
        self.readers.iter().all(JoinHandle::is_finished)
    }

    /// Waits, after the end, until the last lines have reached their receivers.
    pub fn finish_output(&mut self) {
        for reader in self.readers.drain(..) {
            // A reader that panicked has shown it already.
            let _ended = reader.join();
        }
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn read_lines(stream: impl Read, mut receive: impl FnMut(&str)) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    while matches!(stream.read_until(b'\n', &mut line), Ok(1..)) {
        receive(&String::from_utf8_lossy(&line));
        line.clear();
    }
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;

    let by_signal = status.signal().map(|signal| 128 + signal);
    status.code().or(by_signal).unwrap_or(-1)
}
