//! Requests that are sent again, and those that are not.

use bytes::Bytes;
use h2::Reason;
use h2::server;
use shared::test_util::{DEADLINE, Upstream, eventually};

use super::frames::*;
use super::upstream::*;
use crate::harness::Gateway;

#[tokio::test]
async fn what_an_upstream_refuses_goes_to_another_whatever_its_method() {
    let refusing = H2Upstream::answering(|mut request, mut respond| async move {
        // It has taken some of the body by then.
        request.body_mut().data().await;
        respond.send_reset(Reason::REFUSED_STREAM);
    })
    .await;
    let echoing = H2Upstream::answering(|mut request, mut respond| async move {
        let message = whole(request.body_mut()).await;
        let trailers = request.body_mut().trailers().await.expect("an end");
        let mut stream = respond.send_response(grpc_head(), false).expect("sent");
        stream.send_data(message.into(), false).expect("sent");
        stream
            .send_trailers(trailers.unwrap_or_else(|| grpc_status("0")))
            .expect("sent");
    })
    .await;
    let gateway = gateway(&[refusing.address, echoing.address]).await;
    for _ in 0..6 {
        let (_, message, trailers) = unary(&gateway, call("/raw/x"), "once").await;
        assert_eq!((message.as_str(), &trailers), ("once", &grpc_status("0")));
        // A body of several parts and trailers is sent again whole.
        let (response, mut stream) = open(&gateway, call("/raw/x")).await;
        for part in ["one ", "two ", "three"] {
            stream.send_data(Bytes::from(part), false).expect("sent");
        }
        stream.send_trailers(grpc_status("7")).expect("sent");
        let mut body = answer_of(response).await.into_body();
        assert_eq!(whole(&mut body).await, b"one two three");
        assert_eq!(body.trailers().await.expect("an end"), Some(grpc_status("7")));
    }
    let refused = "gateway_upstream_retries_total{cluster=\"backend:5000\",reason=\"refused\"}";
    assert!(gateway.metric(refused).await >= 1.0);
}

#[tokio::test]
async fn what_came_too_late_for_a_connection_that_ends_goes_over_another() {
    // The first connection answers one request; the next it has not looked at when it goes away.
    let upstream = Upstream::start(async |connection| {
        let number = connection.number;
        let mut frames = Frames::begin(connection).await;
        if number == 0 {
            assert_eq!(frames.request().await, Some(1));
            frames.send(HEADERS, END_STREAM_AND_HEADERS, 1, OK).await;
            assert_eq!(frames.request().await, Some(3));
            frames.go_away(1).await;
            assert_eq!(frames.request().await, None, "nothing more comes over it");
        }
        frames.answer_all().await;
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    for _ in 0..3 {
        assert_eq!(gateway.post("/raw", "not idempotent").await.status(), 200);
    }
    assert_eq!(upstream.accepted(), 2);
    let unsent = "gateway_upstream_retries_total{cluster=\"backend:5000\",reason=\"not_written\"}";
    assert_eq!(gateway.metric(unsent).await, 1.0);
    eventually("the first connection is let go", DEADLINE, async || {
        gateway.metric(OPEN).await == 1.0
    })
    .await;
}

#[tokio::test]
async fn what_may_have_been_seen_is_sent_again_only_if_that_does_no_harm() {
    for says_goodbye in [true, false] {
        let upstream = Upstream::start(move |connection| async move {
            let number = connection.number;
            let mut frames = Frames::begin(connection).await;
            if number < 2 {
                // It has seen the request, says so or not, and is gone without an answer.
                frames.request().await;
                if says_goodbye {
                    frames.go_away(1).await;
                }
                return;
            }
            frames.answer_all().await;
        })
        .await;
        let gateway = gateway(&[upstream.address]).await;
        assert_eq!(gateway.post("/raw", "x").await.status(), 502);
        assert_eq!(upstream.accepted(), 1);
        // A route that is idempotent, with a body that was kept.
        assert_eq!(gateway.post("/predict", "x").await.status(), 200);
        assert_eq!(upstream.accepted(), 3);
    }
}

#[tokio::test]
async fn an_endpoint_whose_calls_are_unavailable_is_ejected_and_others_are_asked() {
    let unavailable = H2Upstream::answering(|_, mut respond| async move {
        let mut head = grpc_head();
        head.headers_mut().extend(grpc_status("14"));
        respond.send_response(head, true).expect("sent");
    })
    .await;
    let well = H2Upstream::answering(|_, mut respond| async move {
        let mut stream = respond.send_response(grpc_head(), false).expect("sent");
        stream.send_trailers(grpc_status("0")).expect("sent");
    })
    .await;
    let endpoints = [unavailable.address, well.address];
    let more = "    balancer: round_robin\n    ejection: { consecutive_failures: 3 }\n";
    let gateway = Gateway::start(&yaml(&endpoints, more), &[("WORKERS", "1")]).await;
    // On a route that is idempotent nobody notices.
    for _ in 0..3 {
        let (head, _, trailers) = unary(&gateway, call("/predict"), "x").await;
        assert_eq!((head.status().as_u16(), &trailers), (200, &grpc_status("0")));
    }
    let resent = "gateway_upstream_retries_total{cluster=\"backend:5000\",reason=\"status\"}";
    assert!(gateway.metric(resent).await >= 1.0);
    // On another the client is told, until the endpoint is out.
    let ejections = format!(
        "gateway_endpoint_ejections_total{{cluster=\"backend:5000\",endpoint=\"{}\"}}",
        unavailable.address
    );
    eventually("it is ejected", DEADLINE, async || {
        let (head, _, trailers) = unary(&gateway, call("/raw"), "x").await;
        let told = head.headers().get("grpc-status").or(trailers.get("grpc-status"));
        assert!(["0", "14"].contains(&told.expect("a status").to_str().expect("text")));
        gateway.metric(&ejections).await >= 1.0
    })
    .await;
}

#[tokio::test]
async fn behind_one_name_a_retry_goes_over_another_connection() {
    // As behind a Service's address, each connection may lead to another pod: the first one's refuses.
    let upstream = H2Upstream::start(server::Builder::new(), |number, mut connection| async move {
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            match number {
                0 => respond.send_reset(Reason::REFUSED_STREAM),
                _ => drop(respond.send_response(head(200), true).expect("sent")),
            }
        }
    })
    .await;
    let (gateway, name, _server) = gateway_behind_name(&upstream, 1).await;
    assert_eq!(gateway.post("/raw", "x").await.status(), 200);
    assert_eq!(upstream.accepted(), 2);
    let refused = format!("gateway_upstream_retries_total{{cluster=\"{name}\",reason=\"refused\"}}");
    assert_eq!(gateway.metric(&refused).await, 1.0);
}

#[tokio::test]
async fn a_request_that_waits_for_a_stream_says_nothing_about_its_endpoint() {
    let mut one_stream = server::Builder::new();
    one_stream.max_concurrent_streams(1);
    let upstream = H2Upstream::start(one_stream, |_, mut connection| async move {
        let mut taken = Vec::new();
        while let Some(Ok(request)) = connection.accept().await {
            // Never answered.
            taken.push(request);
        }
    })
    .await;
    let short = "routes:\n  - { prefix: /short, cluster: \"backend:5000\", timeout: 0.3 }";
    let yaml = yaml(&[upstream.address], "    http2: { max_connections: 1 }\n").replace("routes:", short);
    let gateway = Gateway::start(&yaml, &[("WORKERS", "1")]).await;
    let url = gateway.url("/raw");
    let slow = tokio::spawn(gateway.client.get(url).send());
    eventually("the stream is taken", DEADLINE, async || {
        gateway.metric(OPEN).await == 1.0
    })
    .await;
    assert_eq!(gateway.get("/short").await.status(), 504);
    let ejections = "gateway_endpoint_ejections_total{cluster=\"backend:5000\"";
    assert_eq!(gateway.metric(ejections).await, 0.0);
    slow.abort();
}

#[tokio::test]
async fn an_endpoint_that_only_ever_goes_away_is_ejected() {
    let leaving = Upstream::start(async |connection| {
        let mut frames = Frames::begin(connection).await;
        while frames.request().await.is_some() {
            frames.go_away(0).await;
        }
    })
    .await;
    let well = H2Upstream::answering(|_, mut respond| async move {
        respond.send_response(head(200), true).expect("sent");
    })
    .await;
    let endpoints = [leaving.address, well.address];
    let more = "    balancer: round_robin\n    ejection: { consecutive_failures: 3 }\n";
    let gateway = Gateway::start(&yaml(&endpoints, more), &[("WORKERS", "1")]).await;
    for _ in 0..8 {
        assert_eq!(gateway.post("/raw", "x").await.status(), 200);
    }
    let ejections = format!(
        "gateway_endpoint_ejections_total{{cluster=\"backend:5000\",endpoint=\"{}\"}}",
        leaving.address
    );
    assert!(gateway.metric(&ejections).await >= 1.0);
}

#[tokio::test]
async fn an_endpoint_that_goes_away_between_requests_is_not_failing() {
    let upstream = Upstream::start(async |connection| {
        let mut frames = Frames::begin(connection).await;
        // Each connection answers one request; the next is too late for it.
        while let Some(stream) = frames.request().await {
            match stream {
                1 => frames.send(HEADERS, END_STREAM_AND_HEADERS, 1, OK).await,
                _ => frames.go_away(1).await,
            }
        }
    })
    .await;
    let more = "    ejection: { consecutive_failures: 2 }\n";
    let gateway = Gateway::start(&yaml(&[upstream.address], more), &[("WORKERS", "1")]).await;
    for _ in 0..8 {
        assert_eq!(gateway.post("/raw", "x").await.status(), 200);
    }
    assert_eq!(gateway.metric("gateway_endpoint_ejections_total").await, 0.0);
    assert!(upstream.accepted() > 4);
}
