//! Proxies before the gateway, and clients that say they are some.

use std::sync::{Arc, Mutex};

use shared::test_util::{DEADLINE, Process, RawClient, Scratch, Upstream};

use crate::harness::{BINARY, Gateway};

/// The head of the last request, in lower case.
type Head = Arc<Mutex<String>>;

async fn recording() -> (Upstream, Head) {
    let head = Head::default();
    let kept = Arc::clone(&head);
    let upstream = Upstream::start(move |mut connection| {
        let kept = Arc::clone(&kept);
        async move {
            while let Some((head, _body)) = connection.read_request().await {
                *kept.lock().expect("the lock is whole") = head.to_ascii_lowercase();
                connection.answer(200, "ok").await;
            }
        }
    })
    .await;
    (upstream, head)
}

/// A request with everything that a proxy, or one who plays one, says.
const CLAIMS: &str = "GET /raw HTTP/1.1\r\nHost: inner.example\r\nX-Request-ID: claims\r\nX-Real-IP: 9.9.9.9\r\n\
     X-Forwarded-For: 1.1.1.1, 203.0.113.9\r\nX-Forwarded-For: 127.0.0.5\r\nX-Forwarded-Proto: https\r\n\
     X-Forwarded-Host: app.example\r\nX-Forwarded-Port: 443\r\nForwarded: for=203.0.113.9\r\n\r\n";

/// The head that the upstream gets, and the log line.
async fn sent(environment: &[(&str, &str)]) -> (Vec<String>, serde_json::Value) {
    let (upstream, head) = recording().await;
    let gateway = Gateway::in_front_of(&[upstream.address], environment).await;
    let mut client = gateway.raw().await;
    client.send(CLAIMS).await;
    assert_eq!(client.response().await.status, 200);
    let line = gateway
        .process
        .log_line_where("the request", |line| line["request_id"] == "claims")
        .await;
    let head = head.lock().expect("the lock is whole").clone();
    let claims = ["x-forwarded", "x-real-ip", "forwarded", "host"];
    let mut lines: Vec<String> = head
        .split("\r\n")
        .filter(|line| claims.iter().any(|claim| line.starts_with(claim)))
        .map(str::to_owned)
        .collect();
    lines.sort_unstable();
    (lines, line)
}

#[tokio::test]
async fn a_trusted_proxys_word_on_its_client_counts() {
    let (head, line) = sent(&[("TRUSTED_PROXIES", "10.0.0.0/8, 127.0.0.0/8")]).await;
    assert_eq!(
        head,
        [
            "forwarded: for=203.0.113.9",
            "host: inner.example",
            "x-forwarded-for: 1.1.1.1, 203.0.113.9, 127.0.0.5, 127.0.0.1",
            "x-forwarded-host: app.example",
            "x-forwarded-port: 443",
            "x-forwarded-proto: https",
            "x-real-ip: 203.0.113.9",
        ]
    );
    assert_eq!(
        (&line["client"], &line["peer"]),
        (&"203.0.113.9".into(), &"127.0.0.1".into())
    );
}

#[tokio::test]
async fn what_anyone_else_says_does_not_count() {
    let (head, line) = sent(&[("TRUSTED_PROXIES", "10.0.0.0/8, ::1")]).await;
    assert_eq!(
        head,
        [
            "host: inner.example",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-proto: http",
            "x-real-ip: 127.0.0.1",
        ]
    );
    assert!(line["client"].is_null(), "{line}");
    assert_eq!(line["peer"], "127.0.0.1");
}

#[tokio::test]
async fn without_trusted_proxies_the_chain_grows_and_the_rest_passes() {
    let (head, line) = sent(&[]).await;
    assert_eq!(
        head,
        [
            "forwarded: for=203.0.113.9",
            "host: inner.example",
            "x-forwarded-for: 1.1.1.1, 203.0.113.9, 127.0.0.5, 127.0.0.1",
            "x-forwarded-host: app.example",
            "x-forwarded-port: 443",
            "x-forwarded-proto: http",
            "x-real-ip: 127.0.0.1",
        ]
    );
    assert!(line["client"].is_null(), "{line}");
}

#[tokio::test]
async fn a_proxy_behind_a_dual_stack_listener_is_known_by_its_ipv4_address() {
    let (upstream, head) = recording().await;
    let environment = [("TRUSTED_PROXIES", "127.0.0.0/8"), ("LISTEN_ADDRESS", "[::]:0")];
    let gateway = Gateway::in_front_of(&[upstream.address], &environment).await;
    let address = ([127, 0, 0, 1], gateway.address.port()).into();
    let mut client = RawClient::connect(address).await;
    client.send(CLAIMS).await;
    assert_eq!(client.response().await.status, 200);
    let head = head.lock().expect("the lock is whole").clone();
    assert!(head.contains("\r\nx-real-ip: 203.0.113.9\r\n"), "{head}");
    assert!(head.contains("\r\nx-forwarded-proto: https\r\n"), "{head}");
}

#[tokio::test]
async fn what_is_no_network_is_refused_at_the_start() {
    for value in ["10.0.0.0/33", "10.1.2.3/8", "ingress.example"] {
        let scratch = Scratch::new("proxies");
        let file = scratch.file("gateway.yaml", format!("trusted_proxies: \"{value}\"\n"));
        let arguments = ["--check", file.to_str().expect("UTF-8")];
        let nothing = std::iter::empty::<(&str, &str)>();
        let mut process = Process::start_with(BINARY, &arguments, nothing);
        let refused = process.wait_exit(DEADLINE).await;
        assert_eq!(refused.code, 78, "{value}");
        let told = "trusted_proxies: expected a comma-separated list of up to 64 addresses and networks";
        assert!(refused.stderr.contains(told), "{}", refused.stderr);
    }
}
