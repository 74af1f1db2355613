//! A script's surroundings: stand-ins for the tools that it calls, and the files that say what they answer.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::{binary, installed, repository};
use shared::test_util::{Finished, Process, Scratch};

use crate::server;

/// Longer than any of the scripts takes with stand-ins on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The ordinary tools that scripts may use; nothing else of the machine's own (a docker, a cluster) can be reached.
const TOOLS: &str = "bash env awk sed grep tr sort head tail cat cut od mktemp mkdir rm cp mv ln ls chmod touch id dirname basename \
                     install sleep date uname diff curl";

pub(crate) struct Stage {
    scratch: Scratch,
    variables: BTreeMap<String, String>,
}

/// A script that ended.
pub(crate) struct Ran {
    finished: Finished,
}

impl Stage {
    /// A stage with kubectl, whose current context is a kind cluster.
    pub(crate) fn new() -> Self {
        Self::with("kubectl")
    }

    /// A stage with exactly these stand-ins.
    pub(crate) fn with(stand_ins: &str) -> Self {
        let scratch = Scratch::new("scripts");
        for directory in ["fake/namespaces", "fake/secrets", "bin", "tools", "home"] {
            fs::create_dir_all(scratch.path().join(directory)).expect("writable");
        }
        for tool in TOOLS.split_whitespace() {
            if let Some(path) = installed(tool) {
                link(&path, &scratch.path().join("tools").join(tool));
            }
        }
        for name in stand_ins.split_whitespace() {
            let file = if name == "kubectl" { "kubectl" } else { "engine" };
            link(&stand_in(file), &scratch.path().join("bin").join(name));
        }
        let mut stage = Self {
            scratch,
            variables: BTreeMap::new(),
        };
        let port = server::start(&stage.files());
        stage.set("calls", "");
        stage.set("context", "kind-mlops-lab");
        stage.set("node-port", &port.to_string());
        stage.set("minikube-ip", "localhost");
        stage.set_variable("LOAD_TEST", stand_in("load-test").to_str().expect("UTF-8"));
        stage
    }

    /// The pair, deployed: three replicas of version 1.0, and a load that loses nothing.
    pub(crate) fn deployed() -> Self {
        let stage = Self::new();
        stage.load_finds(0, 1000);
        stage.touch("namespaces/mlops-lab");
        stage.set("image", "ml-inference:1.0");
        stage.set("gateway-image", "api-gateway:1.0");
        stage
    }

    /// The files that say what the stand-ins answer, and that they write to.
    pub(crate) fn files(&self) -> PathBuf {
        self.scratch.path().join("fake")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.files().join(name)
    }

    pub(crate) fn set(&self, name: &str, text: &str) {
        let text = if text.is_empty() {
            String::new()
        } else {
            format!("{text}\n")
        };
        fs::write(self.path(name), text).expect("writable");
    }

    pub(crate) fn touch(&self, name: &str) {
        self.set(name, "");
    }

    /// A program in PATH that is this text of shell.
    pub(crate) fn set_program(&self, name: &str, text: &str) {
        let path = self.scratch.path().join("bin").join(name);
        fs::write(&path, format!("#!/usr/bin/env bash\n{text}\n")).expect("writable");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("it is there");
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("it is there");
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// The text of a file, without the newline at its end.
    pub(crate) fn read(&self, name: &str) -> String {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.trim_end_matches('\n').to_owned()
    }

    /// kubectl's standard input, call by call.
    pub(crate) fn inputs(&self) -> Vec<String> {
        let entries = fs::read_dir(self.files()).expect("readable");
        let mut inputs: Vec<(usize, String)> = entries
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok()?;
                let call = name.strip_prefix("stdin.")?.parse().ok()?;
                Some((call, self.read(&name)))
            })
            .collect();
        inputs.sort();
        inputs.into_iter().map(|(_, text)| text).collect()
    }

    /// The requests that the load test will have seen.
    pub(crate) fn load_finds(&self, failed: u32, requests: u32) {
        let summary = format!("pods and latencies\nfailed requests: {failed} of {requests}");
        self.set("load-summary", &summary);
        self.set("load-status", if failed == 0 { "0" } else { "1" });
    }

    /// A variable of every script that is run.
    pub(crate) fn set_variable(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    /// Starts a script with these arguments.
    pub(crate) fn start(&self, script: &str, arguments: &[&str]) -> Process {
        let directory = |name: &str| self.scratch.path().join(name).display().to_string();
        let mut command = Command::new("bash");
        command
            .arg(repository().join("scripts").join(script))
            .args(arguments)
            .env_clear()
            .env("PATH", format!("{}:{}", directory("bin"), directory("tools")))
            .env("HOME", directory("home"))
            .env("FAKE", self.files())
            .env("NO_COLOR", "1")
            .env("LAB", binary("lab"))
            .env("LOAD_REPORTS", directory("reports"))
            .env("REAL_KUBECTL", installed("kubectl").unwrap_or_default())
            .envs(&self.variables);
        Process::spawn(command).unwrap_or_else(|error| panic!("cannot start {script}: {error}"))
    }

    /// Runs a script with these arguments to its end.
    pub(crate) async fn run(&self, script: &str, arguments: &[&str]) -> Ran {
        let finished = self.start(script, arguments).wait_exit(PATIENCE).await;
        Ran { finished }
    }

    /// Runs a script whose arguments have no spaces.
    pub(crate) async fn run_line(&self, line: &str) -> Ran {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.run(words[0], &words[1..]).await
    }
}

impl Ran {
    pub(crate) fn of(finished: Finished) -> Self {
        Self { finished }
    }

    /// Both streams.
    pub(crate) fn output(&self) -> String {
        format!("{}{}", self.finished.stdout, self.finished.stderr)
    }

    #[track_caller]
    pub(crate) fn ends_with(&self, status: i32) -> &Self {
        assert_eq!(self.finished.code, status, "exit status; output: {}", self.output());
        self
    }

    #[track_caller]
    pub(crate) fn says(&self, texts: &[&str]) -> &Self {
        let output = self.output();
        for text in texts {
            assert!(output.contains(text), "not in the output: {text}\noutput: {output}");
        }
        self
    }

    #[track_caller]
    pub(crate) fn does_not_say(&self, text: &str) -> &Self {
        let output = self.output();
        assert!(!output.contains(text), "in the output: {text}\noutput: {output}");
        self
    }

    /// The last line on standard output is the load's verdict.
    #[track_caller]
    pub(crate) fn concludes(&self, verdict: &str) -> &Self {
        assert_eq!(self.finished.stdout.lines().last(), Some(verdict), "{}", self.output());
        self
    }
}

fn stand_in(name: &str) -> PathBuf {
    repository().join("scripts/e2e/tests/scripts/stand-ins").join(name)
}

fn link(to: &Path, from: &Path) {
    std::os::unix::fs::symlink(to, from).expect("writable");
}
