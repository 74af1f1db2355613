//! Rendered objects, and how two sets of them differ, field by field.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use yaml_rust2::{Yaml, YamlLoader};

/// Labels and annotations by which helm knows its own objects. Nothing else is left out of a comparison.
const OF_HELM: &[&str] = &[
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/instance",
    "helm.sh/chart",
    "helm.sh/resource-policy",
];
/// Objects with this annotation are no part of what is installed: the pod of `helm test`.
const HOOK: &str = "helm.sh/hook";

/// Lists that Kubernetes merges by name: their order says nothing. (No variable refers to one before it.)
const BY_NAME: &[&str] = &[".env", ".volumeMounts", ".volumes"];

/// Objects by kind and name.
pub(crate) type Objects = BTreeMap<String, Value>;

/// The objects of a rendered text, without what is helm's own.
///
/// # Panics
/// When an object is there twice.
pub(crate) fn read(text: &str) -> Objects {
    let mut objects = Objects::new();
    for document in YamlLoader::load_from_str(text).expect("YAML") {
        let mut object = as_json(&document);
        if object.is_null() || !object["metadata"]["annotations"][HOOK].is_null() {
            continue;
        }
        without_marks_of_helm(&mut object);
        parse_gateway_yaml(&mut object);
        let part = |value: &Value| value.as_str().expect("a text").to_owned();
        let name = format!("{} {}", part(&object["kind"]), part(&object["metadata"]["name"]));
        let before = objects.insert(name.clone(), object);
        assert!(before.is_none(), "{name} is there twice");
    }
    objects
}

fn without_marks_of_helm(object: &mut Value) {
    let metadata = object["metadata"].as_object_mut().expect("metadata");
    for key in ["labels", "annotations"] {
        let Some(Value::Object(entries)) = metadata.get_mut(key) else {
            continue;
        };
        entries.retain(|name, _| !OF_HELM.contains(&name.as_str()));
        if entries.is_empty() {
            metadata.remove(key);
        }
    }
}

/// The gateway reads this text as YAML, so it is compared as such: the base's has comments, the chart's is made of values.
fn parse_gateway_yaml(object: &mut Value) {
    let Some(text) = object["data"]["gateway.yaml"].as_str() else {
        return;
    };
    let documents = YamlLoader::load_from_str(text).expect("gateway.yaml is YAML");
    object["data"]["gateway.yaml"] = as_json(&documents[0]);
}

fn as_json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Hash(entries) => {
            let entry = |(key, value): (&Yaml, &Yaml)| (key.as_str().expect("a text").to_owned(), as_json(value));
            Value::Object(entries.iter().map(entry).collect::<Map<_, _>>())
        }
        Yaml::Array(items) => items.iter().map(as_json).collect(),
        Yaml::Boolean(value) => (*value).into(),
        Yaml::Integer(number) => (*number).into(),
        Yaml::Real(_) => yaml.as_f64().into(),
        Yaml::String(text) => text.as_str().into(),
        _ => Value::Null,
    }
}

/// Every field in which the chart's objects are not kustomize's, one a line.
pub(crate) fn differences(kustomize: &Objects, chart: &Objects) -> Vec<String> {
    let mut all = Vec::new();
    let names: BTreeSet<&String> = kustomize.keys().chain(chart.keys()).collect();
    for name in names {
        match (kustomize.get(name), chart.get(name)) {
            (Some(wanted), Some(found)) => compare(name, "", wanted, found, &mut all),
            (Some(_), None) => all.push(format!("{name}: the chart has none")),
            _ => all.push(format!("{name}: only the chart has it")),
        }
    }
    all
}

fn compare(object: &str, path: &str, wanted: &Value, found: &Value, all: &mut Vec<String>) {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            let keys: BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
            for key in keys {
                let [wanted, found] = [wanted, found].map(|map| map.get(key).unwrap_or(&Value::Null));
                compare(object, &format!("{path}.{key}"), wanted, found, all);
            }
        }
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => {
            let [mut wanted, mut found] = [wanted, found].map(|items| items.iter().collect::<Vec<_>>());
            if BY_NAME.iter().any(|end| path.ends_with(end)) {
                for items in [&mut wanted, &mut found] {
                    items.sort_by_key(|item| item["name"].as_str());
                }
            }
            for (at, (wanted, found)) in wanted.into_iter().zip(found).enumerate() {
                compare(object, &format!("{path}[{at}]"), wanted, found, all);
            }
        }
        _ if wanted == found => {}
        _ => all.push(format!(
            "{object}: {path} is {wanted} by kustomize, {found} by the chart"
        )),
    }
}

#[test]
fn a_difference_names_the_object_the_field_and_both_values() {
    let rendered = |replicas: &str, name: &str| {
        read(&format!(
            "kind: Deployment\nmetadata: {{ name: {name}, labels: {{ helm.sh/chart: a }} }}\nspec: {{ replicas: {replicas}, list: [{{ a: 1 }}] }}\n"
        ))
    };
    let base = rendered("2", "a");
    assert_eq!(differences(&base, &base), [""; 0]);
    assert_eq!(
        differences(&base, &rendered("\"2\"", "a")),
        ["Deployment a: .spec.replicas is 2 by kustomize, \"2\" by the chart"]
    );
    assert_eq!(
        differences(&base, &rendered("2", "b")),
        [
            "Deployment a: the chart has none",
            "Deployment b: only the chart has it"
        ]
    );
    assert_eq!(base["Deployment a"]["metadata"]["labels"], Value::Null, "helm's own");
}
