//! Each row finds its fault: a row that sees nothing would hold everywhere.

use std::collections::BTreeSet;
use std::fs;

use e2e::repository;
use yaml_rust2::YamlLoader;

use crate::Row;
use crate::pitfalls::{floating_tag, hardcoded, harmful_probes, monolithic, root, unbounded};
use crate::practices::{
    all_probes, declarative, history, liveness_and_readiness, namespaced, no_secret, requests_and_limits, scraped,
    secrets_in,
};

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
