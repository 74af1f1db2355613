//! The main thread of a service, from its first log line to its exit code.

use std::fmt::Display;
use std::process::ExitCode;

use tokio::runtime::{Builder, LocalOptions};
use tracing::error;

use crate::cli::complain;
use crate::lifecycle::Drained;
use crate::telemetry::logging::Logging;

/// Starts logging and runs `service` on a single-threaded runtime of its own, to the end of its drain.
pub fn run<E: Display>(logging: Logging, service: impl Future<Output = Result<Drained, E>>) -> ExitCode {
    if let Err(error) = logging.install() {
        complain(&format!("cannot start logging: {error}"));
        return ExitCode::FAILURE;
    }
    let runtime = match Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
    {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "cannot start the control runtime");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(service) {
        Ok(Drained::Clean | Drained::TimedOut) => ExitCode::SUCCESS,
        Ok(Drained::Cut(signal)) => ExitCode::from(signal.exit_code()),
        Err(error) => {
            error!(%error, "cannot run");
            ExitCode::FAILURE
        }
    }
}
