//! What counts as a failed request, as which kind, and whose it is.

use shared::test_util::{DEADLINE, Scratch, Signal, Upstream, eventually};

use crate::{OK, PATIENT, answer_with, finish, run, start};

#[tokio::test]
async fn what_no_connection_was_free_for_in_time_has_failed() {
    let upstream = Upstream::start(|mut connection| async move {
        let _request = connection.read_request().await;
        connection.hang().await;
    })
    .await;
    let ran = run(
        upstream.address,
        "--rate 100 --duration 1s --connections 2 --timeout 200ms",
    )
    .await;
    assert_eq!(ran.finished.code, 1);
    assert_eq!(ran.last_line(), "failed requests: 100 of 100");
    assert_eq!(
        ran.failures("timeout") + ran.failures("not sent"),
        100,
        "{}",
        ran.report["failures"]
    );
    assert!(
        ran.failures("not sent") > 0 && ran.failures("timeout") > 0,
        "{}",
        ran.report["failures"]
    );
    assert!(ran.report["latency_ms"].is_null());
}

#[tokio::test]
async fn answers_that_are_no_success_are_counted_by_status_and_by_who_gave_them() {
    let upstream = Upstream::start(|mut connection| async move {
        let mut number = 0;
        while connection.read_request().await.is_some() {
            number += 1;
            match number % 4 {
                0 => connection.answer(502, "").await,
                1 => {
                    let sick =
                        "HTTP/1.1 503 No\r\nx-served-by: pod-b\r\nx-model-version: 2.0\r\ncontent-length: 0\r\n\r\n";
                    connection.send(sick).await;
                }
                _ => connection.send(OK).await,
            }
        }
    })
    .await;
    let ran = run(
        upstream.address,
        &format!("--rate 100 --duration 1s --connections 1 {PATIENT}"),
    )
    .await;
    assert_eq!(ran.finished.code, 1);
    assert_eq!(ran.last_line(), "failed requests: 50 of 100");
    assert_eq!((ran.failures("status 502"), ran.failures("status 503")), (25, 25));
    assert_eq!(
        upstream.accepted(),
        1,
        "an answer keeps its connection, whatever its status"
    );
    let pods = ran.report["pods"].as_array().expect("a list");
    let counts: Vec<_> = pods
        .iter()
        .map(|pod| {
            (
                pod["name"].as_str(),
                pod["version"].as_str(),
                pod["requests"].as_u64(),
                pod["failed"].as_u64(),
            )
        })
        .collect();
    let expected = [
        (None, None, Some(25), Some(25)),
        (Some("pod-a"), Some("1.0"), Some(50), Some(0)),
        (Some("pod-b"), Some("2.0"), Some(25), Some(25)),
    ];
    assert_eq!(counts, expected);
    assert_eq!(ran.report["failed_requests"].as_array().expect("a list").len(), 50);
    assert!(ran.finished.stdout.contains("pod-b (2.0)"), "{}", ran.finished.stdout);
}

#[tokio::test]
async fn connections_that_break_are_told_apart_and_opened_anew() {
    let upstream = Upstream::start(|mut connection| async move {
        let number = connection.number;
        if connection.read_request().await.is_none() {
            return;
        }
        match number % 4 {
            0 => connection.reset(),
            1 => connection.finish_sending().await,
            2 => {
                connection
                    .send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
                    .await
            }
            _ => connection.send("SSH-2.0-OpenSSH_9.2\r\n\r\n").await,
        }
    })
    .await;
    let ran = run(
        upstream.address,
        &format!("--rate 40 --duration 1s --connections 1 {PATIENT}"),
    )
    .await;
    assert_eq!(ran.last_line(), "failed requests: 40 of 40");
    for kind in ["reset", "closed", "body broke off", "invalid answer"] {
        assert_eq!(ran.failures(kind), 10, "{kind} in {}", ran.report["failures"]);
    }
    assert_eq!(upstream.accepted(), 40);
}

#[tokio::test]
async fn a_server_that_goes_away_refuses_what_comes_after() {
    let upstream = Upstream::start(|connection| answer_with(connection, OK)).await;
    let scratch = Scratch::new("load-test");
    let arguments = format!("--rate 100 --duration 1h --connections 2 {PATIENT}");
    let process = start(&scratch, upstream.address, &arguments);
    eventually("it is under way", DEADLINE, async || process.output().contains(" ok, ")).await;
    drop(upstream);
    eventually("requests fail", DEADLINE, async || process.output().contains(" 0 ok, ")).await;
    process.signal(Signal::TERM);
    let ran = finish(&scratch, process).await;
    assert_eq!(ran.finished.code, 1);
    assert!(ran.failures("refused") > 0, "{}", ran.report["failures"]);
    assert!(ran.number("ok") > 0);
    assert_eq!(ran.number("ok") + ran.number("failed"), ran.number("requests"));
}
