//! Streams of messages, and readers that are slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client;
use h2::client::SendRequest;
use shared::test_util::{DEADLINE, Signal, eventually};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::upstream::*;
use crate::harness::Gateway;

#[tokio::test]
async fn messages_of_both_sides_pass_one_by_one() {
    // The upstream answers each message before the next is sent, and so would wait for ever if one were held back.
    let upstream = H2Upstream::answering(|mut request, mut respond| async move {
        let mut stream = respond.send_response(grpc_head(), false).expect("sent");
        while let Some(Ok(message)) = request.body_mut().data().await {
            request
                .body_mut()
                .flow_control()
                .release_capacity(message.len())
                .expect("open");
            if !message.is_empty() {
                stream.send_data(message, false).expect("sent");
            }
        }
        stream.send_data(Bytes::from_static(b"over"), false).expect("sent");
        stream.send_trailers(grpc_status("0")).expect("sent");
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let (response, mut stream) = open(&gateway, call("/raw/chat")).await;
    let mut body = answer_of(response).await.into_body();
    for number in 0..20 {
        let message = Bytes::from(format!("message {number}"));
        stream.send_data(message.clone(), false).expect("sent");
        let heard = timeout(DEADLINE, body.data()).await.expect("in time");
        assert_eq!(heard.expect("a message").expect("whole"), message);
    }
    stream.send_data(Bytes::new(), true).expect("sent");
    assert_eq!(whole(&mut body).await, b"over");
    assert_eq!(body.trailers().await.expect("an end"), Some(grpc_status("0")));
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_no_other() {
    let upstream = H2Upstream::answering(|request, mut respond| async move {
        let mut stream = respond.send_response(head(200), false).expect("sent");
        if request.uri().path() == "/raw/endless" {
            loop {
                stream.reserve_capacity(16 * 1024);
                let Some(Ok(room)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else {
                    return;
                };
                if stream.send_data(Bytes::from(vec![7; room]), false).is_err() {
                    return;
                }
            }
        }
        stream.send_data(Bytes::from_static(b"ok"), true).expect("sent");
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let mut idlers = Vec::new();
    for _ in 0..40 {
        let mut idler = gateway.raw().await;
        idler.send("GET /raw/endless HTTP/1.1\r\nhost: h\r\n\r\n").await;
        idlers.push(idler);
    }
    let in_flight = "gateway_endpoint_requests_in_flight";
    eventually("all are in flight", DEADLINE, async || {
        gateway.metric(in_flight).await == 40.0
    })
    .await;
    for _ in 0..20 {
        assert_eq!(gateway.get("/raw/short").await.text().await.expect("text"), "ok");
    }
    assert_eq!(upstream.accepted(), 1);
    assert!(gateway.metric("process_resident_memory_bytes").await < 100e6);
    idlers.clear();
    eventually("they are let go", DEADLINE, async || {
        gateway.metric(in_flight).await == 0.0
    })
    .await;
    assert_eq!(gateway.get("/raw/short").await.status(), 200);
}

#[tokio::test]
async fn a_client_that_does_not_read_small_messages_holds_up_no_other() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let upstream = H2Upstream::answering(move |request, mut respond| {
        let sent = Arc::clone(&counter);
        async move {
            let mut stream = respond.send_response(head(200), false).expect("sent");
            if request.uri().path() == "/raw/endless" {
                loop {
                    stream.reserve_capacity(16 * 1024);
                    let Some(Ok(room)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else {
                        return;
                    };
                    for byte in vec![7; room].chunks(4) {
                        stream.send_data(Bytes::copy_from_slice(byte), false).expect("sent");
                    }
                    sent.fetch_add(room, Ordering::SeqCst);
                }
            }
            stream.send_data(Bytes::from_static(b"ok"), true).expect("sent");
        }
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let stream = TcpStream::connect(gateway.address).await.expect("connects");
    let mut builder = client::Builder::new();
    let (sender, connection) = builder
        .data_frame_budget(usize::MAX)
        .handshake(stream)
        .await
        .expect("HTTP/2");
    tokio::spawn(connection);
    let mut sender: SendRequest<Bytes> = sender.ready().await.expect("ready");
    let (response, _stream) = sender.send_request(call("/raw/endless"), true).expect("sent");
    let _unread = answer_of(response).await;
    // One of 64 KiB at the client and one at the gateway, which gives back half of it at a time.
    eventually("both windows are full", DEADLINE, async || {
        sent.load(Ordering::SeqCst) >= 96 * 1024
    })
    .await;
    assert_eq!(gateway.get("/raw/short").await.text().await.expect("text"), "ok");
    assert_eq!(upstream.accepted(), 1);
}

fn message(number: u32) -> Bytes {
    Bytes::from(vec![number as u8; 256])
}

#[tokio::test]
async fn a_stream_of_many_messages_comes_with_its_status_at_the_end() {
    let upstream = H2Upstream::answering(|_, mut respond| async move {
        let mut stream = respond.send_response(grpc_head(), false).expect("sent");
        for number in 0..1000_u32 {
            stream.send_data(message(number), false).expect("sent");
        }
        stream.send_trailers(grpc_status("10")).expect("sent");
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let (response, mut stream) = open(&gateway, call("/raw/list")).await;
    stream.send_data(Bytes::from_static(b"q"), true).expect("sent");
    let mut body = answer_of(response).await.into_body();
    let expected: Vec<u8> = (0..1000_u32).flat_map(message).collect();
    assert!(whole(&mut body).await == expected);
    assert_eq!(body.trailers().await.expect("an end"), Some(grpc_status("10")));
    let line = gateway.process.log_line("request").await;
    assert_eq!(
        (&line["bytes"], &line["grpc_status"]),
        (&256_000.into(), &10.into()),
        "{line}"
    );
}

#[tokio::test]
async fn a_client_that_does_not_read_yet_can_send_on() {
    const MESSAGES: usize = 100;
    const MESSAGE: usize = 16 * 1024;
    let (tell, mut told) = mpsc::unbounded_channel();
    let upstream = H2Upstream::answering(move |request, mut respond| {
        let tell = tell.clone();
        async move {
            // More than all windows on the way to the client together.
            let mut stream = respond.send_response(grpc_head(), false).expect("sent");
            stream.send_data(Bytes::from(vec![1; 1 << 20]), true).expect("sent");
            let mut body = request.into_body();
            tell.send(whole(&mut body).await.len()).expect("the test listens");
        }
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let (response, mut stream) = open(&gateway, call("/raw/x")).await;
    let mut answer = answer_of(response).await.into_body();
    let mut message = Bytes::from(vec![2; MESSAGES * MESSAGE]);
    let sending = async {
        while !message.is_empty() {
            stream.reserve_capacity(message.len());
            let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
            let room = room.expect("open").expect("room").min(message.len());
            stream
                .send_data(message.split_to(room), message.is_empty())
                .expect("sent");
        }
    };
    timeout(DEADLINE, sending).await.expect("nothing holds it up");
    let received = timeout(DEADLINE, told.recv()).await.expect("in time");
    assert_eq!(received, Some(MESSAGES * MESSAGE));
    assert_eq!(whole(&mut answer).await.len(), 1 << 20);
}

#[tokio::test]
async fn an_upstream_that_does_not_read_holds_its_client_up() {
    let upstream = H2Upstream::answering(|request, mut respond| async move {
        // The request's window is never given back.
        let reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
        drop((request, reset));
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let (response, mut stream) = open(&gateway, call("/raw/x")).await;
    let mut sent = 0;
    stream.reserve_capacity(1 << 20);
    let room = std::future::poll_fn(|cx| stream.poll_capacity(cx));
    let mut room = timeout(DEADLINE, room).await.expect("in time");
    while let Some(Ok(bytes)) = room {
        stream.send_data(Bytes::from(vec![0; bytes]), false).expect("sent");
        sent += bytes;
        let more = std::future::poll_fn(|cx| stream.poll_capacity(cx));
        let Ok(more) = timeout(Duration::from_millis(500), more).await else {
            break;
        };
        room = more;
    }
    // Windows of 64 KiB on both sides, and what lies between them.
    assert!((64 * 1024..=512 * 1024).contains(&sent), "{sent}");
    drop((response, stream));
    let in_flight = "gateway_endpoint_requests_in_flight";
    eventually("it is let go", DEADLINE, async || {
        gateway.metric(in_flight).await == 0.0
    })
    .await;
}

#[tokio::test]
async fn a_drain_lets_calls_finish() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let upstream = H2Upstream::answering(move |_, mut respond| {
        let tell = tell.clone();
        async move {
            let mut stream = respond.send_response(grpc_head(), false).expect("sent");
            let (go, wait) = tokio::sync::oneshot::channel::<()>();
            tell.send(go).expect("the test listens");
            wait.await.expect("told to go on");
            stream.send_data(Bytes::from_static(b"late"), false).expect("sent");
            stream.send_trailers(grpc_status("0")).expect("sent");
        }
    })
    .await;
    let mut gateway = gateway(&[upstream.address]).await;
    let (response, mut stream) = open(&gateway, call("/raw/x")).await;
    stream.send_data(Bytes::from_static(b"x"), true).expect("sent");
    let mut body = answer_of(response).await.into_body();
    let go = told.recv().await.expect("it has begun");
    gateway.process.signal(Signal::TERM);
    gateway.process.log_line("draining: not ready, still accepting").await;
    go.send(()).expect("it waits");
    assert_eq!(whole(&mut body).await, b"late");
    assert_eq!(body.trailers().await.expect("an end"), Some(grpc_status("0")));
    assert_eq!(gateway.process.wait_exit(DEADLINE).await.code, 0);
}

#[tokio::test]
async fn an_upload_without_a_length_that_grows_too_large_is_a_413_that_its_client_can_read() {
    let upstream = H2Upstream::answering(|mut request, _respond| async move {
        whole(request.body_mut()).await;
    })
    .await;
    let yaml = yaml(&[upstream.address], "");
    let gateway = Gateway::start(&yaml, &[("MAX_BODY_BYTES", "1Mi")]).await;
    crate::messages::reads_its_413(&gateway).await;
}
