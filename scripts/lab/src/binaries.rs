//! The programs that are run: built with cargo, or taken from where they are.

use std::env;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::environment::given;
use crate::terminal::say;

#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    #[error("cargo is missing")]
    NoCargo,
    #[error("the build failed: see above")]
    Build,
    #[error("cargo does not say where it puts what it builds")]
    NoTarget,
    #[error("no such directory: {0}")]
    NoDirectory(String),
    #[error("{0} is missing or cannot be executed")]
    Missing(PathBuf),
    #[error("{0} (LOAD_TEST) is missing or cannot be executed")]
    NoLoadTest(String),
}

/// The top of the repository.
pub fn repository() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).to_owned()
}

/// The directory of the loads' reports; LOAD_REPORTS names another, so that two may run at a time.
pub fn reports() -> PathBuf {
    given("LOAD_REPORTS").map_or_else(|| repository().join("target/load-test"), PathBuf::from)
}

/// Gives true when a program of this name is in PATH.
pub fn is_installed(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| is_executable(&directory.join(name)))
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Builds both services and gives their directory.
pub fn build_services(release: bool) -> Result<PathBuf, BinaryError> {
    need_cargo()?;
    let mut arguments = vec!["build", "--bin", "gateway", "--bin", "ml-inference"];
    arguments.extend(release.then_some("--release"));
    say(format_args!("building: cargo {}", arguments.join(" ")));
    cargo(&arguments)?;
    Ok(target_directory()?.join(if release { "release" } else { "debug" }))
}

/// The directory of services that were built before.
pub fn given_services(directory: &str) -> Result<PathBuf, BinaryError> {
    let path = Path::new(directory)
        .canonicalize()
        .ok()
        .filter(|path| path.is_dir())
        .ok_or_else(|| BinaryError::NoDirectory(directory.to_owned()))?;
    for name in ["gateway", "ml-inference"] {
        let binary = path.join(name);
        if !is_executable(&binary) {
            return Err(BinaryError::Missing(binary));
        }
    }
    Ok(path)
}

/// The load test: the one that LOAD_TEST names, or else one that is built.
pub fn load_test() -> Result<PathBuf, BinaryError> {
    if let Some(named) = given("LOAD_TEST") {
        let path = PathBuf::from(&named);
        let usable = is_executable(&path);
        return match usable {
            true => Ok(path),
            false => Err(BinaryError::NoLoadTest(named.to_string_lossy().into_owned())),
        };
    }
    need_cargo()?;
    let binary = target_directory()?.join("debug/load-test");
    if !is_executable(&binary) {
        say("building the load test (once)");
    }
    cargo(&["build", "--quiet", "--package", "load-test"])?;
    Ok(binary)
}

fn need_cargo() -> Result<(), BinaryError> {
    match is_installed("cargo") {
        true => Ok(()),
        false => Err(BinaryError::NoCargo),
    }
}

fn cargo(arguments: &[&str]) -> Result<(), BinaryError> {
    let status = command(arguments).stdin(Stdio::null()).status();
    match status.is_ok_and(|status| status.success()) {
        true => Ok(()),
        false => Err(BinaryError::Build),
    }
}

/// The directory in which cargo builds for this machine; a profile's directory comes after it.
fn target_directory() -> Result<PathBuf, BinaryError> {
    let output = command(&["metadata", "--format-version", "1", "--no-deps"])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|_| BinaryError::NoTarget)?;
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|_| BinaryError::NoTarget)?;
    let directory = metadata["target_directory"].as_str().ok_or(BinaryError::NoTarget)?;
    let target = env::var_os("CARGO_BUILD_TARGET").unwrap_or_default();
    Ok(Path::new(directory).join::<&OsStr>(&target))
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(arguments).current_dir(repository());
    command
}
