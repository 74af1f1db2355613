//! Answers on the wire, from upstreams of both versions to clients of both: broken ones, and what each version may say.

use std::sync::Arc;

use bytes::Bytes;
use h2::Reason;
use http::Request;
use shared::test_util::{DEADLINE, RawClient, Upstream};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::upstream::*;
use crate::harness::Gateway;

/// A request without a body.
fn get(path: &str) -> Request<()> {
    Request::get(format!("http://h{path}")).body(()).expect("a request")
}

/// What a client of HTTP/2 is told at the end of an answer that has begun with `part`.
async fn broken_for_http2(gateway: &Gateway, request: Request<()>, has_arrived: &Notify) -> Option<Reason> {
    let mut sender = connect(gateway).await;
    let (response, _stream) = sender.send_request(request, true).expect("sent");
    let mut body = answer_of(response).await.into_body();
    assert_eq!(body.data().await.expect("a part").expect("whole"), "part");
    has_arrived.notify_one();
    let ended = timeout(DEADLINE, body.data()).await.expect("in time");
    ended.expect("not an end").expect_err("it is broken").reason()
}

/// Checks that no client takes half of an answer for a whole one.
async fn is_broken_for_all(gateway: &Gateway, has_arrived: &Notify) {
    for request in [get("/raw"), call("/raw")] {
        let told = broken_for_http2(gateway, request, has_arrived).await;
        assert_eq!(told, Some(Reason::INTERNAL_ERROR));
    }
    let mut client = broken_for_http1(gateway, "HTTP/1.1\r\nhost: h", has_arrived).await;
    assert_eq!(client.closed().await, b"\r\n", "no last chunk follows");
    // HTTP/1.0 has no chunks: the end of the connection is that of the answer, so only a reset tells that it is broken.
    for version in ["HTTP/1.0", "HTTP/1.0\r\nconnection: keep-alive"] {
        let mut client = broken_for_http1(gateway, version, has_arrived).await;
        assert!(client.is_reset().await, "{version}");
    }
}

/// A client of HTTP/1 that has read `part`, at the end of an answer that has begun with it.
async fn broken_for_http1(gateway: &Gateway, version: &str, has_arrived: &Notify) -> RawClient {
    let mut client = gateway.raw().await;
    client.send(format!("GET /raw {version}\r\n\r\n")).await;
    let mut got = Vec::new();
    while !got.ends_with(b"\npart") {
        let more = client.read_exactly(1).await;
        assert!(!more.is_empty(), "{:?}", String::from_utf8_lossy(&got));
        got.extend(more);
    }
    has_arrived.notify_one();
    client
}

#[tokio::test]
async fn a_reset_by_the_upstream_is_an_error_of_the_gateway_whatever_its_reason() {
    for reason in [
        Reason::NO_ERROR,
        Reason::REFUSED_STREAM,
        Reason::HTTP_1_1_REQUIRED,
        Reason::ENHANCE_YOUR_CALM,
    ] {
        let arrived = Arc::new(Notify::new());
        let has_arrived = Arc::clone(&arrived);
        let upstream = H2Upstream::answering(move |_, mut respond| {
            let arrived = Arc::clone(&arrived);
            async move {
                let mut stream = respond.send_response(head(200), false).expect("sent");
                stream.send_data(Bytes::from_static(b"part"), false).expect("sent");
                arrived.notified().await;
                stream.send_reset(reason);
            }
        })
        .await;
        let gateway = gateway(&[upstream.address]).await;
        is_broken_for_all(&gateway, &has_arrived).await;
        let aborted = "gateway_responses_aborted_total{cluster=\"backend:5000\",route=\"/raw\"}";
        assert_eq!(gateway.metric(aborted).await, 5.0);
    }
}

#[tokio::test]
async fn an_upstream_that_closes_in_the_middle_of_a_chunked_answer_breaks_it_for_every_client() {
    let arrived = Arc::new(Notify::new());
    let has_arrived = Arc::clone(&arrived);
    let upstream = Upstream::start(move |mut connection| {
        let arrived = Arc::clone(&arrived);
        async move {
            connection.read_head().await;
            connection
                .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n")
                .await;
            arrived.notified().await;
        }
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    is_broken_for_all(&gateway, &has_arrived).await;
}

#[tokio::test]
async fn a_whole_answer_to_a_client_of_http_1_0_ends_in_order() {
    let upstream = Upstream::start(|mut connection| async move {
        while connection.read_head().await.is_some() {
            connection
                .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n")
                .await;
        }
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    let mut client = gateway.raw().await;
    client.send("GET /raw HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.response().await.body, "whole");
    assert!(!client.is_reset().await);
}
