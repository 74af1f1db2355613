//! Parse the settings, then run.

use std::process::ExitCode;

use gateway::app;
use gateway::config::{Config, PROGRAM};

fn main() -> ExitCode {
    PROGRAM.main(Config::from_settings, Config::describe, app::run)
}
