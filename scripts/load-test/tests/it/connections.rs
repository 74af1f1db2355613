//! When a connection is used again, and when a new one is opened: without a request that fails by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shared::test_util::Upstream;

use crate::{OK, PATIENT, run};

#[tokio::test]
async fn a_server_that_closes_after_each_answer_loses_nothing() {
    let closing = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
    let upstream = Upstream::start(move |mut connection| async move {
        let _request = connection.read_request().await;
        connection.send(closing).await;
    })
    .await;
    let ran = run(
        upstream.address,
        &format!("--rate 200 --duration 1s --connections 2 {PATIENT}"),
    )
    .await;
    assert_eq!(ran.last_line(), "failed requests: 0 of 200");
    assert!(upstream.accepted() >= 200, "{} connections", upstream.accepted());
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_opened_anew() {
    let upstream = Upstream::start(|mut connection| async move {
        if connection.read_request().await.is_some() {
            connection.send(OK).await;
        }
        // Closed without a word, long before the next request.
    })
    .await;
    let ran = run(
        upstream.address,
        &format!("--rate 5 --duration 2s --connections 1 {PATIENT}"),
    )
    .await;
    assert_eq!(ran.last_line(), "failed requests: 0 of 10");
    assert_eq!(upstream.accepted(), 10);
}

#[tokio::test]
async fn new_connections_are_new_for_each_request_and_ask_to_be_closed() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let upstream = Upstream::start(move |mut connection| {
        let counter = Arc::clone(&counter);
        async move {
            while let Some((head, _)) = connection.read_request().await {
                counter.fetch_add(usize::from(head.contains("connection: close")), Ordering::SeqCst);
                connection.send(OK).await;
            }
        }
    })
    .await;
    let ran = run(
        upstream.address,
        &format!("--rate 50 --duration 1s --new-connections {PATIENT}"),
    )
    .await;
    assert_eq!(ran.last_line(), "failed requests: 0 of 50");
    assert_eq!(asked.load(Ordering::SeqCst), 50);
    assert_eq!(
        upstream.accepted(),
        51,
        "and the one that looked whether anyone is there"
    );
}
