//! Deadlines and cancellation.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use http::HeaderValue;
use shared::test_util::DEADLINE;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::upstream::*;
use crate::harness::Gateway;

#[tokio::test]
async fn a_call_that_its_client_cancels_is_cancelled_at_the_upstream() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let upstream = H2Upstream::answering(move |mut request, mut respond| {
        let tell = tell.clone();
        async move {
            let answers = request.uri().path().ends_with("answers");
            let mut stream = None;
            if answers {
                stream = Some(respond.send_response(grpc_head(), false).expect("sent"));
            }
            tell.send(None).expect("the test listens");
            let ended = match request.body_mut().data().await {
                Some(Err(error)) => error.reason(),
                other => panic!("{other:?}"),
            };
            tell.send(ended).expect("the test listens");
            drop(stream);
        }
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    for path in ["/raw/hangs", "/raw/answers"] {
        let (response, mut stream) = open(&gateway, call(path)).await;
        assert_eq!(told.recv().await, Some(None), "it has begun");
        stream.send_reset(Reason::CANCEL);
        drop(response);
        let ended = timeout(DEADLINE, told.recv()).await.expect("in time");
        assert_eq!(ended, Some(Some(Reason::CANCEL)), "{path}");
    }
    // The connection carries on.
    assert_eq!((upstream.accepted(), gateway.metric(OPEN).await), (1, 1.0));
}

#[tokio::test]
async fn a_deadline_ends_a_call_on_both_sides() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let upstream = H2Upstream::answering(move |mut request, respond| {
        let tell = tell.clone();
        async move {
            while let Some(Ok(_)) = request.body_mut().data().await {}
            let mut respond = respond;
            let reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            tell.send(reset.ok()).expect("the test listens");
        }
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let mut request = call("/raw/slow");
    request
        .headers_mut()
        .insert("grpc-timeout", HeaderValue::from_static("200m"));
    let began = Instant::now();
    let (head, message, trailers) = unary(&gateway, request, "x").await;
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!((head.status().as_u16(), message.as_str()), (200, ""));
    assert_eq!(head.headers()["grpc-status"], "4");
    assert_eq!(head.headers()["content-type"], "application/grpc");
    assert!(trailers.is_empty());
    assert_eq!(told.recv().await, Some(Some(Reason::CANCEL)));
    let line = gateway.process.log_line("request").await;
    assert_eq!(
        (&line["status"], &line["grpc_status"]),
        (&504.into(), &4.into()),
        "{line}"
    );
}

#[tokio::test]
async fn messages_of_the_client_keep_a_call_alive() {
    let upstream = H2Upstream::answering(|mut request, mut respond| async move {
        let mut stream = respond.send_response(grpc_head(), false).expect("sent");
        let heard = whole(request.body_mut()).await.len();
        stream.send_data(format!("{heard}").into(), false).expect("sent");
        stream.send_trailers(grpc_status("0")).expect("sent");
    })
    .await;
    let yaml = yaml(&[upstream.address], "");
    let yaml = yaml.replace("prefix: /raw,", "prefix: /raw, timeout: 0.5,");
    let gateway = Gateway::start(&yaml, &[]).await;
    let (response, mut stream) = open(&gateway, call("/raw/collect")).await;
    let mut body = answer_of(response).await.into_body();
    // The upstream is silent for longer than the route's timeout.
    for _ in 0..12 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stream.send_data(Bytes::from_static(b"m"), false).expect("sent");
    }
    stream.send_data(Bytes::new(), true).expect("sent");
    assert_eq!(whole(&mut body).await, b"12");
    assert_eq!(body.trailers().await.expect("an end"), Some(grpc_status("0")));
}

#[tokio::test]
async fn a_deadline_that_passes_during_the_answer_is_told_in_its_trailers() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let upstream = H2Upstream::answering(move |_, mut respond| {
        let tell = tell.clone();
        async move {
            let mut stream = respond.send_response(grpc_head(), false).expect("sent");
            stream.send_data(Bytes::from_static(b"first"), false).expect("sent");
            let reset = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
            tell.send(reset.ok()).expect("the test listens");
        }
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let mut request = call("/raw/x");
    let timeout = HeaderValue::from_static("300m");
    request.headers_mut().insert("grpc-timeout", timeout);
    let (head, message, trailers) = unary(&gateway, request, "x").await;
    assert_eq!((head.status().as_u16(), message.as_str()), (200, "first"));
    assert_eq!(trailers["grpc-status"], "4");
    assert_eq!(told.recv().await, Some(Some(Reason::CANCEL)));
    let line = gateway.process.log_line("request").await;
    assert_eq!(
        (&line["status"], &line["grpc_status"]),
        (&200.into(), &4.into()),
        "{line}"
    );
}

#[tokio::test]
async fn a_call_that_moves_has_its_whole_deadline_however_short_the_longest_silence() {
    // As gRPC's servers do, the upstream ends the call itself when the deadline that it is told is over.
    let upstream = H2Upstream::answering(|request, mut respond| async move {
        let left = request.headers()["grpc-timeout"].to_str().expect("text");
        let millis = left.strip_suffix('m').and_then(|millis| millis.parse().ok());
        let until = Instant::now() + Duration::from_millis(millis.expect("milliseconds"));
        let mut stream = respond.send_response(grpc_head(), false).expect("sent");
        for _ in 0..10 {
            if Instant::now() >= until {
                return stream.send_trailers(grpc_status("4")).expect("sent");
            }
            stream.send_data(Bytes::from_static(b"m"), false).expect("sent");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        stream.send_trailers(grpc_status("0")).expect("sent");
    })
    .await;
    let gateway = Gateway::start(&yaml(&[upstream.address], ""), &[("REQUEST_TIMEOUT", "0.5")]).await;
    let mut request = call("/raw/x");
    request
        .headers_mut()
        .insert("grpc-timeout", HeaderValue::from_static("20S"));
    let (_, messages, trailers) = unary(&gateway, request, "x").await;
    assert_eq!((messages.len(), &trailers), (10, &grpc_status("0")));
}
