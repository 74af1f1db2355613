//! The manifests under `deploy/`, as the API server would get them: rendered by `kubectl kustomize`, or as they stand in their files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use shared::test_util::Scratch;
use yaml_rust2::{Yaml, YamlLoader};

use crate::repository;

/// Files that a kustomization names and that the courses apply by themselves as well.
const APPLIED_BY_NAME: [&str; 4] = [
    "deploy/lab6/k8s/deployment.yaml",
    "deploy/lab6/k8s/service.yaml",
    "deploy/lesson01/ml-api/deployment.yaml",
    "deploy/lesson01/ml-api/service.yaml",
];
/// No manifests: the description of a cluster, and values of somebody else's chart.
const NO_MANIFESTS: [&str; 2] = ["deploy/kind", "deploy/components/prometheus-adapter/rules.yaml"];
/// Components that change what another one brings.
const NEEDS: [(&str, &str); 1] = [("deploy/components/prometheus-adapter", "deploy/components/autoscaling")];

/// What is applied at once, and the directory or file that it comes from.
#[derive(Debug)]
pub struct Place {
    pub name: String,
    pub objects: Vec<Yaml>,
}

/// Renders a kustomization, given by its directory from the top of the repository.
///
/// # Panics
/// When it does not render, or `kubectl` is missing.
pub fn render(kustomization: &str) -> Vec<Yaml> {
    rendered(&repository().join(kustomization), kustomization)
}

fn rendered(directory: &Path, name: &str) -> Vec<Yaml> {
    let output = Command::new("kubectl")
        .arg("kustomize")
        .arg(directory)
        .output()
        .expect("kubectl is installed");
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    YamlLoader::load_from_str(&String::from_utf8_lossy(&output.stdout)).expect("kubectl renders YAML")
}

/// The objects of a file.
///
/// # Panics
/// When it is no YAML.
pub fn load(file: &Path) -> Vec<Yaml> {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    YamlLoader::load_from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// All that can be applied: every kustomization, every component on what it is for, and every file that is applied by itself.
pub fn places() -> Vec<Place> {
    let mut places = Vec::new();
    let mut named = BTreeSet::new();
    let files = files();
    for file in files.iter().filter(|file| file.ends_with("kustomization.yaml")) {
        let directory = file.parent().expect("in a directory");
        let name = directory.display().to_string();
        let kustomization = &load(&repository().join(file))[0];
        let objects = match text(&kustomization["kind"]).as_str() {
            "Component" => render_component(directory),
            _ => render(&name),
        };
        places.push(Place { name, objects });
        named.extend(named_by(kustomization).map(|path| directory.join(path)));
        named.insert(file.clone());
    }
    let is_applied = |file: &&PathBuf| {
        let by_name = APPLIED_BY_NAME
            .iter()
            .any(|applied| Path::new(applied) == file.as_path());
        let is_none = NO_MANIFESTS.iter().any(|path| file.starts_with(path));
        by_name || !named.contains(*file) && !is_none
    };
    for file in files.iter().filter(is_applied) {
        let objects = load(&repository().join(file));
        let name = file.display().to_string();
        places.push(Place { name, objects });
    }
    places
}

/// The files that a kustomization consists of.
fn named_by(kustomization: &Yaml) -> impl Iterator<Item = String> {
    let resources = list(&kustomization["resources"]).iter().map(text);
    let patches = list(&kustomization["patches"]).iter().map(|patch| text(&patch["path"]));
    resources.chain(patches)
}

/// A component has no meaning alone. `X/components/NAME` is for `X/base`, or for what is beside or around `components`.
fn render_component(directory: &Path) -> Vec<Yaml> {
    let around = directory.parent().and_then(Path::parent).expect("X/components/NAME");
    let base = ["base", "ml-api", ""].map(|base| around.join(base));
    let is_there = |base: &&PathBuf| repository().join(base).join("kustomization.yaml").is_file();
    let base = base.iter().find(is_there);
    let base = base.unwrap_or_else(|| panic!("{} is for nothing", directory.display()));
    let [base, component] = [base.as_path(), directory].map(|path| path.to_str().expect("UTF-8"));
    let needed = NEEDS.iter().filter(|(name, _)| *name == component);
    let components: Vec<&str> = needed.map(|(_, needed)| *needed).chain([component]).collect();
    composed(&[base], &components, "")
}

/// Renders these resources with these components, in this order, as a kustomization of one's own would.
///
/// # Panics
/// When it does not render.
pub fn compose(resources: &[&str], components: &[&str], namespace: &str) -> Vec<Yaml> {
    composed(resources, components, &format!("namespace: {namespace}\n"))
}

fn composed(resources: &[&str], components: &[&str], more: &str) -> Vec<Yaml> {
    let scratch = Scratch::new("component");
    // kustomize takes relative paths only, and follows symbolic links before it does.
    let here = scratch.path().canonicalize().expect("it is there");
    let up = "../".repeat(here.components().count() - 1);
    let relative = |path: &&str| {
        let path = repository().join(path).canonicalize().expect("it is there");
        format!("{up}{}", path.strip_prefix("/").expect("absolute").display())
    };
    let all = |paths: &[&str]| paths.iter().map(relative).collect::<Vec<_>>().join(", ");
    let kustomization = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n{more}resources: [{}]\ncomponents: [{}]\n",
        all(resources),
        all(components),
    );
    scratch.file("kustomization.yaml", kustomization);
    rendered(&here, &components.join(", "))
}

/// Every YAML file under `deploy/`, by its path from the top of the repository. The templates of a chart are none.
pub fn files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![PathBuf::from("deploy")];
    while let Some(directory) = directories.pop() {
        if repository().join(&directory).join("Chart.yaml").exists() {
            continue;
        }
        for entry in std::fs::read_dir(repository().join(&directory)).expect("a directory") {
            let path = directory.join(entry.expect("readable").file_name());
            if repository().join(&path).is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The object of this kind and name.
///
/// # Panics
/// When there is none.
pub fn find<'a>(objects: &'a [Yaml], kind: &str, name: &str) -> &'a Yaml {
    let is_it = |object: &&Yaml| text(&object["kind"]) == kind && text(&object["metadata"]["name"]) == name;
    objects.iter().find(is_it).unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// A scalar as it is written; nothing is empty.
///
/// # Panics
/// When it is a list or a map.
pub fn text(value: &Yaml) -> String {
    match value {
        Yaml::String(text) | Yaml::Real(text) => text.clone(),
        Yaml::Integer(number) => number.to_string(),
        Yaml::Boolean(value) => value.to_string(),
        Yaml::BadValue | Yaml::Null => String::new(),
        other => panic!("no scalar: {other:?}"),
    }
}

/// The items of a list; nothing has none.
pub fn list(value: &Yaml) -> &[Yaml] {
    value.as_vec().map_or(&[], Vec::as_slice)
}

/// The container of a Deployment's pods.
///
/// # Panics
/// When there are several.
pub fn container(deployment: &Yaml) -> &Yaml {
    let containers = list(&deployment["spec"]["template"]["spec"]["containers"]);
    assert_eq!(containers.len(), 1, "one container a pod");
    &containers[0]
}
