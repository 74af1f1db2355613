//! Parse the settings, then run.

use std::process::ExitCode;

use rag_api::app;
use rag_api::config::{self, PROGRAM};

fn main() -> ExitCode {
    PROGRAM.main(config::parse, |_config| String::new(), app::run)
}
