//! values.schema.json and the table of values are made here: of the services' own tables of settings, and of what the chart adds.
//!
//! The schema is of draft-07, the newest that helm 3.17 knows, whose patterns are Go's: without look-ahead.

use std::path::PathBuf;

use e2e::repository;
use serde_json::{Map, Value, json};
use shared::cli::Program;
use shared::config::{Setting, schema};
use shared::test_util::docs::{Table, check_page, code};
use yaml_rust2::{Yaml, YamlLoader};

const GATEWAY: Program = gateway::config::PROGRAM;
const ML_INFERENCE: Program = ml_inference::config::PROGRAM;
const MEND: &str = "cargo nextest run -p e2e --test helm schema";

/// Settings that the chart gives itself, because ports, mounts and names of the pod depend on them.
const OF_THE_CHART: &[&str] = &[
    "POD_NAME",
    "LISTEN_ADDRESS",
    "BIND_ADDRESS",
    "SERVICE_PORT",
    "MODELS_DIR",
];

const QUANTITY: &str = "^[0-9]+(\\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$";
const NAME: &str = "^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$";

/// A map with these keys alone.
fn map<const N: usize>(description: &str, entries: [(&str, Value); N]) -> Value {
    let properties: Map<String, Value> = entries
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect();
    json!({ "description": description, "type": "object", "properties": properties, "additionalProperties": false })
}

fn boolean(description: &str) -> Value {
    json!({ "description": description, "type": "boolean" })
}

fn whole(description: &str, least: i64, most: i64) -> Value {
    json!({ "description": description, "type": "integer", "minimum": least, "maximum": most })
}

fn text(description: &str, pattern: &str) -> Value {
    json!({ "description": description, "type": "string", "pattern": pattern })
}

fn one_of<const N: usize>(description: &str, names: [&str; N]) -> Value {
    json!({ "description": description, "enum": names.to_vec() })
}

/// What goes into the manifest as it is, and is the API server's to check.
fn maps_of_kubernetes(description: &str) -> Value {
    json!({ "description": description, "type": "array", "items": { "type": "object" } })
}

fn map_of_kubernetes(description: &str) -> Value {
    json!({ "description": description, "type": "object" })
}

fn texts_by_name(description: &str) -> Value {
    json!({ "description": description, "type": "object", "additionalProperties": { "type": "string" } })
}

fn image() -> Value {
    map(
        "The image.",
        [
            (
                "name",
                text(
                    "Its name, with the registry if it has one.",
                    "^[a-z0-9][A-Za-z0-9._/:-]*$",
                ),
            ),
            // A tag that moves says nothing of what runs.
            (
                "tag",
                json!({
                    "description": "Its tag, which is not `latest`.", "type": "string",
                    "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$", "not": { "enum": ["latest"] },
                }),
            ),
            (
                "pullPolicy",
                one_of("When it is pulled.", ["IfNotPresent", "Always", "Never"]),
            ),
        ],
    )
}

fn resources() -> Value {
    let quantity =
        |description: &str| json!({ "description": description, "type": ["string", "integer"], "pattern": QUANTITY });
    let amounts = |description: &str| {
        map(
            description,
            [
                ("cpu", quantity("CPU.")),
                ("memory", quantity("Memory.")),
                ("ephemeral-storage", quantity("Disk.")),
            ],
        )
    };
    map(
        "What a container asks for and may have.",
        [
            ("requests", amounts("What the scheduler sets aside.")),
            ("limits", amounts("What it may have at most.")),
        ],
    )
}

fn topology_spread() -> Value {
    let constraint = map(
        "A constraint.",
        [
            (
                "maxSkew",
                whole("Most pods that one domain may have more than another.", 1, 1000),
            ),
            (
                "topologyKey",
                text("The node label whose values are the domains.", "^[A-Za-z0-9./_-]+$"),
            ),
            (
                "whenUnsatisfiable",
                one_of("A preference, or a condition.", ["ScheduleAnyway", "DoNotSchedule"]),
            ),
        ],
    );
    json!({
        "description": "How pods are spread over nodes; `labelSelector` and `matchLabelKeys` are the chart's.",
        "type": "array", "items": required(constraint, &["maxSkew", "topologyKey", "whenUnsatisfiable"]),
    })
}

fn required(mut schema: Value, names: &[&str]) -> Value {
    schema["required"] = names.into();
    schema
}

fn autoscaling() -> Value {
    map(
        "The HorizontalPodAutoscaler, which then owns the number of replicas.",
        [
            ("enabled", boolean("Whether there is one.")),
            ("minReplicas", whole("Fewest pods.", 1, 1000)),
            ("maxReplicas", whole("Most pods.", 1, 1000)),
            (
                "cpuUtilization",
                whole(
                    "CPU in percent of the request that it aims at; 0: not by CPU.",
                    0,
                    10_000,
                ),
            ),
            (
                "metrics",
                maps_of_kubernetes("Further metrics (autoscaling/v2 MetricSpec)."),
            ),
            (
                "behavior",
                map_of_kubernetes("How fast it scales (HorizontalPodAutoscalerBehavior)."),
            ),
        ],
    )
}

fn disruption_budget() -> Value {
    map(
        "The PodDisruptionBudget.",
        [
            ("enabled", boolean("Whether there is one.")),
            (
                "maxUnavailable",
                json!({
                    "description": "Most pods that a node drain may take at once, or their share.",
                    "type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]+%$",
                }),
            ),
        ],
    )
}

/// What both services have.
fn service(description: &str, program: &Program, entries: Vec<(&str, Value)>) -> Value {
    let secrets = program.settings.iter().filter(|setting| setting.secret);
    let secrets: Vec<String> = secrets.map(|setting| code(setting.name)).collect();
    let mut schema = map(
        description,
        [
            ("replicas", whole("Pods, without an autoscaler.", 0, 1000)),
            ("image", image()),
            ("resources", resources()),
            (
                "env",
                settings(
                    &format!("Settings of {} as variables of the container.", program.name),
                    program,
                ),
            ),
            (
                "extraEnv",
                maps_of_kubernetes("Further variables as Kubernetes has them, for `valueFrom`."),
            ),
            (
                "secret",
                text(
                    &format!("Name of the Secret with {}; it may be missing.", secrets.join(", ")),
                    NAME,
                ),
            ),
            (
                "terminationGracePeriodSeconds",
                whole("More than `DRAIN_WINDOW` and `DRAIN_TIMEOUT` together.", 1, 7200),
            ),
            ("topologySpread", topology_spread()),
            ("nodeSelector", texts_by_name("Labels that a pod's node has to have.")),
            ("tolerations", maps_of_kubernetes("Taints of nodes that pods tolerate.")),
            ("affinity", map_of_kubernetes("Affinity of pods.")),
            ("disruptionBudget", disruption_budget()),
            ("autoscaling", autoscaling()),
        ],
    );
    for (name, value) in entries {
        schema["properties"][name] = value;
    }
    schema
}

/// A map of settings by their names in upper case. Secrets have no place in a ConfigMap.
fn settings(description: &str, program: &Program) -> Value {
    let mut properties = Map::new();
    for setting in program.settings {
        if !setting.secret && !OF_THE_CHART.contains(&setting.name) {
            properties.insert(setting.name.to_owned(), of_setting(setting));
        }
    }
    json!({ "description": description, "type": "object", "properties": properties, "additionalProperties": false })
}

fn of_setting(setting: &Setting) -> Value {
    let mut file = schema("", &[*setting], &[]);
    for_helm(file["properties"][setting.key()].take())
}

/// What both services may read: a setting of both has to suit both.
fn shared_settings() -> Value {
    let mut all = settings(
        "Settings that both services read (ConfigMap `shared-config`).",
        &GATEWAY,
    );
    let others = settings("", &ML_INFERENCE);
    for (name, other) in others["properties"].as_object().expect("properties") {
        let property = &mut all["properties"][name];
        let form = |schema: &Value| {
            let mut schema = schema.clone();
            if let Some(members) = schema.as_object_mut() {
                members.retain(|key, _| key != "description" && key != "default");
            }
            schema
        };
        match property.is_null() {
            true => *property = other.clone(),
            false if form(property) != form(other) => property["allOf"] = json!([form(other)]),
            false => {}
        }
    }
    all
}

/// The same in draft-07 and with Go's patterns. Numbers that are texts to the services are refused: helm turns 1.10 into 1.1.
fn for_helm(schema: Value) -> Value {
    let Value::Object(entries) = schema else {
        return match schema {
            Value::Array(items) => items.into_iter().map(for_helm).collect(),
            other => other,
        };
    };
    let mut written = Map::new();
    for (key, value) in entries {
        match (key.as_str(), &value) {
            ("$schema" | "title", Value::String(_)) => {}
            ("dependentRequired", _) => drop(written.insert("dependencies".to_owned(), value)),
            ("type", Value::Array(types))
                if ["string", "number", "boolean"]
                    .iter()
                    .all(|name| types.contains(&json!(name))) =>
            {
                let left = types
                    .iter()
                    .filter(|name| !["number", "boolean"].contains(&name.as_str().unwrap_or_default()));
                written.insert(key, left.cloned().collect());
            }
            ("pattern", Value::String(pattern)) => {
                let (pattern, refused) = without_look_ahead(pattern);
                written.insert(key, pattern.into());
                let refused: Vec<Value> = refused
                    .iter()
                    .map(|pattern| json!({ "not": { "pattern": pattern } }))
                    .collect();
                if !refused.is_empty() {
                    written.insert("allOf".to_owned(), refused.into());
                }
            }
            _ => drop(written.insert(key, for_helm(value))),
        }
    }
    written.into()
}

/// `^(?!.*A)(?!.*B)C` as C alone and what may be nowhere: A and B.
fn without_look_ahead(pattern: &str) -> (String, Vec<String>) {
    let (mut rest, mut refused) = (pattern.to_owned(), Vec::new());
    while let Some(start) = rest.find("(?!.*") {
        let mut depth = 0_usize;
        let end = rest[start..].char_indices().find_map(|(at, character)| {
            match character {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            (depth == 0).then_some(start + at)
        });
        let end = end.unwrap_or_else(|| panic!("{pattern} ends in a group"));
        refused.push(rest[start + "(?!.*".len()..end].to_owned());
        rest.replace_range(start..=end, "");
    }
    assert!(!rest.contains("(?"), "{pattern}: Go knows no such group");
    (rest, refused)
}

fn values() -> Value {
    let mut gateway_yaml = for_helm(serde_json::from_str(&GATEWAY.schema()).expect("JSON"));
    gateway_yaml["description"] =
        "`gateway.yaml`: clusters, routes and settings. A list replaces the whole default list.".into();
    gateway_yaml["type"] = "object".into();
    let gateway_service = map(
        "The public Service.",
        [
            ("type", one_of("Its type.", ["NodePort", "ClusterIP", "LoadBalancer"])),
            ("port", whole("Its port.", 1, 65_535)),
            (
                "nodePort",
                whole(
                    "The port of every node; `null`: the cluster chooses one.",
                    30_000,
                    32_767,
                ),
            ),
            (
                "annotations",
                texts_by_name("Annotations, such as those that load balancers of clouds read."),
            ),
        ],
    );
    let discovery = map(
        "How pods of ml-inference are found.",
        [(
            "rbac",
            boolean(
                "The Role, RoleBinding and token with which the gateway reads EndpointSlices; without them it asks DNS.",
            ),
        )],
    );
    let models = map(
        "A volume with models, mounted at `/models` (`MODELS_DIR`). Models of a registry need none: `env.MODEL_URI`.",
        [
            ("enabled", boolean("Whether there is one.")),
            ("claimName", text("The PersistentVolumeClaim.", NAME)),
            (
                "create",
                boolean("Whether the chart makes it; it outlives the release."),
            ),
            ("size", text("Its size.", QUANTITY)),
            (
                "accessModes",
                json!({
                    "description": "Its access modes.", "type": "array", "minItems": 1,
                    "items": { "enum": ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"] },
                }),
            ),
            (
                "storageClassName",
                text(
                    "Its class; empty: the cluster's default.",
                    "^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)?$",
                ),
            ),
        ],
    );
    let mut all = map(
        "",
        [
            (
                "namespace",
                map(
                    "The namespace of the release.",
                    [
                        (
                            "create",
                            boolean(
                                "Whether the Namespace is among the objects: for `helm template` and what applies its output. `helm install` needs it before.",
                            ),
                        ),
                        (
                            "podSecurity",
                            one_of(
                                "The Pod Security Standard that it enforces.",
                                ["privileged", "baseline", "restricted"],
                            ),
                        ),
                    ],
                ),
            ),
            (
                "imagePullSecrets",
                json!({
                    "description": "Secrets for the registry, as `- name: NAME`.", "type": "array",
                    "items": required(map("", [("name", text("Name of the Secret.", NAME))]), &["name"]),
                }),
            ),
            ("sharedConfig", shared_settings()),
            (
                "gateway",
                service(
                    "The gateway.",
                    &GATEWAY,
                    vec![
                        ("config", gateway_yaml),
                        ("discovery", discovery),
                        ("service", gateway_service),
                    ],
                ),
            ),
            (
                "mlInference",
                service(
                    "ml-inference.",
                    &ML_INFERENCE,
                    vec![
                        (
                            "config",
                            settings("Settings of ml-inference in the ConfigMap `ml-config`.", &ML_INFERENCE),
                        ),
                        ("models", models),
                    ],
                ),
            ),
            (
                "networkPolicy",
                map(
                    "Who may reach what, as `deploy/components/network-policy`.",
                    [
                        ("enabled", boolean("Whether there are policies.")),
                        (
                            "prometheus",
                            map(
                                "Who may read metrics.",
                                [
                                    ("namespace", text("Its namespace.", NAME)),
                                    ("podLabels", texts_by_name("Labels of its pods.")),
                                ],
                            ),
                        ),
                        (
                            "gatewayEgress",
                            maps_of_kubernetes("Further egress rules of the gateway, for clusters of other Services."),
                        ),
                        (
                            "mlInferenceEgress",
                            maps_of_kubernetes(
                                "Egress rules of ml-inference: with a `MODEL_URI` DNS and the registry.",
                            ),
                        ),
                    ],
                ),
            ),
            (
                "podMonitor",
                map(
                    "PodMonitors of the Prometheus operator. Not ServiceMonitors: the gateway's admin port is in no Service.",
                    [
                        ("enabled", boolean("Whether there are any.")),
                        ("interval", text("Time between two scrapes.", "^[0-9]+(ms|s|m|h)$")),
                        ("labels", texts_by_name("Labels by which the operator selects them.")),
                    ],
                ),
            ),
            (
                "test",
                map(
                    "The pod of `helm test`.",
                    [("image", text("An image with a shell and wget.", "^[a-z0-9].*$"))],
                ),
            ),
        ],
    );
    let object = all.as_object_mut().expect("an object");
    object.insert("description".to_owned(), "Values of the chart deploy/helm.".into());
    object.insert("$schema".to_owned(), "http://json-schema.org/draft-07/schema#".into());
    all
}

fn in_chart(name: &str) -> PathBuf {
    repository().join("deploy/helm").join(name)
}

#[test]
fn the_shipped_schema_is_made_of_the_tables_of_settings() {
    let path = in_chart("values.schema.json");
    let expected = format!("{:#}\n", values());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).expect("writable");
    }
    let shipped = std::fs::read_to_string(&path).expect("it is shipped");
    assert!(
        shipped == expected,
        "{} is old; run: UPDATE_DOCS=1 {MEND}",
        path.display()
    );
}

/// The rows of the table below `path`: one for each value that the chart has a name for.
fn add_rows(table: &mut Table, path: &str, schema: &Value, default: &Yaml) {
    let is_settings = path.ends_with(".env") || path.ends_with(".config") || path == "sharedConfig";
    let properties = schema["properties"]
        .as_object()
        .filter(|_| !is_settings && !path.ends_with(".resources"));
    for (name, property) in properties.into_iter().flatten() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        add_rows(table, &path, property, &default[name.as_str()]);
    }
    if properties.is_none() {
        let description = schema["description"]
            .as_str()
            .unwrap_or_else(|| panic!("{path} has a description"));
        table.row([&code(path), &shown(default, path), description]);
    }
}

fn shown(default: &Yaml, path: &str) -> String {
    match default {
        Yaml::String(text) if text.is_empty() => "empty".to_owned(),
        Yaml::String(text) => code(text),
        Yaml::Integer(number) => code(number),
        Yaml::Boolean(value) => code(value),
        Yaml::Array(items) if items.is_empty() => "none".to_owned(),
        Yaml::Hash(entries) if entries.is_empty() => "none".to_owned(),
        Yaml::Array(_) | Yaml::Hash(_) => "see `values.yaml`".to_owned(),
        other => panic!("values.yaml has no default of {path}: {other:?}"),
    }
}

#[test]
fn the_schemas_table_of_values_lists_them_all() {
    let text = std::fs::read_to_string(in_chart("values.yaml")).expect("readable");
    let defaults = YamlLoader::load_from_str(&text).expect("YAML");
    let mut table = Table::new(["Value", "Default", "Meaning"]);
    add_rows(&mut table, "", &values(), &defaults[0]);
    check_page(&in_chart("README.md"), MEND, &[("values", &table)]);
}

#[test]
fn a_schemas_look_ahead_becomes_a_pattern_of_its_own() {
    let (pattern, refused) = without_look_ahead("^(?!.*//)(?!.*/\\.{1,2}(/|$))/[a-z]*$");
    assert_eq!(pattern, "^/[a-z]*$");
    assert_eq!(refused, ["//", "/\\.{1,2}(/|$)"]);
    assert_eq!(without_look_ahead("^a(b)$"), ("^a(b)$".to_owned(), Vec::new()));
}
