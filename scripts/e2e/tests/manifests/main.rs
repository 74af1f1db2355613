//! The manifests, the settings and the binaries name the same things. Needs `kubectl` to render.
//!
//! ```text
//! access.rs    who may ask whom: endpoints from the API server, network policies, the admin listener
//! batch.rs     the Jobs of deploy/batch over their sample
//! pods.rs      what pods are given: files, rights, time to drain
//! ports.rs     ports and probes lead to where something listens
//! rag.rs       deploy/rag, which has a third service
//! settings.rs  ConfigMaps, variables and secrets are settings of who reads them
//! ```

mod access;
mod batch;
mod pods;
mod ports;
mod rag;
mod settings;

use std::collections::BTreeMap;

use e2e::manifests::{list, load, render, text};
use e2e::{binary, repository};
use shared::cli::Program;
use shared::test_util::{DEADLINE, Process};
use yaml_rust2::Yaml;

const GATEWAY: Program = gateway::config::PROGRAM;
const ML_INFERENCE: Program = ml_inference::config::PROGRAM;

/// Every file of the lab's steps.
fn lab_files() -> Vec<(String, Vec<Yaml>)> {
    let mut files = Vec::new();
    for step in std::fs::read_dir(repository().join("deploy/lab")).expect("deploy/lab is there") {
        let step = step.expect("readable").path();
        if !step.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(step).expect("a step is readable") {
            let path = file.expect("readable").path();
            files.push((path.display().to_string(), load(&path)));
        }
    }
    assert!(files.len() >= 10, "the lab has more files than {}", files.len());
    files
}

fn rendered() -> Vec<(String, Vec<Yaml>)> {
    [
        "deploy/base",
        "deploy/overlays/dev",
        "deploy/overlays/staging",
        "deploy/overlays/prod",
    ]
    .map(|path| (path.to_owned(), render(path)))
    .into()
}

/// The manifests of Lab 6 and of Lesson 01.
fn courses() -> Vec<(String, Vec<Yaml>)> {
    ["deploy/lab6", "deploy/lesson01/gpu", "deploy/lesson01/several-models"]
        .map(|path| (path.to_owned(), render(path)))
        .into()
}

/// The deployments of ours in all renderings, lab steps and courses.
fn deployments() -> Vec<(String, Yaml)> {
    let mut found = Vec::new();
    for (place, objects) in rendered().into_iter().chain(lab_files()).chain(courses()) {
        for object in objects {
            if text(&object["kind"]) == "Deployment" && program_of(&object).is_some() {
                found.push((place.clone(), object));
            }
        }
    }
    assert!(found.len() >= 17, "{}", found.len());
    found
}

fn program_of(deployment: &Yaml) -> Option<&'static Program> {
    static PROGRAMS: [Program; 2] = [GATEWAY, ML_INFERENCE];
    match text(&deployment["metadata"]["name"]).as_str() {
        "api-gateway" => Some(&PROGRAMS[0]),
        "ml-inference" | "mlops-deployment" | "ml-api" | "ml-models" => Some(&PROGRAMS[1]),
        _ => None,
    }
}

fn default_of(program: &Program, setting: &str) -> String {
    let found = program.settings.iter().find(|candidate| candidate.name == setting);
    found
        .unwrap_or_else(|| panic!("{} has no {setting}", program.name))
        .default
        .to_owned()
}

fn container_port(container: &Yaml, name: &str) -> String {
    let ports = list(&container["ports"]);
    let port = ports.iter().find(|port| text(&port["name"]) == name);
    text(&port.unwrap_or_else(|| panic!("no port {name}"))["containerPort"])
}

/// The variables that a container gets as plain values.
fn plain_variables(container: &Yaml) -> impl Iterator<Item = (String, String)> {
    let plain = list(&container["env"])
        .iter()
        .filter(|variable| variable["valueFrom"].is_badvalue());
    plain.map(|variable| (text(&variable["name"]), text(&variable["value"])))
}

async fn expect_sound(program: &Program, environment: BTreeMap<String, String>, place: &str) {
    let mut check = Process::start_with(binary(program.name), &["--check"], environment);
    let finished = check.wait_exit(DEADLINE).await;
    assert_eq!(
        (finished.code, finished.stdout.as_str()),
        (0, "ok\n"),
        "{place}: {finished:?}"
    );
}
