//! The chart's objects are those of deploy/base, of each overlay and of each component.

use e2e::repository;
use shared::test_util::Scratch;

use crate::objects::{differences, read};
use crate::tool::{chart, helm, kustomize, said};

/// What a component of deploy/components is in the chart's values. Those without values are applied beside a release.
const COMPONENTS: &[(&str, &[&str])] = &[
    (
        "autoscaling",
        &[
            "mlInference.autoscaling.enabled=true",
            "gateway.autoscaling.enabled=true",
        ],
    ),
    ("network-policy", &["networkPolicy.enabled=true"]),
    (
        "models",
        &[
            "mlInference.models.enabled=true",
            "mlInference.env.MAX_BODY_BYTES=32Mi",
            "mlInference.resources.requests.memory=256Mi",
            "mlInference.resources.limits.memory=512Mi",
        ],
    ),
];

fn expect_same(what: &str, kustomized: &str, rendered: &str) {
    let (wanted, found) = (read(kustomized), read(rendered));
    assert!(wanted.len() > 10, "{what}: {} objects are few", wanted.len());
    let differences = differences(&wanted, &found);
    assert!(differences.is_empty(), "{what}:\n{}", differences.join("\n"));
}

#[test]
fn the_default_values_are_the_base() {
    let Some(rendered) = chart("mlops-lab", &[]) else {
        return;
    };
    expect_same("base", &kustomize("deploy/base"), &rendered);
}

#[test]
fn each_overlay_has_a_values_file_that_is_the_same() {
    let overlays = std::fs::read_dir(repository().join("deploy/overlays")).expect("deploy/overlays");
    let mut compared = 0;
    for overlay in overlays {
        let name = overlay.expect("readable").file_name().into_string().expect("UTF-8");
        let values = format!("deploy/helm/values-{name}.yaml");
        let Some(rendered) = chart(&format!("mlops-lab-{name}"), &["--values", &values]) else {
            return;
        };
        expect_same(&name, &kustomize(&format!("deploy/overlays/{name}")), &rendered);
        compared += 1;
    }
    assert_eq!(compared, 3);
}

#[test]
fn each_component_has_values_that_are_the_same() {
    for (name, values) in COMPONENTS {
        let scratch = Scratch::new("component");
        // kustomize takes relative paths only, and no absolute one leads out of a temporary directory.
        let copied = std::process::Command::new("cp")
            .arg("-R")
            .arg(repository().join("deploy"))
            .arg(scratch.path().join("deploy"))
            .status()
            .expect("cp runs");
        assert!(copied.success());
        scratch.file(
            "kustomization.yaml",
            format!(
                "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [deploy/base]\n\
                 components: [deploy/components/{name}]\n"
            ),
        );
        let arguments: Vec<&str> = values.iter().flat_map(|value| ["--set", *value]).collect();
        let Some(rendered) = chart("mlops-lab", &arguments) else {
            return;
        };
        let kustomized = kustomize(scratch.path().to_str().expect("UTF-8"));
        expect_same(name, &kustomized, &rendered);
    }
}

#[test]
fn the_chart_passes_helms_own_check() {
    for values in [
        "values.yaml",
        "values-dev.yaml",
        "values-staging.yaml",
        "values-prod.yaml",
    ] {
        let file = format!("deploy/helm/{values}");
        let Some(output) = helm(&["lint", "--strict", "deploy/helm", "--values", &file]) else {
            return;
        };
        let all = format!("{}{}", String::from_utf8_lossy(&output.stdout), said(&output));
        assert!(output.status.success(), "{values}: {all}");
    }
}

/// helm has the numbers of a values file as floats, which print as 1e+06.
#[test]
fn a_large_number_and_a_truth_value_are_written_as_they_are() {
    let scratch = Scratch::new("values");
    let values = scratch.file(
        "values.yaml",
        "gateway:
  env: { MAX_CONNECTIONS: 1000000, CONNECT_TIMEOUT: 0.25 }
  config: { max_body_bytes: 2000000, routes: [{ prefix: /, cluster: ml-inference-service:5000 }] }
mlInference:
  config: { BATCH_SIZE: 16384 }
",
    );
    let Some(rendered) = chart("mlops-lab", &["--values", values.to_str().expect("UTF-8")]) else {
        return;
    };
    let objects = read(&rendered);
    assert_eq!(objects["ConfigMap ml-config"]["data"]["BATCH_SIZE"], "16384");
    let container = &objects["Deployment api-gateway"]["spec"]["template"]["spec"]["containers"][0];
    let variables = container["env"].as_array().expect("variables");
    let value = |name: &str| {
        let variable = variables.iter().find(|variable| variable["name"] == name);
        variable.unwrap_or_else(|| panic!("no {name}"))["value"].clone()
    };
    assert_eq!(value("MAX_CONNECTIONS"), "1000000");
    assert_eq!(value("CONNECT_TIMEOUT"), "0.25");
    let gateway_yaml = &objects["ConfigMap gateway-config"]["data"]["gateway.yaml"];
    assert_eq!(gateway_yaml["max_body_bytes"], 2_000_000);
    assert_eq!(gateway_yaml["routes"].as_array().map(Vec::len), Some(1));
}

/// What no overlay uses.
#[test]
fn the_other_values_stand_where_kubernetes_reads_them() {
    let scratch = Scratch::new("values");
    let values = scratch.file(
        "values.yaml",
        "imagePullSecrets: [{ name: registry }]
gateway:
  image: { name: example.com/lab/api-gateway, tag: \"2.0\", pullPolicy: Always }
  discovery: { rbac: false }
  secret: other-keys
  service: { type: ClusterIP, annotations: { a: b } }
  extraEnv: [{ name: NODE, valueFrom: { fieldRef: { fieldPath: spec.nodeName } } }]
  nodeSelector: { disk: fast }
  topologySpread: []
  disruptionBudget: { enabled: false }
mlInference:
  env: { MODEL_URI: s3://models/iris }
  disruptionBudget: { maxUnavailable: 25% }
  models: { enabled: true, create: false, claimName: theirs }
podMonitor: { enabled: true, labels: { release: prometheus } }
",
    );
    let Some(rendered) = chart("mlops-lab", &["--values", values.to_str().expect("UTF-8")]) else {
        return;
    };
    let objects = read(&rendered);
    let pod = &objects["Deployment api-gateway"]["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "example.com/lab/api-gateway:2.0");
    assert_eq!(container["imagePullPolicy"], "Always");
    assert_eq!(
        container["env"][2]["valueFrom"]["fieldRef"]["fieldPath"],
        "spec.nodeName"
    );
    assert_eq!(pod["imagePullSecrets"][0]["name"], "registry");
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["nodeSelector"]["disk"], "fast");
    assert!(pod["topologySpreadConstraints"].is_null());
    assert_eq!(pod["volumes"][2]["secret"]["secretName"], "other-keys");
    let service = &objects["Service api-gateway-service"];
    assert_eq!(service["spec"]["type"], "ClusterIP");
    assert!(service["spec"]["ports"][0]["nodePort"].is_null());
    assert_eq!(service["metadata"]["annotations"]["a"], "b");
    for gone in [
        "Role api-gateway",
        "RoleBinding api-gateway",
        "PodDisruptionBudget api-gateway",
        "PersistentVolumeClaim theirs",
    ] {
        assert!(!objects.contains_key(gone), "{gone}");
    }
    assert_eq!(
        objects["PodDisruptionBudget ml-inference"]["spec"]["maxUnavailable"],
        "25%"
    );
    let pod = &objects["Deployment ml-inference"]["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"][3]["persistentVolumeClaim"]["claimName"], "theirs");
    assert!(rendered.contains("name: MODEL_URI\n"), "{rendered}");
    for (app, port) in [("api-gateway", "admin"), ("ml-inference", "http")] {
        let monitor = &objects[&format!("PodMonitor {app}")];
        assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
        assert_eq!(monitor["spec"]["selector"]["matchLabels"]["app"], app);
        assert_eq!(monitor["spec"]["podMetricsEndpoints"][0]["port"], port);
        let ports = &objects[&format!("Deployment {app}")]["spec"]["template"]["spec"]["containers"][0]["ports"];
        let is_there = |named: &serde_json::Value| named["name"] == port;
        assert!(
            ports.as_array().is_some_and(|ports| ports.iter().any(is_there)),
            "{app}: {ports}"
        );
    }
}
