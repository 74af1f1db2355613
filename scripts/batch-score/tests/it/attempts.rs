//! Which failures are tried again, how often and when, and which end the run.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use shared::test_util::Upstream;
use tokio::time::Instant;

use crate::{Work, answer_text, expected, half_plus_two, instances, numbers};

#[tokio::test]
async fn what_may_help_is_tried_again_and_retry_after_is_kept() {
    let seen: Arc<Mutex<Vec<(Instant, String)>>> = Arc::default();
    let heads = Arc::clone(&seen);
    let upstream = Upstream::start(move |mut connection| {
        let seen = Arc::clone(&heads);
        async move {
            while let Some((head, body)) = connection.read_request().await {
                let attempt = {
                    let mut seen = seen.lock().expect("no panic");
                    seen.push((Instant::now(), head));
                    seen.len()
                };
                match attempt {
                    1 => connection.send(answer_text(429, "retry-after: 1\r\n", "")).await,
                    2 => connection.answer(502, "").await,
                    3 => connection.answer(504, "").await,
                    4 => return connection.reset(),
                    5 => {
                        connection
                            .send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"pre")
                            .await;
                        return;
                    }
                    6 => connection.send(answer_text(503, "retry-after: 0\r\n", "")).await,
                    _ => {
                        connection
                            .send(answer_text(200, "", &half_plus_two(&instances(&body))))
                            .await
                    }
                }
            }
        }
    })
    .await;
    let work = Work::new("rows.csv", numbers(3), "scores.csv");
    assert_eq!(work.score(upstream.address, "--keep x").await, expected(3));
    let seen = seen.lock().expect("no panic");
    assert_eq!(seen.len(), 7);
    let waited = seen[1].0 - seen[0].0;
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
    let head = seen[0].1.to_ascii_lowercase();
    assert!(head.contains("\r\nx-api-key: the-key\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
}

#[tokio::test]
async fn attempts_and_their_time_are_limited() {
    let upstream = Upstream::start(|mut connection| async move {
        while connection.read_request().await.is_some() {
            let body = "{\"detail\": \"the queue is full\"}";
            connection.send(answer_text(503, "retry-after: 0\r\n", body)).await;
        }
    })
    .await;
    let work = Work::new("rows.csv", numbers(3), "scores.csv");
    let finished = work.run(upstream.address, "--max-attempts 3").await;
    assert_eq!(finished.code, 3, "{finished:?}");
    let named = "status 503: the queue is full, after 3 attempts in ";
    assert!(finished.stderr.contains(named), "{finished:?}");
    assert_eq!(
        work.files(),
        ["rows.csv", "scores.csv.checkpoint", "scores.csv.partial"]
    );

    let patient = Upstream::start(|mut connection| async move {
        while connection.read_request().await.is_some() {
            connection.send(answer_text(503, "retry-after: 3600\r\n", "")).await;
        }
    })
    .await;
    let work = Work::new("rows.csv", numbers(3), "scores.csv");
    let finished = work.run(patient.address, "--max-retry-time 5s").await;
    assert_eq!(finished.code, 3, "{finished:?}");
    assert!(finished.stderr.contains("after 1 attempts in "), "{finished:?}");
}

#[tokio::test]
async fn nobody_listens() {
    let nobody = Upstream::start(|connection| connection.hang()).await.address;
    let work = Work::new("rows.csv", numbers(3), "scores.csv");
    let finished = work.run(nobody, "--max-attempts 2").await;
    assert_eq!(finished.code, 3, "{finished:?}");
    assert!(finished.stderr.contains("cannot connect: "), "{finished:?}");
}

#[tokio::test]
async fn an_answer_that_no_attempt_would_change_ends_the_run() {
    for (status, body, named) in [
        (
            401,
            "{\"detail\":\"the API key is missing\"}",
            "status 401: the API key is missing",
        ),
        (404, "", "status 404"),
        (
            500,
            "{\"error\":\"the model failed on this request\"}",
            "status 500: the model failed",
        ),
        (302, "", "status 302"),
        (200, "{\"predictions\":[1]}", "the answer has 1 predictions for 3 rows"),
        (200, "<html>", "the answer is no JSON"),
    ] {
        let upstream = Upstream::start(move |mut connection| async move {
            while connection.read_request().await.is_some() {
                connection.answer(status, body).await;
            }
        })
        .await;
        let work = Work::new("rows.csv", numbers(3), "scores.csv");
        let finished = work.run(upstream.address, "").await;
        assert_eq!(finished.code, 1, "{finished:?}");
        assert!(finished.stderr.contains(named), "{status}: {finished:?}");
    }
}
