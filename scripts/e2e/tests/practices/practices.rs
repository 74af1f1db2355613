//! The rows of best practices.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use e2e::manifests::{container, list, render, text};
use e2e::repository;
use yaml_rust2::Yaml;

use crate::objects::{each_container, missing};
use crate::{PROBES, expect_kept};

/// Kinds that belong to no namespace.
const CLUSTER_WIDE: &[&str] = &["Namespace"];

pub(crate) fn declarative(object: &Yaml) -> Vec<String> {
    let mut faults: Vec<String> = missing(object, &["apiVersion", "kind", "metadata"])
        .iter()
        .map(|key| format!("no {key}"))
        .collect();
    if text(&object["metadata"]["name"]).is_empty() {
        faults.push("no name, so it can be created but not applied".to_owned());
    }
    faults
}

#[test]
fn always_use_declarative_yaml() {
    let places = expect_kept("always_use_declarative_yaml", declarative);
    // Files that no kustomization names are applied as a page says.
    let applied: Vec<String> = texts("deploy")
        .values()
        .flat_map(|page| page.lines())
        .filter(|line| line.contains("kubectl apply -f "))
        .map(str::to_owned)
        .collect();
    for place in places {
        let Some((_, file)) = place.name.rsplit_once('/').filter(|(_, file)| file.ends_with(".yaml")) else {
            continue;
        };
        assert!(
            applied.iter().any(|line| line.contains(file)),
            "nobody applies {}",
            place.name
        );
    }
    let script = fs::read_to_string(repository().join("scripts/deploy.sh")).expect("readable");
    assert!(script.contains("\"${KUBECTL[@]}\" apply "), "deploy.sh applies");
    for verb in [
        "create",
        "run",
        "expose",
        "edit",
        "replace",
        "patch",
        "set",
        "scale",
        "autoscale",
    ] {
        for kubectl in ["\"${KUBECTL[@]}\"", "in_namespace"] {
            assert!(!script.contains(&format!("{kubectl} {verb} ")), "deploy.sh: {verb}");
        }
    }
}

pub(crate) fn requests_and_limits(object: &Yaml) -> Vec<String> {
    each_container(object, |container| {
        let kinds = ["requests", "limits"].into_iter();
        let of = |kind| {
            let missing = missing(&container["resources"][kind], &["cpu", "memory"]).into_iter();
            missing.map(move |resource| format!("no {resource} in its {kind}"))
        };
        kinds.flat_map(of).collect()
    })
}

#[test]
fn set_resource_requests_and_limits() {
    expect_kept("set_resource_requests_and_limits", requests_and_limits);
}

fn probes_of(object: &Yaml, probes: &[&str]) -> Vec<String> {
    each_container(object, |container| {
        missing(container, probes)
            .iter()
            .map(|probe| format!("no {probe}"))
            .collect()
    })
}

pub(crate) fn liveness_and_readiness(object: &Yaml) -> Vec<String> {
    probes_of(object, &["livenessProbe", "readinessProbe"])
}

#[test]
fn use_liveness_and_readiness_probes() {
    expect_kept("use_liveness_and_readiness_probes", liveness_and_readiness);
}

pub(crate) fn namespaced(object: &Yaml) -> Vec<String> {
    let belongs_to_one = !CLUSTER_WIDE.contains(&text(&object["kind"]).as_str());
    let is_named = !text(&object["metadata"]["namespace"]).is_empty();
    match belongs_to_one && !is_named {
        true => vec!["no namespace".to_owned()],
        false => Vec::new(),
    }
}

fn namespaces(objects: &[Yaml]) -> BTreeSet<String> {
    let of = |object: &Yaml| match text(&object["kind"]).as_str() {
        "Namespace" => text(&object["metadata"]["name"]),
        _ => text(&object["metadata"]["namespace"]),
    };
    objects.iter().map(of).collect()
}

#[test]
fn namespaces_separation() {
    for place in expect_kept("namespaces_separation", namespaced) {
        let namespaces = namespaces(&place.objects);
        assert_eq!(namespaces.len(), 1, "{}: {namespaces:?}", place.name);
    }
    let environments = ["dev", "staging", "prod"].map(|name| render(&format!("deploy/overlays/{name}")));
    let all: BTreeSet<String> = environments.iter().flat_map(|objects| namespaces(objects)).collect();
    assert_eq!(all.len(), environments.len(), "one each: {all:?}");
}

pub(crate) fn no_secret(object: &Yaml) -> Vec<String> {
    let mut faults = Vec::new();
    if text(&object["kind"]) == "Secret" {
        faults.push("a Secret with its values".to_owned());
    }
    let words = ["SECRET", "PASSWORD", "TOKEN", "API_KEY", "REGISTRY_USER"];
    let is_secret = |name: &str| words.iter().any(|word| name.contains(word));
    let keys = object["data"].as_hash().into_iter().flat_map(|data| data.keys());
    let keys = keys.map(text).filter(|key| is_secret(key));
    faults.extend(keys.map(|key| format!("the value of {key}")));
    faults.extend(each_container(object, |container| {
        let plain = list(&container["env"]).iter();
        let plain = plain.filter(|variable| !variable["value"].is_badvalue());
        let names = plain.map(|variable| text(&variable["name"]));
        names
            .filter(|name| is_secret(name))
            .map(|name| format!("the value of {name}"))
            .collect()
    }));
    faults
}

/// Values after `--from-literal=NAME=` that are a secret, and private keys.
pub(crate) fn secrets_in(text: &str) -> Vec<String> {
    let literals = text.split("--from-literal=").skip(1).filter_map(|rest| {
        let literal = rest.split_whitespace().next()?;
        let value = literal.split_once('=')?.1.trim_start_matches(['"', '\'']);
        let is_filled_in = value.starts_with(['<', '$', '%']);
        (!is_filled_in).then(|| literal.to_owned())
    });
    let key = text.contains(concat!("-----BEGIN ", "PRIVATE KEY"));
    literals.chain(key.then(|| "a private key".to_owned())).collect()
}

#[test]
fn secrets_management() {
    expect_kept("secrets_management", no_secret);
    for directory in ["deploy", "scripts"] {
        // Tests may hold keys of their own.
        let files = texts(directory).into_iter().filter(|(file, _)| !file.ends_with(".rs"));
        for (file, text) in files {
            let secrets = secrets_in(&text);
            assert!(secrets.is_empty(), "{file}: {secrets:?}");
        }
    }
}

pub(crate) fn all_probes(object: &Yaml) -> Vec<String> {
    probes_of(object, &PROBES)
}

#[test]
fn health_checks() {
    expect_kept("health_checks", all_probes);
}

pub(crate) fn history(object: &Yaml) -> Vec<String> {
    if text(&object["kind"]) != "Deployment" {
        return Vec::new();
    }
    match object["spec"]["revisionHistoryLimit"].as_i64() {
        Some(2..) => Vec::new(),
        kept => vec![format!("revisionHistoryLimit: {kept:?}")],
    }
}

#[test]
fn rollback_strategy() {
    expect_kept("rollback_strategy", history);
}

pub(crate) fn scraped(object: &Yaml) -> Vec<String> {
    if text(&object["kind"]) != "Deployment" {
        return Vec::new();
    }
    let annotations = &object["spec"]["template"]["metadata"]["annotations"];
    if text(&annotations["prometheus.io/scrape"]) != "true" || text(&annotations["prometheus.io/path"]) != "/metrics" {
        return vec!["nobody scrapes it".to_owned()];
    }
    let port = text(&annotations["prometheus.io/port"]);
    let ports: Vec<String> = list(&container(object)["ports"])
        .iter()
        .map(|port| text(&port["containerPort"]))
        .collect();
    match ports.contains(&port) {
        true => Vec::new(),
        false => vec![format!("is scraped on port {port}, and has {ports:?}")],
    }
}

#[test]
fn monitor_everything() {
    expect_kept("monitor_everything", scraped);
}

/// Every page, manifest and script below `directory`, by its path.
fn texts(directory: &str) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    let mut directories = vec![repository().join(directory)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                directories.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                texts.insert(path.display().to_string(), text);
            }
        }
    }
    texts
}
