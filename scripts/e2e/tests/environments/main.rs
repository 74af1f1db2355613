//! The tables of `deploy/README.md`: what base, dev, staging and prod have different, and what an autoscaler makes of a step.

mod step;

use std::collections::{BTreeMap, BTreeSet};

use e2e::manifests::{list, render, text};
use e2e::repository;
use shared::test_util::docs::{Table, check_page, code};
use yaml_rust2::Yaml;

const ENVIRONMENTS: [(&str, &str); 4] = [
    ("base", "deploy/base"),
    ("dev", "deploy/overlays/dev"),
    ("staging", "deploy/overlays/staging"),
    ("prod", "deploy/overlays/prod"),
];
const NOTHING: &str = "—";

/// The scalars of an environment, by object and path.
#[derive(Default)]
struct Environment {
    objects: BTreeMap<String, Yaml>,
    scalars: BTreeMap<(String, String), String>,
}

impl Environment {
    fn of(kustomization: &str) -> Self {
        let mut environment = Self::default();
        for object in render(kustomization) {
            let kind = text(&object["kind"]);
            // The one object whose name is the environment's.
            let name = match kind.as_str() {
                "Namespace" => kind,
                _ => format!("{kind} {}", text(&object["metadata"]["name"])),
            };
            flatten(&object, "", &mut |path, value| {
                if !path.ends_with("namespace") {
                    let place = (name.clone(), path.to_owned());
                    environment.scalars.insert(place, text(value));
                }
            });
            environment.objects.insert(name, object);
        }
        environment
    }

    /// What it has of an object that not all have.
    fn object(&self, name: &str) -> String {
        match self.objects.get(name) {
            None => NOTHING.to_owned(),
            Some(object) if name.starts_with("HorizontalPodAutoscaler ") => {
                let spec = &object["spec"];
                format!("{} to {}", text(&spec["minReplicas"]), text(&spec["maxReplicas"]))
            }
            Some(_) => "yes".to_owned(),
        }
    }

    fn scalar(&self, place: &(String, String)) -> String {
        let found = self.scalars.get(place);
        found.map_or_else(|| NOTHING.to_owned(), code)
    }
}

/// Calls `each` with every scalar and its path. Items of a list go by their names where they have some.
fn flatten(value: &Yaml, path: &str, each: &mut dyn FnMut(&str, &Yaml)) {
    if let Some(entries) = value.as_hash() {
        for (key, value) in entries {
            let dot = if path.is_empty() { "" } else { "." };
            flatten(value, &format!("{path}{dot}{}", text(key)), each);
        }
    } else if value.is_array() {
        for (at, item) in list(value).iter().enumerate() {
            let name = item
                .as_hash()
                .map(|_| text(&item["name"]))
                .filter(|name| !name.is_empty());
            let name = name.unwrap_or_else(|| at.to_string());
            flatten(item, &format!("{path}[{name}]"), each);
        }
    } else {
        each(path, value);
    }
}

fn table(environments: &[Environment; 4]) -> Table {
    let mut table = Table::new(["", "base", "dev", "staging", "prod"]);
    let objects: BTreeSet<&String> = environments
        .iter()
        .flat_map(|environment| environment.objects.keys())
        .collect();
    for name in objects {
        let cells = environments.each_ref().map(|environment| environment.object(name));
        if cells.iter().any(|cell| cell != NOTHING) && cells.iter().any(|cell| cell == NOTHING) {
            let [base, dev, staging, prod] = cells;
            table.row([code(name), base, dev, staging, prod]);
            continue;
        }
        let places = environments.iter().flat_map(|environment| environment.scalars.keys());
        let places: BTreeSet<&(String, String)> = places.filter(|(object, _)| object == name).collect();
        for place in places {
            let [base, dev, staging, prod] = environments.each_ref().map(|environment| environment.scalar(place));
            if [&dev, &staging, &prod].iter().any(|cell| **cell != base) {
                let label = format!("{} {}", code(name), code(&place.1));
                table.row([label, base, dev, staging, prod]);
            }
        }
    }
    table
}

#[test]
fn the_page_has_the_tables_that_the_manifests_make() {
    let environments = ENVIRONMENTS.map(|(_, kustomization)| Environment::of(kustomization));
    let table = table(&environments);
    let page = repository().join("deploy/README.md");
    let step = step::table();
    check_page(
        &page,
        "cargo test -p e2e --test environments",
        &[("environments", &table), ("autoscaling step", &step)],
    );
}

#[test]
fn a_difference_is_a_row() {
    let [base, dev, ..] = ENVIRONMENTS.map(|(_, kustomization)| kustomization);
    let same = [base; 4].map(Environment::of);
    assert_eq!(table(&same).to_string().lines().count(), 2, "no row");
    let mut other = [base, base, base, dev].map(Environment::of);
    for environment in &mut other[1..] {
        environment.objects.remove("Role api-gateway");
    }
    let rows = table(&other).to_string();
    assert!(rows.contains("| `Role api-gateway` | yes | — | — | — |"), "{rows}");
    assert!(
        rows.contains("`Deployment ml-inference` `spec.replicas` | `3` | `3` | `3` | `1` |"),
        "{rows}"
    );
}
