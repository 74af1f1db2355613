//! reload.sh on a cluster

use crate::stage::Stage;

#[tokio::test]
async fn log_level_a_broken_file_and_back_each_seen_in_the_log_of_every_gateway_pod() {
    let stage = Stage::deployed();
    stage.set("log-level", "info");
    let ran = stage.run("reload.sh", &[]).await;
    ran.ends_with(0)
        .says(&[
            "every gateway pod: settings changed",
            "every gateway pod: changed settings rejected",
        ])
        .concludes("failed requests: 0 of 1000");
    assert_eq!(stage.read("log-level"), "info");
    let calls = stage.calls_after_checks();
    let begin = |text: &str| calls.iter().filter(|call| call.starts_with(text)).count();
    assert_eq!(begin("logs api-gateway-0 --since-time "), 3, "{calls:#?}");
    assert_eq!(begin("logs api-gateway-1 --since-time "), 3, "{calls:#?}");
    assert_eq!(begin("patch "), 4, "{calls:#?}");
}

#[tokio::test]
async fn a_gateway_that_takes_nothing_up_fails_it_and_all_is_put_back() {
    let mut stage = Stage::deployed();
    stage.set("log-level", "info");
    stage.touch("deaf");
    stage.set_variable("KUBELET_SECONDS", "1");
    let ran = stage.run("reload.sh", &[]).await;
    ran.ends_with(1).says(&[
        "not every gateway pod has logged \"settings changed\" within 1 s",
        "putting LOG_LEVEL back",
    ]);
    assert_eq!(stage.read("log-level"), "info");
}

/// A reader that ends at the line it looks for would have kubectl end by SIGPIPE, and the step would never succeed.
#[tokio::test]
async fn the_line_is_found_before_megabytes_of_debug_log() {
    let mut stage = Stage::deployed();
    stage.set("log-level", "info");
    stage.set("more-log", &"debug line of a request\n".repeat(200_000));
    stage.set_variable("KUBELET_SECONDS", "20");
    let ran = stage.run("reload.sh", &[]).await;
    ran.ends_with(0)
        .says(&["every gateway pod: changed settings rejected"])
        .concludes("failed requests: 0 of 1000");
    assert_eq!(stage.count_calls(" logs api-gateway-"), 6, "{:#?}", stage.calls());
}

/// The kubelet rotates a log that grows fast: the line that was seen may be gone at the next look.
#[tokio::test]
async fn a_pod_that_has_logged_it_is_not_asked_again_while_another_is_late() {
    let stage = Stage::deployed();
    stage.set("log-level", "info");
    stage.touch("late");
    stage.run("reload.sh", &[]).await.ends_with(0);
    let asked = |pod: &str| stage.count_calls(&format!(" logs {pod} "));
    assert_eq!(
        (asked("api-gateway-0"), asked("api-gateway-1")),
        (3, 4),
        "{:#?}",
        stage.calls()
    );
}
