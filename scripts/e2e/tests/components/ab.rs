//! The component ab: two versions side by side, each by its path.

use e2e::manifests::{compose, find, list, render, text};
use e2e::{Replica, binary};
use serde_json::{Value, json};
use shared::http_client;
use shared::test_util::{DEADLINE, Process, Scratch};
use yaml_rust2::{Yaml, YamlEmitter, YamlLoader};

fn objects() -> Vec<Yaml> {
    compose(&["deploy/base"], &["deploy/components/ab"], "mlops-lab")
}

fn written(value: &Yaml) -> String {
    let mut written = String::new();
    YamlEmitter::new(&mut written).dump(value).expect("YAML is written");
    written
}

/// What is changed in the base is changed in the copy.
#[test]
fn version_b_is_version_a_but_for_its_name_image_and_replicas() {
    let objects = objects();
    for (kind, a, b) in [
        ("Deployment", "ml-inference", "ml-inference-b"),
        ("Service", "ml-inference-service", "ml-inference-b-service"),
        ("PodDisruptionBudget", "ml-inference", "ml-inference-b"),
    ] {
        let copied = written(&find(&objects, kind, b)["spec"]);
        let copied = copied.replace("app: ml-inference-b\n", "app: ml-inference\n");
        let copied = copied.replace("image: \"ml-inference:2.0\"", "image: \"ml-inference:1.0\"");
        let copied = copied.replace("version: v2\n", "version: v1\n");
        let original = written(&find(&objects, kind, a)["spec"]);
        assert_eq!(copied.replacen("replicas: 2\n", "replicas: 3\n", 1), original, "{kind}");
    }
    let with_policy = compose(
        &["deploy/base"],
        &["deploy/components/network-policy", "deploy/components/ab"],
        "mlops-lab",
    );
    let policy = |name| written(&find(&with_policy, "NetworkPolicy", name)["spec"]);
    let copied = policy("ml-inference-b").replace("app: ml-inference-b\n", "app: ml-inference\n");
    assert_eq!(copied, policy("ml-inference"));
}

fn gateway_yaml(objects: &[Yaml]) -> String {
    text(&find(objects, "ConfigMap", "gateway-config")["data"]["gateway.yaml"])
}

#[test]
fn the_paths_of_the_base_lead_where_they_led() {
    let parsed = |objects: &[Yaml]| {
        YamlLoader::load_from_str(&gateway_yaml(objects))
            .expect("YAML")
            .remove(0)
    };
    let (ours, base) = (parsed(&objects()), parsed(&render("deploy/base")));
    let is_own = |route: &&Yaml| {
        let prefix = text(&route["prefix"]);
        prefix.starts_with("/a/") || prefix.starts_with("/b/")
    };
    let (own, others): (Vec<&Yaml>, Vec<&Yaml>) = list(&ours["routes"]).iter().partition(is_own);
    assert_eq!(others, list(&base["routes"]).iter().collect::<Vec<_>>());
    assert_eq!(own.len(), 4);
    assert_eq!(list(&ours["clusters"])[0], list(&base["clusters"])[0]);
}

#[tokio::test]
async fn a_path_is_answered_by_its_version() {
    let a = Replica::start("ml-inference-1", "1.0", 0).await;
    let b = Replica::start("ml-inference-b-1", "2.0", 0).await;
    // The names of the Services lead to their addresses.
    let mut document = gateway_yaml(&objects());
    for (name, replica) in [("ml-inference-service:5000", &a), ("ml-inference-b-service:5000", &b)] {
        let cluster = format!("- name: {name}\n    discovery: kubernetes\n    port_name: http\n");
        assert_eq!(document.matches(&cluster).count(), 1, "{document}");
        let endpoint = format!("- name: {name}\n    endpoints: [\"{}\"]\n", replica.address);
        document = document.replace(&cluster, &endpoint);
    }
    let scratch = Scratch::new("ab");
    let file = scratch.file("gateway.yaml", document).display().to_string();
    let gateway = Process::start(
        binary("gateway"),
        [
            ("CONFIG_FILE", file.as_str()),
            ("LISTEN_ADDRESS", "127.0.0.1:0"),
            ("ADMIN_ADDRESS", "127.0.0.1:0"),
        ],
    );
    let address = gateway.listening().await;
    let client = http_client::client(DEADLINE).expect("the client builds");
    for (path, body, version) in [
        ("/predict", json!({ "instances": [1.0] }), "1.0"),
        ("/a/predict", json!({ "instances": [1.0] }), "1.0"),
        ("/b/predict", json!({ "instances": [1.0] }), "2.0"),
        ("/v1/models/half_plus_two:predict", json!({ "instances": [1.0] }), "1.0"),
        (
            "/b/v1/models/half_plus_two:predict",
            json!({ "instances": [1.0] }),
            "2.0",
        ),
    ] {
        let url = format!("http://{address}{path}");
        let answer = client
            .post(&url)
            .body(body.to_string())
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.headers()["x-model-version"], version, "{path}");
        let answer: Value = answer.json().await.expect("JSON");
        let predicted = answer.get("predictions").or(answer.get("prediction"));
        assert!(
            predicted.is_some_and(|predicted| predicted.to_string().contains("2.5")),
            "{path}: {answer}"
        );
    }
    for (path, version) in [("/v2/models/half_plus_two", "1"), ("/b/v2/models/half_plus_two", "2")] {
        let url = format!("http://{address}{path}");
        let answer: Value = client
            .get(url)
            .send()
            .await
            .expect("an answer")
            .json()
            .await
            .expect("JSON");
        assert_eq!(answer["versions"], json!([version]), "{path}");
    }
    b.stop().await;
    let gone = client
        .get(format!("http://{address}/b/predict"))
        .send()
        .await
        .expect("an answer");
    assert!(gone.status().is_server_error(), "{}", gone.status());
    let still = client
        .get(format!("http://{address}/predict"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(still.status(), 200, "version A does without version B");
}
