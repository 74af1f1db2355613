//! scale.sh on a cluster

use crate::stage::Stage;

#[tokio::test]
async fn up_until_all_answer_and_back() {
    let stage = Stage::deployed();
    stage.set("replicas", "3");
    let ran = stage.run_line("scale.sh --connections 8").await;
    ran.ends_with(0)
        .says(&[
            "3 -> 6 replicas",
            "6 replicas answer",
            "6 -> 3 replicas",
            "3 replicas answer",
        ])
        .concludes("failed requests: 0 of 1000");
    stage.expect_calls_after_checks(
        "get hpa -o jsonpath={.items[?(@.spec.scaleTargetRef.name==\"ml-inference\")].metadata.name}
         get deployment ml-inference -o jsonpath={.spec.replicas}
         scale deployment/ml-inference --replicas 6
         rollout status deployment/ml-inference --timeout 5s
         get pods -l app=ml-inference -o jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}
         get pods -l app=ml-inference -o jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}
         get pods -l app=ml-inference -o wide
         scale deployment/ml-inference --replicas 3
         rollout status deployment/ml-inference --timeout 5s
         get pods -l app=ml-inference -o jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}
         get pods -l app=ml-inference -o jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}
         get pods -l app=ml-inference -o wide",
    );
    assert_eq!(stage.read("load-marks"), "3 -> 6 replicas\n6 -> 3 replicas");
}

#[tokio::test]
async fn not_against_an_autoscaler() {
    let stage = Stage::deployed();
    stage.set("replicas", "3");
    stage.set("autoscaler", "ml-inference-hpa");
    let ran = stage.run("scale.sh", &[]).await;
    ran.ends_with(1)
        .says(&["the autoscaler ml-inference-hpa looks after ml-inference"]);
    assert!(!stage.exists("load-calls"), "load ran all the same");
}

#[tokio::test]
async fn what_does_not_come_up_is_scaled_back() {
    let stage = Stage::deployed();
    stage.set("replicas", "3");
    stage.touch("rollout-fails");
    let ran = stage.run_line("scale.sh --timeout 1s").await;
    ran.ends_with(1)
        .says(&[
            "ml-inference is not rolled out within 1 s",
            "scaling back to 3 replicas",
        ])
        .concludes("failed requests: 0 of 1000");
    let calls = stage.calls_after_checks();
    assert_eq!(
        calls.last().map(String::as_str),
        Some("scale deployment/ml-inference --replicas 3")
    );
}
