//! Load balancers that name the client in a header of the PROXY protocol.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use shared::test_util::{DEADLINE, RawClient, Signal, Upstream, eventually};

use crate::harness::Gateway;

const FROM_HERE: (&str, &str) = ("PROXY_PROTOCOL_FROM", "127.0.0.0/8");
const VERSION_1: &[u8] = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n";
const VERSION_1_IPV6: &[u8] = b"PROXY TCP6 2001:db8::9 2001:db8::1 4711 443\r\n";
/// The same client as version 1's, with the name of the host behind the addresses.
const VERSION_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x1a\
    \xcb\x00\x71\x09\xc0\x00\x02\x01\x12\x67\x01\xbb\
    \x02\x00\x0bapp.example";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";
const REQUEST: &[u8] = b"GET /raw HTTP/1.1\r\nHost: h\r\n\r\n";
const REJECTED: &str = "gateway_requests_refused_total{reason=\"proxy_header\"}";

/// Answers each request with its own head.
async fn echo() -> Upstream {
    Upstream::start(|mut connection| async move {
        while let Some((head, _body)) = connection.read_request().await {
            connection.answer(200, &head.to_ascii_lowercase()).await;
        }
    })
    .await
}

/// The value of a header that the upstream got.
fn sent<'a>(head: &'a str, name: &str) -> &'a str {
    let line = head
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("{name} is missing: {head}"))
}

#[tokio::test]
async fn the_client_is_whom_the_header_names() {
    let upstream = echo().await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[FROM_HERE]).await;
    for (header, client) in [
        (VERSION_1, "203.0.113.9"),
        (VERSION_1_IPV6, "2001:db8::9"),
        (VERSION_2, "203.0.113.9"),
        (LOCAL, "127.0.0.1"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    ] {
        let mut connection = gateway.raw().await;
        // In one segment with the first request; the second has none.
        connection.send([header, REQUEST].concat()).await;
        for _ in 0..2 {
            let answer = connection.response().await;
            assert_eq!(sent(&answer.body, "x-real-ip"), client);
            assert_eq!(sent(&answer.body, "x-forwarded-for"), client);
            let id = answer.header("x-request-id").expect("an id");
            let is_it = |line: &Value| line["request_id"] == id;
            let line = gateway.process.log_line_where("the request", is_it).await;
            assert_eq!(line["peer"], client);
            connection.send(REQUEST).await;
        }
    }
    assert_eq!(gateway.metric(REJECTED).await, 0.0);
}

#[tokio::test]
async fn a_header_may_come_in_pieces_and_in_front_of_http_2() {
    let upstream = echo().await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[FROM_HERE]).await;
    for header in [VERSION_1, VERSION_2] {
        let mut connection = gateway.raw().await;
        for byte in header {
            connection.send([*byte]).await;
        }
        connection.send(REQUEST).await;
        let answer = connection.response().await;
        assert_eq!(sent(&answer.body, "x-real-ip"), "203.0.113.9");
    }
    let mut connection = gateway.raw().await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    connection.send([VERSION_2, preface].concat()).await;
    let settings = connection.read_exactly(9).await;
    assert_eq!(settings[3], 4, "the gateway's SETTINGS frame: {settings:?}");
}

/// `TRUSTED_PROXIES` is about whom the header names: here the balancer stands before a proxy that speaks HTTP.
#[tokio::test]
async fn what_the_named_client_says_counts_where_that_one_is_a_trusted_proxy() {
    let upstream = echo().await;
    for (trusted, client) in [("203.0.113.0/24", "198.51.100.7"), ("127.0.0.0/8", "203.0.113.9")] {
        let environment = [FROM_HERE, ("TRUSTED_PROXIES", trusted)];
        let gateway = Gateway::in_front_of(&[upstream.address], &environment).await;
        let mut connection = gateway.raw().await;
        let request = b"GET /raw HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n";
        connection.send([VERSION_1, request].concat()).await;
        let answer = connection.response().await;
        assert_eq!(sent(&answer.body, "x-real-ip"), client, "TRUSTED_PROXIES={trusted}");
    }
}

#[tokio::test]
async fn a_balancers_connection_without_a_header_is_closed() {
    let upstream = echo().await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[FROM_HERE, ("HEADER_TIMEOUT", "0.5")]).await;
    let malformed = "no header of the PROXY protocol, version 1 or 2, for TCP";
    for (rejected, (bytes, fault)) in [
        (REQUEST, malformed),
        (b"PROXY TCP4 localhost 192.0.2.1 4711 443\r\n", malformed),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
            "the header is longer than 4096 bytes",
        ),
        (&VERSION_2[..20], "the header did not arrive in time"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut connection = gateway.raw().await;
        connection.send(bytes).await;
        assert!(connection.closed().await.is_empty(), "{fault}");
        let told = |line: &Value| line["message"] == "refused" && line["fault"] == fault;
        let line = gateway.process.log_line_where(fault, told).await;
        assert_eq!(
            (&line["peer"], &line["reason"]),
            (&"127.0.0.1".into(), &"proxy_header".into())
        );
        assert_eq!(gateway.metric(REJECTED).await, (rejected + 1) as f64);
    }
    let mut cut = gateway.raw().await;
    cut.send(&VERSION_2[..20]).await;
    cut.finish_sending().await;
    assert!(cut.closed().await.is_empty());
    assert_eq!(gateway.metric(REJECTED).await, 5.0);
    // A balancer's check of the port is no fault.
    let mut check = gateway.raw().await;
    check.finish_sending().await;
    assert!(check.closed().await.is_empty());
    assert_eq!(gateway.metric(REJECTED).await, 5.0);
    assert_eq!(
        gateway.admin("/readyz").await.status(),
        200,
        "the admin listener has none"
    );
}

#[tokio::test]
async fn nobody_else_can_name_a_client() {
    let upstream = echo().await;
    for environment in [&[][..], &[("PROXY_PROTOCOL_FROM", "10.0.0.0/8, fd00::/8")]] {
        let gateway = Gateway::in_front_of(&[upstream.address], environment).await;
        let mut plain = gateway.raw().await;
        plain.send(REQUEST).await;
        assert_eq!(sent(&plain.response().await.body, "x-real-ip"), "127.0.0.1");
        for header in [VERSION_1, VERSION_2] {
            let mut liar = gateway.raw().await;
            liar.send([header, REQUEST].concat()).await;
            assert_eq!(liar.response().await.status, 400);
            assert!(liar.closed().await.is_empty());
        }
    }
}

#[tokio::test]
async fn a_balancer_behind_a_dual_stack_listener_is_known_by_its_ipv4_address() {
    let upstream = echo().await;
    let environment = [FROM_HERE, ("LISTEN_ADDRESS", "[::]:0")];
    let gateway = Gateway::in_front_of(&[upstream.address], &environment).await;
    let address: SocketAddr = ([127, 0, 0, 1], gateway.address.port()).into();
    let mut connection = RawClient::connect(address).await;
    connection.send([VERSION_1, REQUEST].concat()).await;
    assert_eq!(sent(&connection.response().await.body, "x-real-ip"), "203.0.113.9");
}

#[tokio::test]
async fn a_connection_that_waits_for_its_header_does_not_hold_up_a_drain() {
    let upstream = echo().await;
    let environment = [FROM_HERE, ("HEADER_TIMEOUT", "600"), ("DRAIN_TIMEOUT", "600")];
    let mut gateway = Gateway::in_front_of(&[upstream.address], &environment).await;
    let mut idle = gateway.raw().await;
    let mut late = gateway.raw().await;
    let open = async || gateway.metric("gateway_connections_open").await == 2.0;
    eventually("both are open", DEADLINE, open).await;
    gateway.process.signal(Signal::TERM);
    let message = "closing the listener, finishing requests";
    gateway.process.log_line(message).await;
    late.send([VERSION_1, REQUEST].concat()).await;
    let answer = late.response().await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    let finished = gateway.process.wait_exit(Duration::from_secs(20)).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(idle.closed().await.is_empty());
}
