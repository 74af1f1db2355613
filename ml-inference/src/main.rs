//! Parse the settings, then run.

use std::process::ExitCode;

use ml_inference::app;
use ml_inference::config::{self, PROGRAM};

fn main() -> ExitCode {
    PROGRAM.main(config::parse, |_config| String::new(), app::run)
}
