//! The environments on one cluster: base, dev, staging and prod at the same time.

use std::collections::BTreeMap;

use e2e::manifests::{list, render, text};
use yaml_rust2::Yaml;

use crate::{PLACES, of_kind};

/// Every environment's objects, by the environment.
fn all() -> Vec<(&'static str, &'static str, Vec<Yaml>)> {
    let rendered = PLACES.map(|(place, namespace)| (place, namespace, render(place)));
    rendered.into()
}

/// Panics when a key is there twice, with both places.
fn expect_unique(keys: impl Iterator<Item = (String, &'static str)>) {
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    for (key, place) in keys {
        if let Some(other) = owners.insert(key.clone(), place) {
            panic!("{key} is {other}'s and {place}'s");
        }
    }
    assert!(!owners.is_empty());
}

#[test]
fn no_object_and_no_node_port_is_two_environments() {
    let all = all();
    expect_unique(all.iter().flat_map(|(place, _, objects)| {
        objects.iter().map(|object| {
            let metadata = &object["metadata"];
            let parts = [&object["kind"], &metadata["namespace"], &metadata["name"]];
            (parts.map(text).join(" "), *place)
        })
    }));
    expect_unique(all.iter().flat_map(|(place, _, objects)| {
        let services = of_kind(objects, "Service").into_iter();
        let ports = services.flat_map(|service| list(&service["spec"]["ports"]));
        let node_ports = ports.filter(|port| !port["nodePort"].is_badvalue());
        node_ports.map(|port| (format!("nodePort {}", text(&port["nodePort"])), *place))
    }));
}

/// Short names of Services stay within the namespace that a pod is in; whatever names a namespace names its own.
#[test]
fn nothing_refers_to_another_environments_namespace() {
    for (place, namespace, objects) in all() {
        for object in &objects {
            let name = format!(
                "{place}: {} {}",
                text(&object["kind"]),
                text(&object["metadata"]["name"])
            );
            for subject in list(&object["subjects"]) {
                assert_eq!(text(&subject["namespace"]), namespace, "{name}");
            }
            let mut texts = Vec::new();
            collect(object, &mut texts);
            for (_, other) in PLACES {
                let is_other = |text: &&String| {
                    let words = |character: char| !(character.is_ascii_alphanumeric() || character == '-');
                    text.split(words).any(|word| word == other)
                };
                let found = texts.iter().find(is_other);
                assert!(other == namespace || found.is_none(), "{name}: {found:?}");
            }
        }
    }
}

fn collect(value: &Yaml, texts: &mut Vec<String>) {
    match value {
        Yaml::String(text) => texts.push(text.clone()),
        Yaml::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Yaml::Hash(entries) => entries.iter().for_each(|(_, value)| collect(value, texts)),
        _ => {}
    }
}
