//! What is no request: refused with its reason, never forwarded, and never in the way of what came before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::Gateway;
use shared::test_util::{DEADLINE, RawClient, RawResponse, Signal, Upstream, eventually};
use tokio::sync::watch;

/// An upstream that answers `ok` to every request and counts them.
struct Counting {
    upstream: Upstream,
    requests: Arc<AtomicUsize>,
}

impl Counting {
    async fn start() -> Self {
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        let upstream = Upstream::start(move |mut connection| {
            let counter = Arc::clone(&counter);
            async move {
                while connection.read_request().await.is_some() {
                    counter.fetch_add(1, Ordering::SeqCst);
                    connection.answer(200, "ok").await;
                }
            }
        })
        .await;
        Self { upstream, requests }
    }

    fn count(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// The status and the `field` of a refusal, which is a whole problem document on a connection that ends.
async fn refusal(client: &mut RawClient) -> (u16, String) {
    let response = client.response().await;
    let field = problem_field(&response);
    assert!(client.closed().await.is_empty(), "nothing after the refusal");
    (response.status, field)
}

fn problem_field(response: &RawResponse) -> String {
    assert_eq!(response.header("content-type"), Some("application/problem+json"));
    assert_eq!(response.header("connection"), Some("close"));
    assert!(response.header("date").is_some());
    let problem: serde_json::Value = serde_json::from_str(&response.body).expect("JSON");
    assert_eq!(problem["status"], response.status);
    assert_eq!(problem["error"], problem["detail"]);
    assert_eq!(problem["request_id"].as_str(), response.header("x-request-id"));
    problem["field"].as_str().expect("a field").to_owned()
}

#[tokio::test]
async fn what_two_readers_could_read_differently_is_refused_and_never_forwarded() {
    let counting = Counting::start().await;
    let gateway = Gateway::in_front_of(&[counting.upstream.address], &[]).await;
    let post = |fields: &str| {
        format!("POST /raw HTTP/1.1\r\nhost: h\r\n{fields}\r\n\r\n0\r\n\r\nGET /raw HTTP/1.1\r\nhost: h\r\n\r\n")
    };
    for (request, status, field) in [
        (
            post("content-length: 5\r\ntransfer-encoding: chunked"),
            400,
            "content-length",
        ),
        (
            post("transfer-encoding: chunked\r\ncontent-length: 5"),
            400,
            "content-length",
        ),
        (post("content-length: 5\r\ncontent-length: 6"), 400, "content-length"),
        (post("content-length: 5, 5"), 400, "content-length"),
        (post("content-length: +5"), 400, "content-length"),
        (post("content-length:"), 400, "content-length"),
        (post("content-length: 99999999999999999999"), 400, "content-length"),
        (post("transfer-encoding: identity"), 400, "transfer-encoding"),
        (post("transfer-encoding: chunked, identity"), 400, "transfer-encoding"),
        (post("transfer-encoding: gzip, chunked"), 400, "transfer-encoding"),
        (post("transfer-encoding : chunked"), 400, "header"),
        (post("x: a\r\n b"), 400, "header"),
        (post("x(: a"), 400, "header"),
        (post(": a"), 400, "header"),
        (post("x: a\nb: c"), 400, "line-break"),
        (post("x: a\rb"), 400, "line-break"),
        (post("x: a\0b"), 400, "head"),
        (post("host: h"), 400, "host"),
        ("GET /raw HTTP/1.1\r\n\r\n".to_owned(), 400, "host"),
        ("GET /raw HTTP/1.1\r\nhost: user@h\r\n\r\n".to_owned(), 400, "host"),
        ("GET /raw HTTP/1.1\r\nhost: h:port\r\n\r\n".to_owned(), 400, "host"),
        ("GET /raw HTTP/1.1\r\n host: h\r\n\r\n".to_owned(), 400, "header"),
        (
            "POST /raw HTTP/1.0\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            400,
            "transfer-encoding",
        ),
        ("GET /raw HTTP/1.1\nhost: h\n\n".to_owned(), 400, "line-break"),
        ("GET /raw\u{1} HTTP/1.1\r\nhost: h\r\n\r\n".to_owned(), 400, "head"),
        ("GET /raw#x HTTP/1.1\r\nhost: h\r\n\r\n".to_owned(), 400, "target"),
        (
            "GET http://u@h/raw HTTP/1.1\r\nhost: h\r\n\r\n".to_owned(),
            400,
            "target",
        ),
        ("GET * HTTP/1.1\r\nhost: h\r\n\r\n".to_owned(), 400, "target"),
        ("G@T /raw HTTP/1.1\r\nhost: h\r\n\r\n".to_owned(), 400, "method"),
        ("GET /raw\r\n\r\n".to_owned(), 400, "request-line"),
        ("GET /raw http/1.1\r\nhost: h\r\n\r\n".to_owned(), 400, "version"),
        ("GET /raw HTTP/3.0\r\nhost: h\r\n\r\n".to_owned(), 505, "version"),
        ("\u{16}\u{3}\u{1}".to_owned(), 400, "head"),
    ] {
        let mut client = gateway.raw().await;
        client.send(&request).await;
        assert_eq!(refusal(&mut client).await, (status, field.to_owned()), "{request:?}");
    }
    assert_eq!(counting.count(), 0);
}

#[tokio::test]
async fn each_limit_of_a_head_has_its_status_and_is_named() {
    let counting = Counting::start().await;
    let environment = [
        ("MAX_REQUEST_LINE_BYTES", "1Ki"),
        ("MAX_HEADER_LINE_BYTES", "2Ki"),
        ("MAX_HEADER_BYTES", "8Ki"),
        ("MAX_HEADERS", "30"),
    ];
    let gateway = Gateway::in_front_of(&[counting.upstream.address], &environment).await;
    let head = |target: usize, header: usize, headers: usize| {
        let headers = format!("x: {}\r\n", "x".repeat(header)).repeat(headers);
        format!("GET /raw/{} HTTP/1.1\r\nhost: h\r\n{headers}\r\n", "x".repeat(target))
    };
    for (request, status, limit) in [
        (head(1020, 1, 1), 414, 1024),
        (head(100_000, 1, 1), 414, 1024),
        (head(1, 2050, 1), 431, 2048),
        (head(1, 1000, 9), 431, 8192),
        (head(1, 1, 30), 431, 30),
    ] {
        let mut client = gateway.raw().await;
        let response = client.response_while_sending(request.into_bytes()).await;
        assert_eq!(response.status, status);
        assert!(
            response.body.contains(&format!("\"limit\":{limit}")),
            "{}",
            response.body
        );
        problem_field(&response);
    }
    assert_eq!(counting.count(), 0);
    let mut client = gateway.raw().await;
    client.send(head(900, 1900, 3)).await;
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn a_refusal_comes_after_the_answers_to_what_came_before_it() {
    let (release, released) = watch::channel(false);
    let upstream = Upstream::start(move |mut connection| {
        let mut released = released.clone();
        async move {
            while let Some((head, _)) = connection.read_request().await {
                // The answer is held back while the refusal of what follows is known already.
                released
                    .wait_for(|released| *released)
                    .await
                    .expect("the test is there");
                let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
                connection.answer(200, &target).await;
            }
        }
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    let mut client = gateway.raw().await;
    let good = |path: &str| format!("POST /raw/{path} HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\nx");
    client
        .send(good("1") + &good("2") + "GET /raw HTTP/1.1\r\nhost: h\r\nhost: h\r\n\r\n")
        .await;
    assert!(client.is_silent_for(Duration::from_millis(100)).await);
    release.send(true).expect("the upstream is there");
    for path in ["/raw/1", "/raw/2"] {
        let answer = client.response().await;
        assert_eq!((answer.status, answer.body.as_str()), (200, path));
        assert_eq!(answer.header("connection"), None, "the client is to read on");
    }
    assert_eq!(refusal(&mut client).await, (400, "host".to_owned()));
}

#[tokio::test]
async fn a_refused_head_is_counted_and_logged_with_the_id_its_client_got() {
    let gateway = Gateway::start("{}", &[]).await;
    let mut client = gateway.raw().await;
    client.send("HEAD /health HTTP/1.1\r\n\r\n").await;
    let response = client.response_to_head().await;
    assert_eq!(response.status, 400);
    assert!(response.header("content-length").is_some());
    assert!(client.closed().await.is_empty(), "an answer to HEAD has no body");
    let id = response.header("x-request-id").expect("an id").to_owned();
    let line = gateway
        .process
        .log_line_where("the refusal", |line| line["request_id"] == id.as_str())
        .await;
    assert_eq!(line["message"], "refused");
    assert_eq!(
        (&line["status"], &line["reason"]),
        (&400.into(), &"host_missing".into())
    );
    assert_eq!(line["peer"], "127.0.0.1");
    let counted = "gateway_requests_refused_total{reason=\"host_missing\"}";
    assert_eq!(gateway.metric(counted).await, 1.0);
}

#[tokio::test]
async fn a_bad_chunk_ends_the_upstreams_request_before_it_is_complete() {
    let (heads, mut seen) = watch::channel(0);
    let (tell, mut told) = watch::channel(None);
    let upstream = Upstream::start(move |mut connection| {
        let (heads, tell) = (heads.clone(), tell.clone());
        async move {
            connection.read_head().await.expect("a head");
            heads.send_modify(|heads| *heads += 1);
            // Everything until the connection breaks.
            tell.send_replace(Some(connection.read_body(usize::MAX).await));
        }
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    for (rest, reason) in [
        ("zz\r\nhello\r\n0\r\n\r\n", "chunk_size"),
        ("5\r\nhello!\r\n0\r\n\r\n", "chunk_end"),
        ("5;=\r\nhello\r\n0\r\n\r\n", "chunk_extension"),
        ("0\r\ncontent-length: 5\r\n\r\n", "trailer"),
        ("0\r\n\n", "line_break"),
    ] {
        seen.borrow_and_update();
        told.borrow_and_update();
        let mut client = gateway.raw().await;
        client
            .send("POST /raw HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            .await;
        seen.changed().await.expect("the request is on its way");
        client.send(rest).await;
        client.send("GET /raw HTTP/1.1\r\nhost: h\r\n\r\n").await;
        let response = client.response().await;
        assert_eq!(response.status, 400, "{rest:?}");
        problem_field(&response);
        assert!(client.closed().await.is_empty());
        told.changed().await.expect("the upstream has seen the end");
        let got = told.borrow().clone().expect("what the upstream got");
        let got = String::from_utf8_lossy(&got).into_owned();
        assert!(!got.contains("0\r\n\r\n"), "{rest:?} became {got:?}");
        let counted = format!("gateway_requests_refused_total{{reason=\"{reason}\"}}");
        eventually(reason, DEADLINE, async || gateway.metric(&counted).await == 1.0).await;
    }
    assert_eq!(
        upstream.accepted(),
        5,
        "nothing was sent again, and nothing behind the bad chunk"
    );
}

#[tokio::test]
async fn a_head_that_trickles_in_is_a_408_and_a_silent_connection_is_just_closed() {
    let upstream = Upstream::start(|mut connection| async move {
        connection.read_head().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        connection.answer(200, "ok").await;
        connection.hang().await;
    })
    .await;
    let environment = [("HEADER_TIMEOUT", "0.8"), ("KEEPALIVE_TIMEOUT", "0.6")];
    let gateway = Gateway::in_front_of(&[upstream.address], &environment).await;
    let mut slow = gateway.raw().await;
    let began = Instant::now();
    let mut head = "GET /health HTTP/1.1\r\nhost: h\r\nx: ".to_owned() + &"x".repeat(10_000);
    while began.elapsed() < Duration::from_millis(250) {
        slow.send(head.drain(..1).collect::<String>()).await;
        assert!(slow.is_silent_for(Duration::from_millis(20)).await);
    }
    assert_eq!(refusal(&mut slow).await, (408, "head".to_owned()));
    assert!(began.elapsed() >= Duration::from_millis(800));

    let mut slowly_answered = gateway.raw().await;
    slowly_answered.send("GET /raw HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!(slowly_answered.response().await.status, 200);
    assert!(slowly_answered.closed().await.is_empty());

    for sent in ["", "\r\n", "GET /health HTTP/1.1\r\nhost: h\r\n\r\n"] {
        let mut idle = gateway.raw().await;
        let began = Instant::now();
        idle.send(sent).await;
        if sent.len() > 2 {
            assert_eq!(idle.response().await.status, 200);
        }
        assert!(idle.closed().await.is_empty(), "{sent:?}");
        assert!(began.elapsed() >= Duration::from_millis(600), "{sent:?}");
    }
}

#[tokio::test]
async fn a_request_may_come_byte_by_byte_or_many_at_once() {
    let counting = Counting::start().await;
    let gateway = Gateway::in_front_of(&[counting.upstream.address], &[]).await;
    let large = format!("x: {}\r\n", "x".repeat(30_000));
    let requests = [
        "GET /raw HTTP/1.1\r\nhost: h\r\n\r\n".to_owned(),
        "POST /raw HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\n\r\nbody\r\n".to_owned(),
        "POST /raw HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        format!("GET /raw HTTP/1.1\r\nhost: h\r\n{large}\r\n"),
    ];
    let mut client = gateway.raw().await;
    for request in &requests[..3] {
        for byte in request.as_bytes() {
            client.send([*byte]).await;
        }
        assert_eq!(client.response().await.status, 200, "{request:?}");
    }
    client.send(requests.concat().repeat(5)).await;
    for number in 0..20 {
        assert_eq!(client.response().await.status, 200, "{number}");
    }
    assert_eq!(counting.count(), 23);
}

#[tokio::test]
async fn a_client_that_goes_on_sending_can_read_why_it_was_refused() {
    let gateway = Gateway::start("{}", &[]).await;
    let mut client = gateway.raw().await;
    client
        .send("POST /health HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    // More than the sockets hold: it is written only if the gateway reads on.
    client.send(vec![b'x'; 4_000_000]).await;
    assert_eq!(client.response().await.status, 400);
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut_and_its_upstream_let_go() {
    let upstream = Upstream::start(|mut connection| async move {
        connection.read_head().await;
        connection
            .send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
            .await;
        let part = vec![b'x'; 1 << 20];
        loop {
            connection.send(&part).await;
        }
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[("SEND_TIMEOUT", "0.3")]).await;
    let mut client = gateway.raw().await;
    client.send("GET /raw HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let cut = async || gateway.metric("gateway_responses_stalled_total").await == 1.0;
    eventually("the client is cut", DEADLINE, cut).await;
    let open = "gateway_upstream_connections_open{cluster=\"backend:5000\"}";
    eventually("its upstream is let go", DEADLINE, async || {
        gateway.metric(open).await == 0.0
    })
    .await;
    assert_eq!(gateway.metric("gateway_connections_open").await, 0.0);
}

#[tokio::test]
async fn a_client_that_reads_slowly_is_not_cut_while_it_reads() {
    let upstream = Upstream::start(|mut connection| async move {
        connection.answer_all(&"x".repeat(20_000_000)).await;
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[("SEND_TIMEOUT", "0.5")]).await;
    let mut client = gateway.raw().await;
    client
        .send("GET /raw HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
        .await;
    // Several times the timeout, a part now and then.
    let began = Instant::now();
    let mut got = 0;
    while began.elapsed() < Duration::from_secs(2) {
        got += client.read_some(200_000).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    got += client.closed().await.len();
    assert!(got > 20_000_000, "{got} bytes of it");
    assert_eq!(gateway.metric("gateway_responses_stalled_total").await, 0.0);
}

#[tokio::test]
async fn half_a_head_is_waited_for_when_the_listener_closes() {
    let gateway = Gateway::start("{}", &[("DRAIN_WINDOW", "0"), ("WORKERS", "1")]).await;
    let mut client = gateway.raw().await;
    client.send("GET /health HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!(client.response().await.status, 200);
    client.send("GET /health HTTP/1.1\r\nho").await;
    // The half has arrived when a request that was sent after it is answered: there is one worker.
    assert_eq!(gateway.get("/health").await.status(), 200);
    gateway.process.signal(Signal::TERM);
    gateway
        .process
        .log_line("closing the listener, finishing requests")
        .await;
    assert!(client.is_silent_for(Duration::from_millis(200)).await);
    client.send("st: h\r\n\r\n").await;
    let answer = client.response().await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
}
