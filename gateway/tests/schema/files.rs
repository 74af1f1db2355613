//! Every gateway.yaml of the repository is valid by both.

use std::path::{Path, PathBuf};

use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

use crate::agreement::{disagreements, refused_by_schema};
use crate::repository;

/// Every gateway.yaml in the repository, by where it stands.
fn files() -> Vec<(String, String)> {
    let read =
        |path: &Path| std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut files = vec![(
        "default.yaml".to_owned(),
        read(&repository().join("gateway/default.yaml")),
    )];
    for path in manifests(&repository().join("deploy")) {
        for object in YamlLoader::load_from_str(&read(&path)).expect("YAML") {
            if let Some(text) = object["data"]["gateway.yaml"].as_str() {
                files.push((path.display().to_string(), text.to_owned()));
            }
        }
    }
    for path in [
        "README.md",
        "gateway/docs/gateway-yaml.md",
        "deploy/README.md",
        "deploy/lab/README.md",
        "deploy/lab6/README.md",
        "deploy/lesson01/README.md",
        "scripts/README.md",
    ] {
        let text = read(&repository().join(path));
        let blocks = text
            .split("```yaml\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next());
        let ours = blocks.filter(|block| block.contains("clusters:") || block.contains("routes:"));
        files.extend(ours.map(|block| (path.to_owned(), block.to_owned())));
    }
    // What the local pair's gateway gets: an endpoint stands where scripts/lab puts its own, and no routes follow.
    let path = "scripts/lab/src/pair/gateway.yaml.template";
    let document = read(&repository().join(path)).replace("ENDPOINTS", "\"127.0.0.1:5001\"");
    files.push((path.to_owned(), document.replace("MORE", "")));
    files
}

fn manifests(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("readable").path();
        // Of a chart: no YAML before helm has rendered them.
        if path.ends_with("templates") {
            continue;
        }
        if path.is_dir() {
            found.extend(manifests(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    found
}

fn as_json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Hash(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| (key.as_str().expect("a text").to_owned(), as_json(value)));
            Value::Object(entries.collect())
        }
        Yaml::Array(items) => items.iter().map(as_json).collect(),
        Yaml::Boolean(value) => (*value).into(),
        Yaml::Integer(number) => (*number).into(),
        Yaml::Real(_) => yaml.as_f64().into(),
        Yaml::String(text) => text.as_str().into(),
        _ => Value::Null,
    }
}

#[test]
fn every_file_of_the_repository_is_valid() {
    let files = files();
    for place in [
        "default.yaml",
        "base/gateway-configmap",
        "step-03",
        "step-07",
        "gateway-yaml.md",
        "gateway.yaml.template",
    ] {
        assert!(files.iter().any(|(path, _)| path.contains(place)), "{place} has one");
    }
    for (place, text) in files {
        let document = as_json(&YamlLoader::load_from_str(&text).expect("YAML")[0]);
        assert_eq!(refused_by_schema(&document), [""; 0], "{place}");
        assert_eq!(disagreements(&document, &text), [""; 0], "{place}");
    }
}
