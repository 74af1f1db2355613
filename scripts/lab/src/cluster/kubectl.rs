//! kubectl, one call at a time: every call names the context, so that a switch in another terminal changes nothing here.

use std::io;
use std::process::{ExitStatus, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

#[derive(Debug, thiserror::Error)]
pub enum KubectlError {
    #[error("cannot run kubectl: {0}")]
    Start(io::Error),
    /// kubectl's own message is on standard error.
    #[error("kubectl {0} failed")]
    Failed(String),
}

#[derive(Debug, Clone, Default)]
pub struct Kubectl {
    /// Options before the arguments of every call.
    before: Vec<String>,
    /// Output goes to standard error: the last line on standard output is the verdict.
    aside: bool,
}

/// The output of a call.
#[derive(Debug)]
pub struct Printed {
    pub succeeded: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Kubectl {
    /// kubectl in a context, outside of any namespace.
    pub fn in_context(context: &str) -> Self {
        Self {
            before: vec!["--context".to_owned(), context.to_owned()],
            aside: false,
        }
    }

    pub fn in_namespace(&self, namespace: &str) -> Self {
        let mut before = self.before.clone();
        before.extend(["--namespace".to_owned(), namespace.to_owned()]);
        Self { before, ..*self }
    }

    /// The same with all that calls print on standard error.
    pub fn aside(&self) -> Self {
        let mut kubectl = self.clone();
        kubectl.aside = true;
        kubectl
    }

    /// Runs it with its output on the terminal.
    pub async fn run(&self, arguments: &[&str]) -> Result<(), KubectlError> {
        let status = self.command(arguments).status().await;
        self.check(arguments, status)
    }

    /// Runs it with its standard output thrown away.
    pub async fn run_silently(&self, arguments: &[&str]) -> Result<(), KubectlError> {
        let mut command = self.command(arguments);
        command.stdout(Stdio::null());
        self.check(arguments, command.status().await)
    }

    /// Runs it and gives what it printed on standard output, without newlines at the end.
    pub async fn read(&self, arguments: &[&str]) -> Result<String, KubectlError> {
        let mut command = self.command(arguments);
        let output = command
            .stderr(Stdio::inherit())
            .output()
            .await
            .map_err(KubectlError::Start)?;
        match output.status.success() {
            true => Ok(trimmed(&output.stdout)),
            false => Err(failed(arguments)),
        }
    }

    /// Runs it with nothing on the terminal, whether it succeeds or not.
    pub async fn look(&self, arguments: &[&str]) -> Result<Printed, KubectlError> {
        let output = self.command(arguments).output().await.map_err(KubectlError::Start)?;
        Ok(Printed {
            succeeded: output.status.success(),
            stdout: trimmed(&output.stdout),
            stderr: trimmed(&output.stderr),
        })
    }

    /// Runs it with its standard output on the terminal, and gives what it says besides.
    pub async fn watch(&self, arguments: &[&str]) -> Result<Printed, KubectlError> {
        let mut command = self.command(arguments);
        let output = command
            .stdout(Stdio::inherit())
            .output()
            .await
            .map_err(KubectlError::Start)?;
        Ok(Printed {
            succeeded: output.status.success(),
            stdout: String::new(),
            stderr: trimmed(&output.stderr),
        })
    }

    /// Runs it with `input` on its standard input.
    pub async fn feed(&self, arguments: &[&str], input: &str) -> Result<(), KubectlError> {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().map_err(KubectlError::Start)?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that ends without reading says why itself.
            let _unread = stdin.write_all(input.as_bytes()).await;
        }
        self.check(arguments, child.wait().await)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command
            .args(&self.before)
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if self.aside {
            command.stdout(io::stderr());
        }
        command
    }

    fn check(&self, arguments: &[&str], status: io::Result<ExitStatus>) -> Result<(), KubectlError> {
        match status.map_err(KubectlError::Start)?.success() {
            true => Ok(()),
            false => Err(failed(arguments)),
        }
    }
}

fn failed(arguments: &[&str]) -> KubectlError {
    KubectlError::Failed(arguments[..arguments.len().min(2)].join(" "))
}

fn trimmed(output: &[u8]) -> String {
    String::from_utf8_lossy(output).trim_end_matches('\n').to_owned()
}
