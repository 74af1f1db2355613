//! rolling-update.sh on a cluster

use crate::stage::Stage;

const UNDO: &str = "kubectl --context kind-mlops-lab --namespace mlops-lab rollout undo deployment/ml-inference";

#[tokio::test]
async fn set_image_annotate_wait_until_the_old_pods_are_gone_history_undo_wait_history() {
    let stage = Stage::deployed();
    let ran = stage.run_line("rolling-update.sh --rate 50").await;
    ran.ends_with(0).says(&[
        "now every answer is of version 2.0",
        "now every answer is of version 1.0",
        "    pods and latencies",
    ]);
    ran.concludes("failed requests: 0 of 1000");
    stage.expect_calls(
        "kubectl config current-context
         kubectl --context kind-mlops-lab get --raw /version --request-timeout 10s
         kubectl --context kind-mlops-lab get namespace mlops-lab --ignore-not-found -o name
         kubectl --context kind-mlops-lab --namespace mlops-lab get deployment api-gateway -o name
         kubectl --context kind-mlops-lab --namespace mlops-lab get deployment ml-inference -o name
         kubectl --context kind-mlops-lab --namespace mlops-lab get service api-gateway-service -o jsonpath={.spec.ports[?(@.name==\"http\")].nodePort}
         kubectl --context kind-mlops-lab --namespace mlops-lab get deployment ml-inference -o jsonpath={.spec.template.spec.containers[?(@.name==\"ml-model\")].image}
         kubectl --context kind-mlops-lab --namespace mlops-lab set image deployment/ml-inference ml-model=ml-inference:2.0
         kubectl --context kind-mlops-lab --namespace mlops-lab annotate deployment/ml-inference kubernetes.io/change-cause=Updated to ml-inference:2.0 --overwrite
         kubectl --context kind-mlops-lab --namespace mlops-lab rollout status deployment/ml-inference --timeout 5s
         kubectl --context kind-mlops-lab --namespace mlops-lab get pods -l app=ml-inference -o jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}
         kubectl --context kind-mlops-lab --namespace mlops-lab get pods -l app=ml-inference -o jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}
         kubectl --context kind-mlops-lab --namespace mlops-lab rollout history deployment/ml-inference
         kubectl --context kind-mlops-lab --namespace mlops-lab rollout undo deployment/ml-inference
         kubectl --context kind-mlops-lab --namespace mlops-lab rollout status deployment/ml-inference --timeout 5s
         kubectl --context kind-mlops-lab --namespace mlops-lab get pods -l app=ml-inference -o jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}
         kubectl --context kind-mlops-lab --namespace mlops-lab get pods -l app=ml-inference -o jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}
         kubectl --context kind-mlops-lab --namespace mlops-lab rollout history deployment/ml-inference",
    );
    let load = stage.read("load-calls");
    let asked = format!(
        "--url http://127.0.0.1:{}/predict --rate 50 --connections 16 ",
        stage.read("node-port")
    );
    assert!(load.contains(&asked), "{load}");
    assert_eq!(
        stage.read("load-marks"),
        "v1 -> v2: ml-inference:1.0 -> ml-inference:2.0\nundo"
    );
}

#[tokio::test]
async fn failed_requests_fail_it() {
    let stage = Stage::deployed();
    stage.load_finds(5, 1000);
    let ran = stage.run("rolling-update.sh", &[]).await;
    ran.ends_with(1).concludes("failed requests: 5 of 1000");
}

#[tokio::test]
async fn a_rollout_that_hangs_is_undone() {
    let stage = Stage::deployed();
    stage.touch("rollout-fails");
    let ran = stage.run_line("rolling-update.sh --timeout 1").await;
    ran.ends_with(1)
        .says(&[
            "ml-inference is not rolled out within 1 s",
            "undoing the update of ml-inference",
        ])
        .concludes("failed requests: 0 of 1000");
    assert_eq!(stage.calls().last().map(String::as_str), Some(UNDO));
}

#[tokio::test]
async fn an_old_pod_that_never_goes_fails_it_and_the_update_is_undone() {
    let mut stage = Stage::deployed();
    stage.touch("never-gone");
    stage.set_variable("GONE_SECONDS", "2");
    let ran = stage.run("rolling-update.sh", &[]).await;
    ran.ends_with(1)
        .says(&["still terminating after 2 s: ml-inference-old", "undoing the update"])
        .does_not_say("now every answer")
        .concludes("failed requests: 0 of 1000");
    assert_eq!(stage.calls().last().map(String::as_str), Some(UNDO));
}

#[tokio::test]
async fn an_image_whose_tag_is_no_version_needs_the_version() {
    let stage = Stage::deployed();
    let image = "rolling-update.sh --image registry.example:5000/ml-inference:edge";
    let ran = stage.run_line(image).await;
    ran.ends_with(2).says(&[
        "the tag of registry.example:5000/ml-inference:edge is no version",
        "--version",
    ]);
    stage.expect_calls("");
    let ran = stage.run_line(&format!("{image} --version 2.0")).await;
    ran.ends_with(0).says(&[
        "now every answer is of version 2.0",
        "now every answer is of version 1.0",
    ]);
}

#[tokio::test]
async fn an_answer_of_another_version_than_expected_fails_it() {
    let stage = Stage::deployed();
    let ran = stage.run_line("rolling-update.sh --version 3.0").await;
    ran.ends_with(1)
        .says(&["expected answers of version 3.0 only, got: 2.0"]);
}

#[tokio::test]
async fn two_versions_are_said_before_anything_is_changed() {
    let stage = Stage::deployed();
    stage.set("mixed", "2.0");
    let ran = stage.run("rolling-update.sh", &[]).await;
    ran.ends_with(1).says(&["several versions answer already: 1.0 2.0"]);
    stage.expect_no_call("set image");
}

#[tokio::test]
async fn without_a_namespace() {
    let ran = Stage::new().run("rolling-update.sh", &[]).await;
    ran.ends_with(3).says(&["namespace mlops-lab does not exist"]);
}

#[tokio::test]
async fn where_nothing_is_deployed() {
    let stage = Stage::deployed();
    stage.remove("image");
    let ran = stage.run("rolling-update.sh", &[]).await;
    ran.ends_with(3)
        .says(&["there is no deployment ml-inference", "scripts/deploy.sh"]);
}

#[tokio::test]
async fn an_image_that_the_cluster_does_not_have_is_said_at_once_and_the_update_is_undone() {
    let stage = Stage::deployed();
    stage.touch("rollout-fails");
    stage.touch("image-missing");
    let ran = stage.run("rolling-update.sh", &[]).await;
    ran.ends_with(1).says(&[
        "the cluster has no image ml-inference:2.0",
        "scripts/build-images.sh --only ml-inference --tag 2.0",
        "undoing the update",
    ]);
}

#[tokio::test]
async fn a_cluster_that_goes_away_is_no_reason_to_wait() {
    let stage = Stage::deployed();
    stage.touch("rollout-unreachable");
    let ran = stage.run("rolling-update.sh", &[]).await;
    ran.ends_with(1).says(&["Unable to connect to the server"]);
    assert_eq!(
        stage.count_calls("rollout status"),
        1,
        "asked again: {:#?}",
        stage.calls()
    );
}

#[tokio::test]
async fn the_gateway_alone_under_kept_and_new_connections() {
    let stage = Stage::deployed();
    let ran = stage.run_line("rolling-update.sh --gateway").await;
    ran.ends_with(0).concludes("failed requests: 0 of 2000");
    let load = stage.read("load-calls");
    assert!(load.contains("--new-connections"), "no new connections: {load}");
    stage.expect_calls_after_checks(
        "get deployment api-gateway -o jsonpath={.spec.template.spec.containers[?(@.name==\"gateway\")].image}
         set image deployment/api-gateway gateway=api-gateway:1.1
         annotate deployment/api-gateway kubernetes.io/change-cause=Updated to api-gateway:1.1 --overwrite
         rollout status deployment/api-gateway --timeout 5s
         get pods -l app=api-gateway -o jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}
         get pods -l app=api-gateway -o jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}
         rollout history deployment/api-gateway
         rollout undo deployment/api-gateway
         rollout status deployment/api-gateway --timeout 5s
         get pods -l app=api-gateway -o jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}
         get pods -l app=api-gateway -o jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}
         rollout history deployment/api-gateway",
    );
}

#[tokio::test]
async fn both_at_once() {
    let stage = Stage::deployed();
    let ran = stage
        .run_line("rolling-update.sh --both --gateway-image api-gateway:1.2")
        .await;
    ran.ends_with(0).says(&[
        "now every answer is of version 2.0",
        "now every answer is of version 1.0",
    ]);
    let changes = ["set image", "rollout undo", "rollout status"];
    let calls = stage.calls_after_checks();
    let changes: Vec<&str> = calls
        .iter()
        .filter(|call| changes.iter().any(|change| call.starts_with(change)))
        .map(|call| call.trim_end_matches(" --timeout 5s"))
        .collect();
    assert_eq!(
        changes,
        [
            "set image deployment/ml-inference ml-model=ml-inference:2.0",
            "set image deployment/api-gateway gateway=api-gateway:1.2",
            "rollout status deployment/ml-inference",
            "rollout status deployment/api-gateway",
            "rollout undo deployment/ml-inference",
            "rollout undo deployment/api-gateway",
            "rollout status deployment/ml-inference",
            "rollout status deployment/api-gateway",
        ]
    );
}

#[tokio::test]
async fn both_are_undone_when_one_hangs() {
    let stage = Stage::deployed();
    stage.touch("rollout-fails");
    let ran = stage.run_line("rolling-update.sh --both --timeout 1").await;
    ran.ends_with(1).says(&[
        "undoing the update of ml-inference",
        "undoing the update of api-gateway",
    ]);
    assert_eq!(
        (stage.read("image"), stage.read("gateway-image")),
        ("ml-inference:1.0".into(), "api-gateway:1.0".into())
    );
}

#[tokio::test]
async fn the_gateway_or_both() {
    let ran = Stage::new().run_line("rolling-update.sh --gateway --both").await;
    ran.ends_with(2).says(&["--gateway and --both: one of them"]);
}

#[tokio::test]
async fn an_image_that_runs_already_is_nothing_to_update_to() {
    let stage = Stage::deployed();
    let ran = stage.run_line("rolling-update.sh --image ml-inference:1.0").await;
    ran.ends_with(1).says(&["already runs ml-inference:1.0"]);
    stage.expect_no_call("set image");
}

#[tokio::test]
async fn where_the_new_gateway_runs_already_the_way_back_is_said() {
    let stage = Stage::deployed();
    stage.set("gateway-image", "api-gateway:1.1");
    let ran = stage.run_line("rolling-update.sh --both").await;
    ran.ends_with(1).says(&[
        "api-gateway already runs api-gateway:1.1",
        "name another image with --gateway-image, or go back first: \
         kubectl --context kind-mlops-lab -n mlops-lab set image deployment/api-gateway gateway=api-gateway:1.0",
    ]);
    stage.expect_no_call("set image");
}

#[tokio::test]
async fn a_gateway_that_does_not_answer_is_said_before_anything_is_changed() {
    let stage = Stage::deployed();
    stage.touch("no-answer");
    let ran = stage.run("rolling-update.sh", &[]).await;
    ran.ends_with(3).says(&["does not answer 200 from here", "--url"]);
    stage.expect_no_call("set image");
}

#[tokio::test]
async fn without_cargo_the_load_test_cannot_be_built() {
    let mut stage = Stage::deployed();
    stage.set_variable("LOAD_TEST", "");
    let ran = stage.run("rolling-update.sh", &[]).await;
    ran.ends_with(3).says(&["cargo is missing", "https://rustup.rs"]);
    stage.expect_calls("");
}
