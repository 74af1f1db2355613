//! The best practices and the pitfalls of "Kubernetes for MLOps", each row of its two tables as a test over every overlay, component
//! and lab under `deploy/`.
//!
//! ```text
//! main.rs        the rows: which faults an object has by each
//! exceptions.rs  which faults are left as they are, and why
//! ```

mod exceptions;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use e2e::manifests::{Place, container, list, places, render, text};
use e2e::repository;
use yaml_rust2::{Yaml, YamlLoader};

/// Kinds that belong to no namespace.
const CLUSTER_WIDE: &[&str] = &["Namespace"];
const PROBES: [&str; 3] = ["startupProbe", "readinessProbe", "livenessProbe"];
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

/// What is wrong with an object, each in a few words.
type Row = fn(&Yaml) -> Vec<String>;

/// Every object of every place keeps to the row, but for its exceptions, each of which is needed. Gives the places.
fn expect_kept(row: &str, check: Row) -> Vec<Place> {
    let places = places();
    assert!(places.len() >= 30, "{} places are few", places.len());
    let mut broken = Vec::new();
    let mut needed = BTreeSet::new();
    for Place { name, objects } in &places {
        for object in objects {
            for fault in check(object) {
                match exceptions::reason(row, name, &fault) {
                    Some(_) => _ = needed.insert(name.as_str()),
                    None => broken.push(format!("{name}: {}: {fault}", name_of(object))),
                }
            }
        }
    }
    assert!(broken.is_empty(), "{row}:\n{}", broken.join("\n"));
    let idle: Vec<(&str, &str)> = exceptions::places(row)
        .filter(|(place, _)| !needed.contains(place))
        .collect();
    assert!(idle.is_empty(), "{row}: exceptions that are not needed: {idle:?}");
    places
}

fn name_of(object: &Yaml) -> String {
    format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// The pod that an object makes, if it makes one.
fn pod(object: &Yaml) -> Option<&Yaml> {
    match text(&object["kind"]).as_str() {
        "Deployment" | "StatefulSet" | "DaemonSet" | "Job" => Some(&object["spec"]["template"]["spec"]),
        "CronJob" => Some(&object["spec"]["jobTemplate"]["spec"]["template"]["spec"]),
        "Pod" => Some(&object["spec"]),
        _ => None,
    }
}

fn containers(object: &Yaml) -> Vec<&Yaml> {
    let kinds = ["initContainers", "containers"];
    let all = pod(object).map(|pod| kinds.into_iter().flat_map(|kind| list(&pod[kind])));
    all.into_iter().flatten().collect()
}

/// `faults` of each container, with its name.
fn each_container(object: &Yaml, faults: impl Fn(&Yaml) -> Vec<String>) -> Vec<String> {
    let of = |container: &&Yaml| {
        let name = text(&container["name"]);
        let faults = faults(container).into_iter();
        faults.map(|fault| format!("{name}: {fault}")).collect::<Vec<_>>()
    };
    containers(object).iter().flat_map(of).collect()
}

fn missing<'a>(value: &Yaml, keys: &[&'a str]) -> Vec<&'a str> {
    let is_missing = |key: &&&str| value[**key].is_badvalue();
    keys.iter().filter(is_missing).copied().collect()
}

/// CPU in thousandths, memory in bytes.
fn quantity(value: &Yaml) -> Option<u64> {
    let text = text(value);
    let units = [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10), ("m", 1)];
    let unit = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (number, factor) = unit.unwrap_or((&text, 1000));
    Some(number.parse::<u64>().ok()? * factor)
}

// Best practices.

fn declarative(object: &Yaml) -> Vec<String> {
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

fn requests_and_limits(object: &Yaml) -> Vec<String> {
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

fn liveness_and_readiness(object: &Yaml) -> Vec<String> {
    probes_of(object, &["livenessProbe", "readinessProbe"])
}

#[test]
fn use_liveness_and_readiness_probes() {
    expect_kept("use_liveness_and_readiness_probes", liveness_and_readiness);
}

fn namespaced(object: &Yaml) -> Vec<String> {
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

fn no_secret(object: &Yaml) -> Vec<String> {
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
fn secrets_in(text: &str) -> Vec<String> {
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

fn all_probes(object: &Yaml) -> Vec<String> {
    probes_of(object, &PROBES)
}

#[test]
fn health_checks() {
    expect_kept("health_checks", all_probes);
}

fn history(object: &Yaml) -> Vec<String> {
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

fn scraped(object: &Yaml) -> Vec<String> {
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

// Pitfalls.

fn root(object: &Yaml) -> Vec<String> {
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
fn unbounded(object: &Yaml) -> Vec<String> {
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

fn floating_tag(object: &Yaml) -> Vec<String> {
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
fn hardcoded(object: &Yaml) -> Vec<String> {
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

fn monolithic(object: &Yaml) -> Vec<String> {
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
fn harmful_probes(object: &Yaml) -> Vec<String> {
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

/// Each row finds what it is for in a manifest that is otherwise as it should be.
#[test]
fn every_row_finds_its_fault() {
    let good = repository().join("deploy/lesson01/ml-api/deployment.yaml");
    let good = fs::read_to_string(good)
        .expect("readable")
        .replace("  name: ml-api\n  labels", "  name: ml-api\n  namespace: a\n  labels");
    let without_model = good.replace("- name: MODEL_NAME", "- name: SERVICE_NAME");
    let secret = "- name: API_KEY\n              value: \"1\"\n            - name: SERVICE_PORT";
    let two = "      containers:\n        - name: other\n          image: other:1\n        - name: ml-api";
    let cases: &[(&str, Row, &str, &str)] = &[
        (
            "always_use_declarative_yaml",
            declarative,
            "  name: ml-api\n  namespace",
            "  generateName: ml-api\n  namespace",
        ),
        (
            "set_resource_requests_and_limits",
            requests_and_limits,
            "            requests:\n              memory: \"128Mi\"\n",
            "            requests:\n",
        ),
        (
            "use_liveness_and_readiness_probes",
            liveness_and_readiness,
            "livenessProbe:",
            "startupProbe2:",
        ),
        ("namespaces_separation", namespaced, "  namespace: a\n", ""),
        ("secrets_management", no_secret, "- name: SERVICE_PORT", secret),
        ("secrets_management", no_secret, "kind: Deployment", "kind: Secret"),
        ("health_checks", all_probes, "startupProbe:", "lifecycle2:"),
        (
            "rollback_strategy",
            history,
            "revisionHistoryLimit: 10",
            "revisionHistoryLimit: 0",
        ),
        (
            "monitor_everything",
            scraped,
            "prometheus.io/port: \"8080\"",
            "prometheus.io/port: \"8081\"",
        ),
        (
            "monitor_everything",
            scraped,
            "prometheus.io/scrape: \"true\"",
            "prometheus.io/scrape: \"false\"",
        ),
        ("running_as_root", root, "runAsNonRoot: true", "runAsNonRoot: false"),
        ("running_as_root", root, "runAsUser: 65532", "runAsUser: 0"),
        ("running_as_root", root, "drop: [\"ALL\"]", "drop: []"),
        (
            "running_as_root",
            root,
            "allowPrivilegeEscalation: false",
            "allowPrivilegeEscalation: true",
        ),
        (
            "running_as_root",
            root,
            "readOnlyRootFilesystem: true",
            "readOnlyRootFilesystem: false",
        ),
        ("running_as_root", root, "type: RuntimeDefault", "type: Unconfined"),
        ("no_resource_limits", unbounded, "memory: \"256Mi\"", "memory: \"2Gi\""),
        ("no_resource_limits", unbounded, "cpu: \"200m\"", "cpu2: \"200m\""),
        ("latest_tag", floating_tag, "image: ml-api:v1", "image: ml-api:latest"),
        (
            "latest_tag",
            floating_tag,
            "image: ml-api:v1",
            "image: registry:5000/ml-api",
        ),
        (
            "hardcoded_config",
            hardcoded,
            "- name: POD_NAME\n",
            "- name: LOG_LEVEL\n              value: debug\n            - name: POD_NAME\n",
        ),
        (
            "hardcoded_config",
            hardcoded,
            "image: ml-api:v1",
            "image: ml-api:v1\n          args: [--x]",
        ),
        (
            "hardcoded_config",
            hardcoded,
            "metadata:\n  name: ml-api",
            "data: { gateway.yaml: 'clusters: [{ name: \"a.b:1\" }]' }\nmetadata:\n  name: ml-api",
        ),
        (
            "hardcoded_config",
            hardcoded,
            "metadata:\n  name: ml-api",
            "data: { gateway.yaml: 'clusters: [{ name: \"a:1\", endpoints: [\"10.0.0.1:1\"] }]' }\nmetadata:\n  name: ml-api",
        ),
        (
            "monolithic_pods",
            monolithic,
            "      containers:\n        - name: ml-api",
            two,
        ),
        (
            "ignoring_probes",
            harmful_probes,
            "path: /livez\n              port: http",
            "path: /livez\n              port: admin",
        ),
        (
            "ignoring_probes",
            harmful_probes,
            "failureThreshold: 6",
            "failureThreshold: 2",
        ),
    ];
    let faults_in = |manifest: &str, row: Row| row(&YamlLoader::load_from_str(manifest).expect("YAML")[0]);
    let rows: BTreeSet<&str> = cases.iter().map(|case| case.0).collect();
    assert_eq!(rows.len(), 14, "eight practices and six pitfalls");
    for (row, check, from, to) in cases {
        assert_eq!(faults_in(&without_model, *check), [""; 0], "{row}");
        assert!(without_model.contains(from), "{row}: no {from}");
        let faults = faults_in(&without_model.replacen(from, to, 1), *check);
        assert!(!faults.is_empty(), "{row} does not see {to:?}");
    }
    assert_eq!(
        secrets_in("--from-literal=API_KEY=<yours> --from-literal=A=\"$KEY\""),
        [""; 0]
    );
    assert_eq!(secrets_in("--from-literal=API_KEY=abc \\"), ["API_KEY=abc"]);
    assert_eq!(
        secrets_in(concat!("-----BEGIN ", "PRIVATE KEY-----")),
        ["a private key"]
    );
}
