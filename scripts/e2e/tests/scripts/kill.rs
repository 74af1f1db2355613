//! kill.sh on a cluster

use crate::stage::Stage;

#[tokio::test]
async fn a_pod_in_order_a_pod_by_force() {
    let stage = Stage::deployed();
    stage.run("kill.sh", &[]).await.ends_with(0);
    stage.expect_calls_after_checks(
        "get pods -l app=ml-inference --field-selector status.phase=Running -o jsonpath={.items[0].metadata.name}
         delete pod ml-inference-0
         rollout status deployment/ml-inference --timeout 5s
         get pods -l app=ml-inference -o jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}
         get pods -l app=ml-inference -o jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}
         get pods -l app=ml-inference --field-selector status.phase=Running -o jsonpath={.items[0].metadata.name}
         delete pod ml-inference-0 --grace-period 0 --force
         rollout status deployment/ml-inference --timeout 5s
         get pods -l app=ml-inference -o jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}
         get pods -l app=ml-inference -o jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}",
    );
}

#[tokio::test]
async fn failed_requests_fail_it() {
    let stage = Stage::deployed();
    stage.load_finds(3, 1000);
    let ran = stage.run("kill.sh", &[]).await;
    ran.ends_with(1).concludes("failed requests: 3 of 1000");
}
