//! `ml-inference`: the table of what the command line shows, and the start.

use std::process::ExitCode;

use ml_inference::{app, config};
use shared::cli::Program;

const PROGRAM: Program = Program {
    name: "ml-inference",
    version: env!("CARGO_PKG_VERSION"),
    about: "Serves a model over HTTP: GET / and POST /predict, with probes and metrics on the same port.",
    settings: config::SETTINGS,
    documents: &[],
    default_document: "",
    default_file: "/etc/ml-inference/ml-inference.yaml",
    default_secret_dir: "/etc/secrets/ml-registry-credentials",
    file_note: "The file is optional and holds one setting a line, such as `batch_size: 64`.",
};

fn main() -> ExitCode {
    PROGRAM.main(config::parse, |_config| String::new(), app::run)
}
