//! When requests are due, at a constant rate or in a closed loop, which of them count, and how long each is seen to have waited.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use shared::test_util::Upstream;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{OK, PATIENT, answer_with, run};

#[tokio::test]
async fn a_constant_rate_sends_each_request_and_all_are_counted() {
    let upstream = Upstream::start(|connection| answer_with(connection, OK)).await;
    let ran = run(
        upstream.address,
        &format!("--rate 200 --duration 2s --connections 4 {PATIENT}"),
    )
    .await;
    assert_eq!(ran.finished.code, 0, "{:?}", ran.finished);
    assert_eq!(ran.last_line(), "failed requests: 0 of 400");
    assert_eq!(
        (ran.number("requests"), ran.number("ok"), ran.number("failed")),
        (400, 400, 0)
    );
    let timeline = ran.report["timeline"].as_array().expect("a list");
    let per_second: Vec<_> = timeline.iter().map(|second| second["ok"].as_u64()).collect();
    assert_eq!(per_second, [Some(200), Some(200)]);
    assert_eq!(timeline[0]["versions"]["1.0"], 200);
    assert_eq!(ran.report["versions"][0]["requests"], 400);
    assert_eq!(ran.report["pods"][0]["name"], "pod-a");
    assert_eq!(ran.report["passed"], true);
    assert!(upstream.accepted() <= 4, "{} connections", upstream.accepted());
}

/// What coordinated omission would hide: a server that answers nothing for a second, and one connection that could only
/// have noticed once. Every request that was due in that second waited, and must be seen to.
#[tokio::test]
async fn a_stall_is_seen_in_every_request_that_was_due_in_it() {
    let upstream = Upstream::start(|mut connection| async move {
        let mut stall_at = None;
        let mut stalled = false;
        while connection.read_request().await.is_some() {
            let stall_at = *stall_at.get_or_insert(Instant::now() + Duration::from_secs(1));
            if !stalled && Instant::now() >= stall_at {
                stalled = true;
                sleep_until(stall_at + Duration::from_secs(1)).await;
            }
            connection.send(OK).await;
        }
    })
    .await;
    let ran = run(
        upstream.address,
        &format!("--rate 100 --duration 3s --connections 1 {PATIENT}"),
    )
    .await;
    assert_eq!(ran.last_line(), "failed requests: 0 of 300");
    // A hundred were due while it stalled, evenly: a third of all, of which half waited for over half a second.
    assert!(ran.latency("max") >= 900.0, "{}", ran.report["latency_ms"]);
    assert!(ran.latency("p90") >= 600.0, "{}", ran.report["latency_ms"]);
    let stalled = &ran.report["timeline"][1];
    assert!(stalled["p50_ms"].as_f64().expect("a latency") >= 400.0, "{stalled}");
}

#[tokio::test]
async fn a_closed_loop_sends_when_it_has_its_answer() {
    let upstream = Upstream::start(|mut connection| async move {
        while connection.read_request().await.is_some() {
            sleep(Duration::from_millis(50)).await;
            connection.send(OK).await;
        }
    })
    .await;
    let ran = run(upstream.address, &format!("--duration 1s --connections 2 {PATIENT}")).await;
    assert_eq!(ran.finished.code, 0, "{:?}", ran.finished);
    let requests = ran.number("requests");
    assert!(
        (2..=40).contains(&requests),
        "{requests} requests of 50 ms over two connections in a second"
    );
    assert!(ran.latency("min") >= 49.0);
    assert_eq!(ran.report["mode"], "closed loop");
}

#[tokio::test]
async fn a_warmup_is_not_counted() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    let upstream = Upstream::start(move |mut connection| {
        let counter = Arc::clone(&counter);
        async move {
            while connection.read_request().await.is_some() {
                // The first second's requests fail.
                let status = if counter.fetch_add(1, Ordering::SeqCst) < 100 {
                    503
                } else {
                    200
                };
                connection.answer(status, "").await;
            }
        }
    })
    .await;
    let ran = run(
        upstream.address,
        &format!("--warmup 1s --rate 100 --duration 1s --connections 1 {PATIENT}"),
    )
    .await;
    assert_eq!(ran.last_line(), "failed requests: 0 of 100", "{:?}", ran.finished);
    assert_eq!((ran.number("warmup_requests"), ran.number("warmup_failed")), (100, 100));
    assert_eq!(requests.load(Ordering::SeqCst), 200);
}
