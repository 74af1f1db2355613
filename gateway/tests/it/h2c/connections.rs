//! Connections: how many, for how long, and how they end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{self, SendResponse};
use http::Request;
use shared::test_util::{DEADLINE, Upstream, eventually};
use tokio::sync::mpsc;

use super::frames::*;
use super::upstream::*;
use crate::harness::Gateway;

#[tokio::test]
async fn requests_share_connections_up_to_the_limits_of_either_side() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let answer = move |_: Request<RecvStream>, mut respond: SendResponse<Bytes>| {
        let tell = tell.clone();
        async move {
            let (go, wait) = tokio::sync::oneshot::channel::<()>();
            tell.send(go).expect("the test listens");
            wait.await.expect("told to go on");
            respond.send_response(head(200), true).expect("sent");
        }
    };
    // Two streams on a connection by the upstream's word, three by ours, on two connections.
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(2);
    let upstream = H2Upstream::start(builder, move |_, connection| serve(connection, answer.clone())).await;
    let limits = "    http2: { max_streams: 3, max_connections: 2 }\n";
    let gateway = Gateway::start(&yaml(&[upstream.address], limits), &[("WORKERS", "1")]).await;
    let mut clients = tokio::task::JoinSet::new();
    let mut begun = Vec::new();
    for number in 1..=6 {
        let (client, url) = (gateway.client.clone(), gateway.url("/raw"));
        clients.spawn(async move {
            client
                .post(url)
                .body("x")
                .send()
                .await
                .expect("an answer")
                .status()
                .as_u16()
        });
        if number <= 4 {
            begun.push(told.recv().await.expect("a request"));
            assert_eq!(upstream.accepted(), if number <= 2 { 1 } else { 2 });
        }
    }
    // The other two wait until a stream is free.
    let in_flight = "gateway_endpoint_requests_in_flight";
    eventually("all are in flight", DEADLINE, async || {
        gateway.metric(in_flight).await == 6.0
    })
    .await;
    assert!(told.try_recv().is_err());
    for waiting in begun.drain(..) {
        waiting.send(()).expect("it waits");
    }
    for _ in 5..=6 {
        told.recv().await.expect("a request").send(()).expect("it waits");
    }
    assert_eq!(clients.join_all().await, [200; 6]);
    assert_eq!(upstream.accepted(), 2);
}

#[tokio::test]
async fn an_upstream_that_speaks_something_else_is_no_connection() {
    let silent = Upstream::start(|connection| connection.hang()).await;
    let http1 = Upstream::start(async |mut connection| {
        connection.read_body(24).await;
        connection
            .send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .await;
    })
    .await;
    for (upstream, status) in [(&http1, 502), (&silent, 504)] {
        let environment = [("CONNECT_TIMEOUT", "0.5"), ("CONNECT_ATTEMPT_TIMEOUT", "0.2")];
        let gateway = Gateway::start(&yaml(&[upstream.address], ""), &environment).await;
        let began = Instant::now();
        assert_eq!(gateway.post("/raw", "x").await.status(), status);
        assert!(began.elapsed() < Duration::from_secs(2));
        let failures = "gateway_upstream_connect_failures_total{cluster=\"backend:5000\"}";
        assert!(gateway.metric(failures).await >= 1.0);
        eventually("none is left", DEADLINE, async || gateway.metric(OPEN).await == 0.0).await;
    }
}

#[tokio::test]
async fn many_requests_at_once_open_one_connection() {
    let upstream = H2Upstream::answering(|_, mut respond| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        respond.send_response(head(200), true).expect("sent");
    })
    .await;
    let gateway = Gateway::start(&yaml(&[upstream.address], ""), &[("WORKERS", "1")]).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (client, url) = (gateway.client.clone(), gateway.url("/raw"));
        clients.spawn(async move { client.get(url).send().await.expect("an answer").status().as_u16() });
    }
    assert_eq!(clients.join_all().await, [200; 50]);
    assert_eq!(upstream.accepted(), 1);
}

#[tokio::test]
async fn connections_are_replaced_by_age_and_let_go_when_idle() {
    let upstream = H2Upstream::answering(|_, mut respond| async move {
        respond.send_response(head(200), true).expect("sent");
    })
    .await;
    let limits = "    max_connection_requests: 3\n";
    let environment = [("WORKERS", "1"), ("IDLE_TIMEOUT", "0.2")];
    let gateway = Gateway::start(&yaml(&[upstream.address], limits), &environment).await;
    for _ in 0..7 {
        assert_eq!(gateway.post("/raw", "x").await.status(), 200);
    }
    assert_eq!(upstream.accepted(), 3);
    eventually("the last one is let go", DEADLINE, async || {
        gateway.metric(OPEN).await == 0.0
    })
    .await;
    assert_eq!(gateway.post("/raw", "x").await.status(), 200);
}

#[tokio::test]
async fn a_connection_that_goes_away_finishes_what_it_has() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let finish = Arc::new(tokio::sync::Notify::new());
    let finishes = Arc::clone(&finish);
    let upstream = Upstream::start(move |connection| {
        let (tell, finish) = (tell.clone(), Arc::clone(&finishes));
        async move {
            let number = connection.number;
            let mut frames = Frames::begin(connection).await;
            if number == 0 {
                assert_eq!(frames.request().await, Some(1));
                frames.go_away(1).await;
                tell.send(()).expect("the test listens");
                finish.notified().await;
                frames.send(HEADERS, END_STREAM_AND_HEADERS, 1, OK).await;
                assert_eq!(frames.request().await, None, "nothing more comes over it");
            }
            frames.answer_all().await;
        }
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let slow = {
        let (client, url) = (gateway.client.clone(), gateway.url("/raw"));
        tokio::spawn(async move { client.post(url).body("slow").send().await.expect("an answer").status() })
    };
    told.recv().await.expect("it has begun");
    // Until the news is there, a request may still go over the first connection: it is too late for that and goes again.
    for _ in 0..3 {
        assert_eq!(gateway.post("/raw", "x").await.status(), 200);
    }
    assert_eq!(upstream.accepted(), 2);
    finish.notify_one();
    assert_eq!(slow.await.expect("it ends"), 200);
    eventually("the first connection is let go", DEADLINE, async || {
        gateway.metric(OPEN).await == 1.0
    })
    .await;
}

#[tokio::test]
async fn a_hundred_calls_at_once_share_a_connection_on_both_sides() {
    let barrier = Arc::new(tokio::sync::Barrier::new(100));
    let upstream = H2Upstream::answering(move |mut request, mut respond| {
        let barrier = Arc::clone(&barrier);
        async move {
            let message = whole(request.body_mut()).await;
            // None is answered before all are there.
            barrier.wait().await;
            let mut stream = respond.send_response(grpc_head(), false).expect("sent");
            stream.send_data(message.into(), false).expect("sent");
            stream.send_trailers(grpc_status("0")).expect("sent");
        }
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let sender = connect(&gateway).await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..100 {
        let sender = sender.clone();
        calls.spawn(async move {
            let mut sender = sender.ready().await.expect("room");
            let (response, mut stream) = sender.send_request(call("/raw/x"), false).expect("sent");
            stream.send_data(format!("{number}").into(), true).expect("sent");
            let mut body = answer_of(response).await.into_body();
            assert_eq!(whole(&mut body).await, format!("{number}").into_bytes());
            assert_eq!(body.trailers().await.expect("an end"), Some(grpc_status("0")));
        });
    }
    while let Some(ended) = calls.join_next().await {
        ended.expect("each has its own answer");
    }
    assert_eq!(upstream.accepted(), 1);
    let in_flight = "gateway_endpoint_requests_in_flight";
    eventually("none is left", DEADLINE, async || {
        gateway.metric(in_flight).await == 0.0
    })
    .await;
}

#[tokio::test]
async fn connections_to_a_lone_address_are_used_in_turn() {
    let counts = Arc::new(std::sync::Mutex::new(Vec::new()));
    let counter = Arc::clone(&counts);
    let upstream = H2Upstream::start(server::Builder::new(), move |number, mut connection| {
        let counts = Arc::clone(&counter);
        async move {
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                counts.lock().expect("unbroken").push(number);
                respond.send_response(head(200), true).expect("sent");
            }
        }
    })
    .await;
    let (gateway, _name, _server) = gateway_behind_name(&upstream, 3).await;
    for _ in 0..12 {
        assert_eq!(gateway.post("/raw", "x").await.status(), 200);
    }
    let counts = counts.lock().expect("unbroken");
    for number in 0..3 {
        assert_eq!(counts.iter().filter(|other| **other == number).count(), 4, "{counts:?}");
    }
}

#[tokio::test]
async fn a_connection_that_fell_silent_gets_no_more_requests() {
    let upstream = Upstream::start(async |connection| {
        let number = connection.number;
        let mut frames = Frames::begin(connection).await;
        if number == 0 {
            // It reads on, and says nothing.
            while frames.request().await.is_some() {}
        }
        frames.answer_all().await;
    })
    .await;
    let yaml = yaml(&[upstream.address], "").replace("prefix: /raw,", "prefix: /raw, timeout: 0.3,");
    let gateway = Gateway::start(&yaml, &[("WORKERS", "1")]).await;
    assert_eq!(gateway.post("/raw", "x").await.status(), 504);
    assert_eq!(gateway.post("/raw", "x").await.status(), 200);
    assert_eq!(upstream.accepted(), 2);
    eventually("the first connection is let go", DEADLINE, async || {
        gateway.metric(OPEN).await == 1.0
    })
    .await;
}
