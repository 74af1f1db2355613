//! What the schema and the parser say of a document, and where they disagree; the exceptions are those that a schema cannot know.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use gateway::config::{Config, PROGRAM};
use jsonschema::Validator;
use serde_json::Value;
use shared::config::SettingError;
use shared::reload::Reloader;
use shared::test_util::Scratch;

use crate::SCHEMA;

static VALIDATOR: LazyLock<Validator> =
    LazyLock::new(|| jsonschema::draft202012::new(&SCHEMA).expect("a schema that compiles"));

/// What the parser alone refuses, by a part of what it says: each needs a look at several places.
const OF_SEVERAL_PLACES: &[&str] = &[
    "expected one of the clusters",
    "is there twice",
    "another route already has",
    "is only for `protocol: h2c`",
    "cannot stand beside `endpoints`",
    "needs `discovery: kubernetes`",
    "needs the name of a Service",
    "is above timeout",
    "is below first_penalty",
    "is the same as LISTEN_ADDRESS",
    "stands alone",
    "beside the origin `*`",
];

/// Texts of which the schema knows only the form: ports above 65535, lengths, octets above 255 and so on.
const OF_LOOSE_FORM: &[&str] = &[
    "name",
    "cluster",
    "address",
    "endpoints",
    "origins",
    "listen_address",
    "admin_address",
    "dns_servers",
    "trusted_proxies",
    "proxy_protocol_from",
    "kubernetes_api",
    "kubernetes_service_host",
];

/// Texts that may look like numbers. A schema has no pattern for those.
const WORDS: &[&str] = &["port_name", "environment", "pod_name", "kubernetes_service_host"];

/// What the parser says of a file that holds `text`.
pub(crate) fn faults_of(text: &str) -> Vec<SettingError> {
    let scratch = Scratch::new("schema");
    let file = scratch.file("gateway.yaml", text);
    let variables = BTreeMap::from([("API_KEY".to_owned(), "a key".to_owned())]);
    let (parsed, _reloader) = Reloader::start(PROGRAM.layers(Some(file), variables), Config::from_settings);
    parsed.err().map_or(Vec::new(), |faults| faults.0)
}

/// What the schema says of `document`, as JSON pointers.
pub(crate) fn refused_by_schema(document: &Value) -> Vec<String> {
    let errors = VALIDATOR.iter_errors(document);
    errors.map(|error| error.instance_path().to_string()).collect()
}

/// The place of a fault, such as `routes[1].prefix`, as a JSON pointer.
pub(crate) fn pointer(fault: &SettingError) -> String {
    format!("/{}", fault.setting.replace(['.', '['], "/").replace(']', ""))
}

pub(crate) fn is_of_several_places(fault: &SettingError) -> bool {
    OF_SEVERAL_PLACES.iter().any(|part| fault.problem.contains(part))
}

/// Whether the parser alone can know of `fault`.
fn is_exception(fault: &SettingError, document: &Value) -> bool {
    let problem = &fault.problem;
    if is_of_several_places(fault) {
        return true;
    }
    let pointer = pointer(fault);
    let is_one_of = |names: &[&str]| pointer.split('/').any(|part| names.contains(&part));
    match document.pointer(&pointer) {
        // The range of a number that is written as a text.
        Some(Value::String(text)) if text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => {
            ["expected a whole number", "expected seconds", "expected bytes"]
                .iter()
                .any(|start| problem.starts_with(start))
                || is_one_of(OF_LOOSE_FORM)
        }
        Some(Value::String(_)) => is_one_of(OF_LOOSE_FORM),
        // To a schema 1.0 is a whole number.
        Some(Value::Number(number)) => {
            number.as_f64().is_some_and(|number| number.fract() == 0.0) && number.is_f64() || is_one_of(WORDS)
        }
        Some(Value::Bool(_)) => is_one_of(WORDS),
        _ => false,
    }
}

/// Whether one place is the other, or inside of it.
pub(crate) fn is_at(place: &str, other: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    within(place, other) || within(other, place)
}

/// Where schema and parser disagree about `document`, of which `text` is the YAML.
pub(crate) fn disagreements(document: &Value, text: &str) -> Vec<String> {
    let (refused, faults) = (refused_by_schema(document), faults_of(text));
    let pointers: Vec<String> = faults.iter().map(pointer).collect();
    // A route is not told of its cluster's faulty name again; the schema looks at each place by itself.
    let names_faulty_cluster = |place: &str| {
        let of_clusters = |fault: &String| fault.starts_with("/clusters");
        place.starts_with("/routes/") && place.ends_with("/cluster") && pointers.iter().any(of_clusters)
    };
    let schema_alone = refused
        .iter()
        .filter(|place| !pointers.iter().any(|fault| is_at(place, fault)) && !names_faulty_cluster(place));
    let mut all: Vec<String> = schema_alone
        .map(|place| format!("only the schema refuses {place:?}"))
        .collect();
    for fault in &faults {
        let is_refused = refused.iter().any(|place| is_at(place, &pointer(fault)));
        if !is_refused && !is_exception(fault, document) {
            all.push(format!("only the parser refuses: {fault}"));
        }
    }
    all
}

/// JSON is YAML.
pub(crate) fn as_text(document: &Value) -> String {
    format!("{document:#}")
}
