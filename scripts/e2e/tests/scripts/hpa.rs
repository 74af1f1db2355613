//! hpa.sh

use shared::test_util::{Signal, eventually};

use crate::stage::{PATIENCE, Ran, Stage};

/// Three replicas of half_plus_two, and an autoscaler that sees these readings, look by look.
fn autoscaled(readings: &[&str]) -> Stage {
    let mut stage = Stage::deployed();
    stage.set("replicas", "3");
    stage.set("model", "half_plus_two");
    stage.set("served", "half_plus_two");
    stage.set("looks", &readings.join("\n"));
    stage.set_variable("POLL_SECONDS", "0");
    stage.set_variable("QUIET_SECONDS", "0");
    stage
}

/// The model and the replicas are what they were, and the autoscaler is gone.
#[track_caller]
fn expect_as_before(stage: &Stage) {
    let state = ["model", "served", "replicas"].map(|name| stage.read(name));
    assert_eq!(state, ["half_plus_two", "half_plus_two", "3"]);
    stage.expect_a_call(" delete hpa ml-inference-hpa ");
}

#[track_caller]
fn expect_nothing_changed(stage: &Stage) {
    for change in [" patch ", " apply ", " rollout "] {
        stage.expect_no_call(change);
    }
}

#[tokio::test]
async fn the_model_the_autoscaler_load_until_the_replicas_follow_less_until_they_settle_and_all_back() {
    let stage = autoscaled(&["3|3|24", "3|6|104", "6|6|101", "6|6|52", "4|4|12", "3|3|12", "2|2|15"]);
    let ran = stage.run("hpa.sh", &[]).await;
    ran.ends_with(0)
        .says(&[
            "now every answer is of the model mlp",
            "58 a second take 50m of CPU from each of 3 pods, which request 50m",
            "3 replicas, 6 wanted, CPU at 104 % of the request (target 50 %)",
            "6 -> 2 replicas: 180 s by the autoscaler's rules",
            "now every answer is of the model half_plus_two",
        ])
        .concludes("failed requests: 0 of 2000");
    let look = "get hpa ml-inference-hpa -o jsonpath={.status.currentReplicas}|{.status.desiredReplicas}|{.status.currentMetrics[0].resource.current.averageUtilization}";
    let gone = "get pods -l app=ml-inference -o jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}";
    stage.expect_calls_after_checks(&format!(
        "top pods -l app=ml-inference --no-headers
         exec deployment/ml-inference -c ml-model -- /ml-inference --help
         get deployment ml-inference -o jsonpath={{.spec.replicas}}
         get configmap shared-config -o jsonpath={{.data.MODEL_NAME}}
         get hpa -o jsonpath={{.items[?(@.spec.scaleTargetRef.name==\"ml-inference\")].metadata.name}}
         patch configmap shared-config --type merge -p {{\"data\":{{\"MODEL_NAME\":\"mlp\"}}}}
         rollout restart deployment/ml-inference
         rollout status deployment/ml-inference --timeout 5s
         {gone}
         {gone}
         apply -f -
         get hpa ml-inference-hpa -o jsonpath={{.spec.minReplicas}}|{{.spec.metrics[0].resource.target.averageUtilization}}|{{.spec.behavior.scaleDown.stabilizationWindowSeconds}}|{{.spec.behavior.scaleDown.policies[0].type}}|{{.spec.behavior.scaleDown.policies[0].value}}|{{.spec.behavior.scaleDown.policies[0].periodSeconds}}
         {look}
         rollout status deployment/ml-inference --timeout 5s
         get deployment ml-inference -o jsonpath={{.spec.template.spec.containers[?(@.name==\"ml-model\")].resources.requests.cpu}}|{{.spec.template.spec.containers[?(@.name==\"ml-model\")].resources.limits.cpu}}
         {look}
         {look}
         rollout status deployment/ml-inference --timeout 5s
         {look}
         {look}
         {look}
         {look}
         rollout status deployment/ml-inference --timeout 5s
         {gone}
         {gone}
         delete hpa ml-inference-hpa --ignore-not-found
         scale deployment/ml-inference --replicas 3
         patch configmap shared-config --type merge -p {{\"data\":{{\"MODEL_NAME\":\"half_plus_two\"}}}}
         rollout restart deployment/ml-inference
         rollout status deployment/ml-inference --timeout 5s
         {gone}
         {gone}"
    ));
    expect_as_before(&stage);
    let loads = stage.read("load-calls");
    let loads: Vec<&str> = loads.lines().collect();
    assert_eq!(loads.len(), 2, "{loads:#?}");
    assert!(
        loads[0].contains("/predict --rate 5 ") && loads[0].ends_with("/row.json"),
        "{loads:#?}"
    );
    assert!(
        loads[1].contains("/predict --rate 58 ") && loads[1].ends_with("/row.json"),
        "{loads:#?}"
    );
    assert!(
        loads[1].contains("/hpa-heavy.json ") && loads[1].contains(" --post "),
        "{loads:#?}"
    );
    assert_eq!(
        stage.read("load-marks").lines().collect::<Vec<_>>(),
        [
            "model: half_plus_two -> mlp",
            "an autoscaler for ml-inference",
            "3 replicas",
            "heavy load",
            "6 replicas",
            "the heavy load is gone",
            "4 replicas",
            "3 replicas",
            "2 replicas",
            "as it was before",
        ]
    );
}

#[tokio::test]
async fn quick_and_the_overlays_namespace() {
    let stage = autoscaled(&["3|6|104", "6|6|50", "6|6|12", "2|2|12"]);
    stage.touch("namespaces/mlops-lab-dev");
    stage
        .run_line("hpa.sh --quick --overlay dev --rate 40")
        .await
        .ends_with(0);
    stage.expect_a_call(
        "patch hpa ml-inference-hpa --type merge -p {\"spec\":{\"behavior\":{\"scaleDown\":{\"stabilizationWindowSeconds\":30,\"policies\":null}}}}",
    );
    let inputs = stage.inputs().join("\n");
    assert!(
        inputs.lines().any(|line| line == "  namespace: mlops-lab-dev"),
        "another namespace: {inputs}"
    );
    let loads = stage.read("load-calls");
    assert!(loads.contains("/predict --rate 40 "), "{loads}");
}

#[tokio::test]
async fn an_autoscaler_that_is_there_is_used_and_left_as_it_is() {
    let stage = autoscaled(&["3|3|24", "3|6|104", "6|6|50", "3|3|12"]);
    stage.set("autoscaler", "ml-inference-hpa");
    let ran = stage.run_line("hpa.sh --quick").await;
    ran.ends_with(1)
        .says(&["the autoscaler ml-inference-hpa is there already, and --quick would change it"]);
    let ran = stage.run("hpa.sh", &[]).await;
    ran.ends_with(0).says(&["6 -> 3 replicas"]);
    for change in [" apply ", " patch hpa ", " delete ", " scale "] {
        stage.expect_no_call(change);
    }
    assert_eq!(stage.read("served"), "half_plus_two");
}

#[tokio::test]
async fn without_metrics_nothing_is_changed() {
    let stage = autoscaled(&["3|3|24"]);
    stage.touch("no-metrics");
    let ran = stage.run("hpa.sh", &[]).await;
    ran.ends_with(3).says(&[
        "no CPU metrics of ml-inference",
        "error: Metrics API not available",
        "metrics-server/releases",
        "--kubelet-insecure-tls",
    ]);
    stage.set("context", "my-profile");
    stage.set("node-label", "my-profile");
    let url = format!("http://127.0.0.1:{}/predict", stage.read("node-port"));
    let ran = stage.run("hpa.sh", &["--url", &url]).await;
    ran.ends_with(3)
        .says(&["minikube addons enable metrics-server --profile my-profile"]);
    expect_nothing_changed(&stage);
}

#[tokio::test]
async fn an_image_without_the_model_is_said_before_anything_is_changed() {
    let stage = autoscaled(&["3|3|24"]);
    stage.touch("old-image");
    let ran = stage.run("hpa.sh", &[]).await;
    ran.ends_with(3).says(&[
        "does not have the model mlp",
        "scripts/build-images.sh --only ml-inference",
    ]);
    expect_nothing_changed(&stage);
}

#[tokio::test]
async fn replicas_that_do_not_follow_fail_it_and_all_is_put_back() {
    let stage = autoscaled(&["3|3|24", "3|3|40"]);
    let ran = stage.run_line("hpa.sh --timeout 1").await;
    ran.ends_with(1)
        .says(&[
            "the replicas did not follow within 1 s: 3, CPU at 40 % of the request",
            "unable to compute",
            "putting the replicas and the model back",
        ])
        .concludes("failed requests: 0 of 2000");
    expect_as_before(&stage);
}

#[tokio::test]
async fn failed_requests_fail_it_those_of_both_loads_count() {
    let stage = autoscaled(&["3|3|24", "3|6|104", "6|6|50", "2|2|12"]);
    stage.load_finds(2, 1000);
    let ran = stage.run("hpa.sh", &[]).await;
    ran.ends_with(1)
        .says(&["requests of the heavy load failed"])
        .concludes("failed requests: 4 of 2000");
    expect_as_before(&stage);
}

#[tokio::test]
async fn an_interrupt_under_the_heavy_load_puts_all_back() {
    let mut stage = autoscaled(&["3|3|24", "3|6|104"]);
    stage.set_variable("POLL_SECONDS", "0.1");
    let mut script = stage.start("hpa.sh", &[]);
    eventually("the autoscaler wants more", PATIENCE, async || {
        script.output().contains("6 wanted")
    })
    .await;
    script.signal(Signal::INT);
    let ran = Ran::of(script.wait_exit(PATIENCE).await);
    ran.ends_with(130)
        .says(&["6 wanted", "putting the replicas and the model back"]);
    expect_as_before(&stage);
}

#[tokio::test]
async fn not_on_processes() {
    let ran = Stage::new().run_line("hpa.sh --local").await;
    ran.ends_with(2).says(&["--local: an autoscaler needs a cluster"]);
}
