//! What the rows look at in an object: its pod, the containers, what they lack, and quantities.

use e2e::manifests::{list, text};
use yaml_rust2::Yaml;

pub(crate) fn name_of(object: &Yaml) -> String {
    format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// The pod that an object makes, if it makes one.
pub(crate) fn pod(object: &Yaml) -> Option<&Yaml> {
    match text(&object["kind"]).as_str() {
        "Deployment" | "StatefulSet" | "DaemonSet" | "Job" => Some(&object["spec"]["template"]["spec"]),
        "CronJob" => Some(&object["spec"]["jobTemplate"]["spec"]["template"]["spec"]),
        "Pod" => Some(&object["spec"]),
        _ => None,
    }
}

pub(crate) fn containers(object: &Yaml) -> Vec<&Yaml> {
    let kinds = ["initContainers", "containers"];
    let all = pod(object).map(|pod| kinds.into_iter().flat_map(|kind| list(&pod[kind])));
    all.into_iter().flatten().collect()
}

/// `faults` of each container, with its name.
pub(crate) fn each_container(object: &Yaml, faults: impl Fn(&Yaml) -> Vec<String>) -> Vec<String> {
    let of = |container: &&Yaml| {
        let name = text(&container["name"]);
        let faults = faults(container).into_iter();
        faults.map(|fault| format!("{name}: {fault}")).collect::<Vec<_>>()
    };
    containers(object).iter().flat_map(of).collect()
}

pub(crate) fn missing<'a>(value: &Yaml, keys: &[&'a str]) -> Vec<&'a str> {
    let is_missing = |key: &&&str| value[**key].is_badvalue();
    keys.iter().filter(is_missing).copied().collect()
}

/// CPU in thousandths, memory in bytes.
pub(crate) fn quantity(value: &Yaml) -> Option<u64> {
    let text = text(value);
    let units = [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10), ("m", 1)];
    let unit = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (number, factor) = unit.unwrap_or((&text, 1000));
    Some(number.parse::<u64>().ok()? * factor)
}
