//! The rows of pitfalls.

use e2e::manifests::{list, text};
use yaml_rust2::{Yaml, YamlLoader};

use crate::objects::{containers, each_container, pod, quantity};
use crate::{PROBES, expect_kept};

/// Variables that stand beside what they have to fit: ports, limits, volumes, the grace period.
const BOUND_TO_THE_POD: &[&str] = &[
    "SERVICE_PORT",
    "SERVICE_NAME",
    "MAX_BODY_BYTES",
    "MAX_CONNECTIONS",
    "MODELS_DIR",
    "DRAIN_TIMEOUT",
];

/// What a pod may be silent for before it is restarted.
const PATIENCE_SECONDS: i64 = 30;

pub(crate) fn root(object: &Yaml) -> Vec<String> {
    let Some(pod) = pod(object) else { return Vec::new() };
    let mut faults = each_container(object, |container| {
        let security = &container["securityContext"];
        let mut faults = Vec::new();
        if security["allowPrivilegeEscalation"].as_bool() != Some(false) {
            faults.push("may gain privileges".to_owned());
        }
        if !list(&security["capabilities"]["drop"])
            .iter()
            .any(|dropped| text(dropped) == "ALL")
        {
            faults.push("has capabilities".to_owned());
        }
        if security["readOnlyRootFilesystem"].as_bool() != Some(true) {
            faults.push("may write to its image".to_owned());
        }
        faults
    });
    let security = &pod["securityContext"];
    if security["runAsNonRoot"].as_bool() != Some(true) || security["runAsUser"].as_i64().is_none_or(|user| user == 0) {
        faults.push("may run as root".to_owned());
    }
    if text(&security["seccompProfile"]["type"]) != "RuntimeDefault" {
        faults.push("may make every system call".to_owned());
    }
    faults
}

#[test]
fn running_as_root() {
    expect_kept("running_as_root", root);
}

/// Each limit is there, and within four times of what the pod asks for: a node is not promised several times over.
pub(crate) fn unbounded(object: &Yaml) -> Vec<String> {
    each_container(object, |container| {
        let resources = &container["resources"];
        let of = |resource: &str| {
            let asked = quantity(&resources["requests"][resource]);
            let limit = quantity(&resources["limits"][resource]);
            match (asked, limit) {
                (Some(asked), Some(limit)) if asked <= limit && limit <= 4 * asked => None,
                _ => Some(format!("{resource}: {asked:?} asked, limit {limit:?}")),
            }
        };
        ["cpu", "memory"].into_iter().filter_map(of).collect()
    })
}

#[test]
fn no_resource_limits() {
    expect_kept("no_resource_limits", unbounded);
}

pub(crate) fn floating_tag(object: &Yaml) -> Vec<String> {
    each_container(object, |container| {
        let image = text(&container["image"]);
        let name = image.rsplit('/').next().unwrap_or(&image);
        let tag = name.split_once(':').map(|(_, tag)| tag);
        match tag {
            Some(tag) if tag != "latest" => Vec::new(),
            _ => vec![image],
        }
    })
}

#[test]
fn latest_tag() {
    expect_kept("latest_tag", floating_tag);
}

/// Settings in arguments or in the Deployment, and addresses that another cluster or namespace does not have.
pub(crate) fn hardcoded(object: &Yaml) -> Vec<String> {
    let mut faults = each_container(object, |container| {
        let arguments = ["command", "args"].into_iter();
        let mut faults: Vec<String> = arguments
            .filter(|key| !container[*key].is_badvalue())
            .map(|key| format!("settings in its {key}"))
            .collect();
        let plain = list(&container["env"]).iter();
        let plain = plain.filter(|variable| !variable["value"].is_badvalue());
        let names = plain.map(|variable| text(&variable["name"]));
        let free = names.filter(|name| !BOUND_TO_THE_POD.contains(&name.as_str()));
        faults.extend(free.map(|name| format!("{name} is in no ConfigMap")));
        faults
    });
    let document = text(&object["data"]["gateway.yaml"]);
    for document in YamlLoader::load_from_str(&document).expect("YAML") {
        for cluster in list(&document["clusters"]) {
            let name = text(&cluster["name"]);
            if name.contains('.') {
                faults.push(format!("{name} is of one namespace or cluster"));
            }
            if !cluster["endpoints"].is_badvalue() {
                faults.push(format!("{name} has addresses"));
            }
        }
    }
    faults
}

#[test]
fn hardcoded_config() {
    expect_kept("hardcoded_config", hardcoded);
}

pub(crate) fn monolithic(object: &Yaml) -> Vec<String> {
    match containers(object).len() {
        0 | 1 => Vec::new(),
        many => vec![format!("{many} containers")],
    }
}

#[test]
fn monolithic_pods() {
    expect_kept("monolithic_pods", monolithic);
}

/// Probes that do harm: they ask where nobody listens, or restart a pod before it could leave its Service or recover.
pub(crate) fn harmful_probes(object: &Yaml) -> Vec<String> {
    each_container(object, |container| {
        let mut faults = Vec::new();
        let known = list(&container["ports"]).iter();
        let known: Vec<String> = known
            .flat_map(|port| [text(&port["name"]), text(&port["containerPort"])])
            .collect();
        let present = PROBES.into_iter().filter(|probe| !container[*probe].is_badvalue());
        for probe in present {
            let port = text(&container[probe]["httpGet"]["port"]);
            if !known.contains(&port) {
                faults.push(format!("{probe} asks port {port}"));
            }
        }
        // The defaults of Kubernetes.
        let patience = |probe: &str| {
            let probe = &container[probe];
            let (period, failures) = (probe["periodSeconds"].as_i64(), probe["failureThreshold"].as_i64());
            period.unwrap_or(10) * failures.unwrap_or(3)
        };
        if container["livenessProbe"].is_badvalue() {
            return faults;
        }
        let (restarted, left) = (patience("livenessProbe"), patience("readinessProbe"));
        if restarted < PATIENCE_SECONDS || restarted <= left {
            faults.push(format!(
                "is restarted after {restarted} s, and leaves its Service after {left} s"
            ));
        }
        faults
    })
}

#[test]
fn ignoring_probes() {
    expect_kept("ignoring_probes", harmful_probes);
}
