//! The library itself: loaded, checked, and told where its log lines go.

use std::env;
use std::error::Error;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use ort::LoadDynamicError;
use ort::environment::{Environment, GlobalThreadPoolOptions};
use ort::logging::LogLevel;
use tracing::{debug, error, warn};

use super::model::Session;
use crate::error::{LoadError, OnnxRuntimeError};
use crate::interface::ModelRuntime;
use crate::onnx::OnnxModel;
use crate::threads::Parallelism;

/// The loaded library.
#[derive(Debug, Clone)]
pub struct OnnxRuntime {
    path: PathBuf,
    environment: Environment,
    parallelism: Parallelism,
}

/// A process can have one, and cannot let it go.
static LOADED: Mutex<Option<OnnxRuntime>> = Mutex::new(None);

/// Official builds of onnxruntime, from 1.29 on, send their maker what they are used for and how often, unless this variable is
/// there when they are loaded: the call that switches it off comes too late for the first message.
const NO_TELEMETRY: &str = "ORT_DISABLE_TELEMETRY";

/// Begins the process anew with the variable, where it is not set to anything yet. (To set it here would race with every reader.)
pub fn begin_without_telemetry() -> io::Result<()> {
    if env::var_os(NO_TELEMETRY).is_some() {
        return Ok(());
    }
    let mut arguments = env::args_os();
    let mut again = Command::new(env::current_exe()?);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    Err(again.args(arguments).env(NO_TELEMETRY, "1").exec())
}

impl OnnxRuntime {
    /// Loads the library at `path`; a relative one is looked for beside the program, then where the system looks for libraries.
    pub fn load(path: &Path, parallelism: Parallelism) -> Result<Self, OnnxRuntimeError> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = &*loaded {
            if (before.path.as_path(), before.parallelism) == (path, parallelism) {
                return Ok(before.clone());
            }
            return Err(OnnxRuntimeError::Another {
                path: path.to_owned(),
                before: before.path.clone(),
            });
        }
        let new = Self {
            path: path.to_owned(),
            environment: environment(path, parallelism.threads_per_run)?,
            parallelism,
        };
        *loaded = Some(new.clone());
        Ok(new)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a file that was read as `model`.
    pub(crate) fn open(&self, file: &[u8], model: &OnnxModel<'_>) -> Result<Box<dyn ModelRuntime>, LoadError> {
        Ok(Box::new(Session::open(
            &self.environment,
            file,
            model,
            self.parallelism.runs,
        )?))
    }
}

fn environment(path: &Path, threads_per_run: usize) -> Result<Environment, OnnxRuntimeError> {
    let told = |error: ort::Error| OnnxRuntimeError::library(path, error);
    let builder = ort::init_from(path).map_err(|error| OnnxRuntimeError::library(path, why(&error)))?;
    let builder = builder.with_name("ml-inference").with_telemetry(false);
    let builder = builder.with_global_thread_pool(threads(threads_per_run).map_err(told)?);
    let environment = builder.with_logger(Arc::new(log)).build().map_err(told)?;
    environment.set_log_level(LogLevel::Warning);
    Ok(environment)
}

/// One pool for all models, whose number is not known: runs at the same time share the threads that help theirs. They are
/// started here, because those of a session would have the low priority of the thread that loads models.
fn threads(per_run: usize) -> ort::Result<GlobalThreadPoolOptions> {
    let threads = GlobalThreadPoolOptions::default();
    // The CPUs are shared with those who answer requests, so none waits in a loop.
    let threads = threads.with_intra_threads(per_run)?.with_spin_control(false)?;
    threads.with_inter_threads(1)
}

/// The system's loader gives its reason as the source of an error that says no more than that it failed.
fn why(error: &LoadDynamicError) -> String {
    let LoadDynamicError::Dlopen { error, .. } = error else {
        return error.to_string();
    };
    let loader = error.source().map(ToString::to_string);
    loader.unwrap_or_else(|| error.to_string())
}

/// A line of the library's log, which it would write to standard error itself. What it calls an error it returns, too, and
/// whoever gets it tells it.
fn log(level: LogLevel, category: &str, _id: &str, place: &str, message: &str) {
    match level {
        LogLevel::Fatal => error!(category, place, "onnxruntime: {message}"),
        LogLevel::Warning => warn!(category, place, "onnxruntime: {message}"),
        LogLevel::Error | LogLevel::Info | LogLevel::Verbose => debug!(category, place, "onnxruntime: {message}"),
    }
}
