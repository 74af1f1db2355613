//! A signal ends a load early, with its report; a second one does not wait.

use shared::test_util::{DEADLINE, Scratch, Signal, Upstream, eventually};

use crate::{OK, PATIENT, answer_with, finish, start};

#[tokio::test]
async fn a_signal_ends_it_early_with_its_report() {
    for signal in [Signal::INT, Signal::TERM] {
        let upstream = Upstream::start(|connection| answer_with(connection, OK)).await;
        let scratch = Scratch::new("load-test");
        let process = start(
            &scratch,
            upstream.address,
            &format!("--rate 50 --duration 1h --connections 2 {PATIENT}"),
        );
        eventually("it is under way", DEADLINE, async || process.output().contains(" ok, ")).await;
        process.signal(signal);
        let ran = finish(&scratch, process).await;
        assert_eq!(ran.finished.code, 0, "{:?}", ran.finished);
        assert!(
            ran.last_line().starts_with("failed requests: 0 of "),
            "{:?}",
            ran.finished
        );
        assert!(ran.number("requests") >= 1);
        assert_eq!(ran.report["ended_early"], true);
        assert!(ran.report["measured_s"].as_f64().expect("seconds") < 60.0);
    }
}

#[tokio::test]
async fn a_second_signal_does_not_wait_for_what_hangs() {
    let upstream = Upstream::start(|mut connection| async move {
        let _request = connection.read_request().await;
        connection.hang().await;
    })
    .await;
    let scratch = Scratch::new("load-test");
    let process = start(
        &scratch,
        upstream.address,
        "--rate 50 --duration 1h --connections 2 --timeout 300s",
    );
    eventually("it is under way", DEADLINE, async || process.output().contains(" ok, ")).await;
    process.signal(Signal::TERM);
    // The two may merge into one while the first is not yet seen: again until it ends.
    let mut process = process;
    eventually("it ends", DEADLINE, async || {
        let running = process.is_running();
        if running {
            process.signal(Signal::TERM);
        }
        !running
    })
    .await;
    let ran = finish(&scratch, process).await;
    assert_eq!(ran.finished.code, 1);
    assert_eq!(
        ran.number("requests"),
        ran.failures("unfinished"),
        "{}",
        ran.report["failures"]
    );
    assert!(
        ran.failures("unfinished") >= 50,
        "every request that was due is counted"
    );
}
