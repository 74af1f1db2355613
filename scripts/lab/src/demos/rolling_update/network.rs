//! A network namespace: all that translates addresses is in there, and ends with the processes in it. Nothing of the machine's own
//! network is touched.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::binaries::is_installed;
use crate::environment::given;
use crate::error::NetworkError;

/// Set for this program when it runs in there.
const INSIDE: &str = "IN_NETWORK";

pub(super) fn is_inside() -> bool {
    given(INSIDE).is_some()
}

/// Becomes the same command with these arguments in a network of its own; comes back with the reason when it cannot.
pub(super) fn enter(arguments: &[OsString], services: &Path, load_test: &Path) -> NetworkError {
    let how = match unshare() {
        Ok(how) => how,
        Err(error) => return error,
    };
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return cannot_run("lab", error),
    };
    let mut command = Command::new("unshare");
    command
        .args(how)
        .arg(program)
        .args(["demo", "rolling-update"])
        .args(arguments)
        .arg("--bin-dir")
        .arg(services)
        .env(INSIDE, "yes")
        .env("LOAD_TEST", load_test);
    cannot_run("unshare", command.exec())
}

/// The arguments of unshare, when every tool is installed and a trial succeeds.
fn unshare() -> Result<&'static [&'static str], NetworkError> {
    if !cfg!(target_os = "linux") {
        return Err(NetworkError::NotLinux);
    }
    for tool in ["unshare", "ip", "iptables", "iptables-restore"] {
        if !is_installed(tool) {
            return Err(NetworkError::NoTool(tool));
        }
    }
    let how: &[&str] = match rustix::process::getuid().is_root() {
        true => &["--net"],
        false => &["--user", "--map-root-user", "--net"],
    };
    let mut trial = Command::new("unshare");
    let trial = trial.args(how).arg("true").stderr(Stdio::null()).status();
    match trial.is_ok_and(|status| status.success()) {
        true => Ok(how),
        false => Err(NetworkError::NoNamespace(format!("unshare {}", how.join(" ")))),
    }
}

fn cannot_run(program: &str, error: io::Error) -> NetworkError {
    let program = program.to_owned();
    NetworkError::Run { program, error }
}
