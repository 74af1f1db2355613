//! Limits on connections, to clients and to upstreams.

use shared::test_util::{DEADLINE, Upstream, eventually};

use crate::harness::{Gateway, yaml};

const OPEN_UPSTREAM: &str = "gateway_upstream_connections_open{cluster=\"backend:5000\"}";

async fn upstream() -> Upstream {
    Upstream::start(|mut connection| async move { connection.answer_all("ok").await }).await
}

/// A gateway with one worker whose cluster has the further keys `limits`.
async fn limited(upstream: &Upstream, limits: &str, environment: &[(&str, &str)]) -> Gateway {
    let endpoints = format!("endpoints: [\"{}\"]", upstream.address);
    let yaml = yaml(&[upstream.address]).replace(&endpoints, &format!("{endpoints}\n{limits}"));
    let mut variables = vec![("WORKERS", "1")];
    variables.extend(environment);
    Gateway::start(&yaml, &variables).await
}

#[tokio::test]
async fn a_client_over_the_limit_waits_until_another_leaves() {
    let gateway = Gateway::start("{}", &[("MAX_CONNECTIONS", "2"), ("WORKERS", "1")]).await;
    let (mut first, mut second) = (gateway.raw().await, gateway.raw().await);
    for client in [&mut first, &mut second] {
        client.send("GET /health HTTP/1.1\r\nhost: h\r\n\r\n").await;
        assert_eq!(client.response().await.status, 200);
    }
    let mut third = gateway.raw().await;
    third.send("GET /health HTTP/1.1\r\nhost: h\r\n\r\n").await;
    // The two that are served go on being served while the third is not accepted.
    for _ in 0..20 {
        first.send("GET /health HTTP/1.1\r\nhost: h\r\n\r\n").await;
        assert_eq!(first.response().await.status, 200);
    }
    assert_eq!(gateway.metric("gateway_connections_accepted_total").await, 2.0);
    drop(second);
    assert_eq!(third.response().await.status, 200);
}

#[tokio::test]
async fn a_connection_is_replaced_after_its_number_of_requests() {
    let upstream = upstream().await;
    let gateway = limited(&upstream, "    max_connection_requests: 2\n", &[]).await;
    for _ in 0..6 {
        assert_eq!(gateway.get("/raw").await.text().await.expect("text"), "ok");
    }
    assert_eq!(upstream.accepted(), 3);
}

#[tokio::test]
async fn a_connection_is_replaced_when_it_is_old() {
    let upstream = upstream().await;
    let gateway = limited(&upstream, "    max_connection_age: 0.2\n", &[]).await;
    eventually("a second connection is opened", DEADLINE, async || {
        assert_eq!(gateway.get("/raw").await.status(), 200);
        upstream.accepted() >= 2
    })
    .await;
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request_unless_none_may_be_kept() {
    for (max_idle, connections) in [("256", 1), ("0", 3)] {
        let upstream = upstream().await;
        let gateway = limited(&upstream, "", &[("MAX_IDLE_CONNECTIONS", max_idle)]).await;
        for _ in 0..3 {
            assert_eq!(gateway.get("/raw").await.text().await.expect("text"), "ok");
        }
        assert_eq!(upstream.accepted(), connections, "MAX_IDLE_CONNECTIONS={max_idle}");
    }
}

#[tokio::test]
async fn a_connection_that_idles_too_long_is_closed() {
    let upstream = upstream().await;
    let gateway = limited(&upstream, "", &[("IDLE_TIMEOUT", "0.1")]).await;
    assert_eq!(gateway.get("/raw").await.text().await.expect("text"), "ok");
    let closed = async || gateway.metric(OPEN_UPSTREAM).await == 0.0;
    eventually("the idle connection is closed", DEADLINE, closed).await;
    assert_eq!(gateway.get("/raw").await.status(), 200);
    assert_eq!(upstream.accepted(), 2);
}
