//! `lab`: scripts/up.sh and the demonstrations build and run it.

use std::io::{self, Write};
use std::process::ExitCode;

use tokio::runtime::Builder;

fn main() -> ExitCode {
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let arguments = std::env::args_os().skip(1).collect();
            ExitCode::from(runtime.block_on(lab::command::run(arguments)))
        }
        Err(error) => {
            // With standard error gone there is no place left to report to.
            let _unreported = writeln!(io::stderr(), "error: cannot start the runtime: {error}");
            ExitCode::FAILURE
        }
    }
}
