//! Which request goes where, and what it carries when it arrives.

use std::sync::{Arc, Mutex};

use crate::harness::{Gateway, problem, yaml};
use shared::test_util::{DEADLINE, Upstream, eventually};

/// Heads and bodies, in the order they came.
type Requests = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// An upstream that keeps the heads and bodies it got and answers `ok`.
struct Recording {
    upstream: Upstream,
    requests: Requests,
}

impl Recording {
    async fn start() -> Self {
        let requests: Requests = Arc::default();
        let kept = Arc::clone(&requests);
        let upstream = Upstream::start(move |mut connection| {
            let kept = Arc::clone(&kept);
            async move {
                while let Some(request) = connection.read_request().await {
                    kept.lock().expect("the lock is whole").push(request);
                    connection
                        .send("HTTP/1.1 200 OK\r\nx-model-version: 1.0\r\nx-secret-hop: 1\r\nconnection: x-secret-hop\r\ncontent-length: 2\r\n\r\nok")
                        .await;
                }
            }
        })
        .await;
        Self { upstream, requests }
    }

    /// The last request's head, in lower case.
    fn last_head(&self) -> String {
        let requests = self.requests.lock().expect("the lock is whole");
        requests.last().expect("a request").0.to_ascii_lowercase()
    }

    fn count(&self) -> usize {
        self.requests.lock().expect("the lock is whole").len()
    }
}

#[tokio::test]
async fn the_default_routes_answer_as_the_labs_nginx() {
    let gateway = Gateway::start("{}", &[]).await;
    let health = gateway.get("/health").await;
    assert_eq!(health.status(), 200);
    assert_eq!(health.headers()["content-type"], "text/plain");
    assert_eq!(health.text().await.expect("text"), "Gateway OK\n");
    let status = gateway.get("/status").await.text().await.expect("text");
    assert_eq!(status, "API Gateway v1.0\nBackend: ml-inference-service:5000\n");
}

#[tokio::test]
async fn the_prefix_is_rewritten_by_whole_segments_and_other_paths_pass_unchanged() {
    let recording = Recording::start().await;
    let gateway = Gateway::in_front_of(&[recording.upstream.address], &[]).await;
    for (asked, got) in [
        ("/predict", "get / http/1.1"),
        ("/predict?x=1", "get /?x=1 http/1.1"),
        ("/predict/x/y?z", "get /x/y?z http/1.1"),
        ("/raw", "get /raw http/1.1"),
        ("/raw/org%2Fname:predict", "get /raw/org%2fname:predict http/1.1"),
    ] {
        assert_eq!(gateway.get(asked).await.status(), 200, "{asked}");
        assert!(
            recording.last_head().starts_with(got),
            "{asked}: {}",
            recording.last_head()
        );
    }
    let before = recording.count();
    for unknown in ["/", "/predictx", "/PREDICT", "/health/x", "/v9"] {
        let (status, detail) = problem(gateway.get(unknown).await).await;
        assert_eq!(
            (status, detail.as_str()),
            (404, "no route matches this path"),
            "{unknown}"
        );
    }
    assert_eq!(recording.count(), before, "nothing unknown was forwarded");
}

#[tokio::test]
async fn a_path_with_two_readings_is_refused_and_never_forwarded() {
    let recording = Recording::start().await;
    let gateway = Gateway::in_front_of(&[recording.upstream.address], &[]).await;
    for path in [
        "/predict/../raw",
        "/predict/%2e%2e/raw",
        "/predict//x",
        "/predict/..%2fraw",
    ] {
        let mut client = gateway.raw().await;
        client.send(format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n")).await;
        assert_eq!(client.response().await.status, 400, "{path}");
    }
    assert_eq!(recording.count(), 0);
}

#[tokio::test]
async fn the_upstream_learns_who_asked_and_the_client_cannot_forge_it() {
    let recording = Recording::start().await;
    let gateway = Gateway::in_front_of(&[recording.upstream.address], &[]).await;
    let mut client = gateway.raw().await;
    client
        .send(
            "GET /predict HTTP/1.1\r\nHost: lab.example:30080\r\nX-Real-IP: 9.9.9.9\r\nX-Forwarded-For: 203.0.113.9\r\n\
             X-Request-ID: my-own.id_1\r\nConnection: x-real-ip, x-hop\r\nX-Hop: 1\r\nTE: trailers\r\n\r\n",
        )
        .await;
    let response = client.response().await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("x-request-id"), Some("my-own.id_1"));
    assert_eq!(response.header("x-model-version"), Some("1.0"));
    assert_eq!(
        response.header("x-secret-hop"),
        None,
        "named in the upstream's Connection"
    );
    let head = recording.last_head();
    for line in [
        "host: lab.example:30080",
        "x-real-ip: 127.0.0.1",
        "x-forwarded-for: 203.0.113.9, 127.0.0.1",
        "x-forwarded-proto: http",
        "x-request-id: my-own.id_1",
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
    }
    for gone in ["x-hop", "te:", "connection:"] {
        assert!(!head.contains(&format!("\r\n{gone}")), "{gone} in {head}");
    }
}

#[tokio::test]
async fn a_request_id_is_made_when_the_client_has_none_or_an_unsafe_one_and_stands_in_the_log() {
    let recording = Recording::start().await;
    let gateway = Gateway::in_front_of(&[recording.upstream.address], &[]).await;
    for given in [None, Some("{\"forged\":1}"), Some("")] {
        let mut request = gateway.client.get(gateway.url("/predict?key=s3cret"));
        if let Some(given) = given {
            request = request.header("x-request-id", given);
        }
        let response = request.send().await.expect("an answer");
        let id = response.headers()["x-request-id"].to_str().expect("text").to_owned();
        assert_eq!(id.len(), 32, "{given:?} became {id}");
        assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        assert!(recording.last_head().contains(&format!("x-request-id: {id}")));
        let line = gateway
            .process
            .log_line_where("the request", |line| line["request_id"] == id.as_str())
            .await;
        assert_eq!(line["path"], "/predict?key");
        assert_eq!(line["status"], 200);
        assert_eq!(line["method"], "GET");
        assert_eq!(line["bytes"], 2);
        assert_eq!(line["model_version"], "1.0");
        assert_eq!(line["endpoint"], recording.upstream.address.to_string());
        assert!(line["upstream_ms"].as_f64().expect("a number") > 0.0);
        assert!(line["gateway_ms"].as_f64().expect("a number") >= 0.0);
    }
    assert!(!gateway.process.output().contains("s3cret"));
}

#[tokio::test]
async fn probes_are_not_in_the_log_and_other_requests_are() {
    let gateway = Gateway::start("{}", &[]).await;
    let probe = gateway
        .client
        .get(gateway.url("/health"))
        .header("user-agent", "kube-probe/1.35");
    assert_eq!(probe.send().await.expect("an answer").status(), 200);
    gateway.admin("/readyz").await;
    gateway.admin("/metrics").await;
    gateway.get("/status").await;
    gateway
        .process
        .log_line_where("the request", |line| line["path"] == "/status")
        .await;
    let requests = gateway
        .process
        .log()
        .into_iter()
        .filter(|line| line["message"] == "request")
        .count();
    assert_eq!(requests, 1);
}

#[tokio::test]
async fn bodies_pass_both_ways_and_head_has_none() {
    let recording = Recording::start().await;
    let gateway = Gateway::in_front_of(&[recording.upstream.address], &[]).await;
    // Above and below the size that is kept for a resend, and of unknown length.
    for size in [0, 10, 200_000] {
        let body = "x".repeat(size);
        assert_eq!(
            gateway.post("/predict", body.clone()).await.text().await.expect("text"),
            "ok"
        );
        let requests = recording.requests.lock().expect("the lock is whole");
        assert_eq!(requests.last().expect("a request").1, body.as_bytes(), "{size} bytes");
    }
    let mut client = gateway.raw().await;
    client.send("HEAD /health HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let head = client.response_to_head().await;
    assert_eq!((head.status, head.header("content-length")), (200, Some("11")));
    client.send("GET /health HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!(
        client.response().await.body,
        "Gateway OK\n",
        "the connection goes on after a HEAD"
    );
}

#[tokio::test]
async fn a_chunked_answer_is_handed_on_chunk_by_chunk() {
    let upstream = Upstream::start(|mut connection| async move {
        while connection.read_head().await.is_some() {
            connection
                .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
                .await;
            // The second chunk waits for the client to have seen the first: it asks for it on a side channel.
            connection.read_body(1).await;
            connection.send("6\r\nsecond\r\n0\r\n\r\n").await;
        }
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    let mut response = gateway
        .client
        .post(gateway.url("/raw"))
        .body(reqwest::Body::from("!"))
        .send()
        .await
        .expect("a head");
    assert_eq!(response.chunk().await.expect("a chunk").expect("data"), "first");
    assert_eq!(response.chunk().await.expect("a chunk").expect("data"), "second");
    assert_eq!(response.chunk().await.expect("the end"), None);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whether_or_not_it_says_its_length() {
    let recording = Recording::start().await;
    let gateway = Gateway::in_front_of(&[recording.upstream.address], &[("MAX_BODY_BYTES", "1000")]).await;
    let mut client = gateway.raw().await;
    // Only the announcement: nothing of the body has to arrive for the answer.
    client
        .send("POST /predict HTTP/1.1\r\nhost: h\r\ncontent-length: 1001\r\n\r\n")
        .await;
    let refused = client.response().await;
    assert_eq!(refused.status, 413);
    assert!(refused.body.contains("\"limit\":1000"), "{}", refused.body);

    let mut client = gateway.raw().await;
    let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000));
    client
        .send(format!(
            "POST /predict HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n"
        ))
        .await;
    assert_eq!(client.response().await.status, 413);
    assert_eq!(gateway.post("/predict", "x".repeat(1000)).await.status(), 200);
}

#[tokio::test]
async fn an_encoded_path_is_no_way_around_the_key() {
    let recording = Recording::start().await;
    let yaml = format!(
        "{}  - {{ prefix: /raw/secret, cluster: 'backend:5000', require_api_key: true }}\n",
        yaml(&[recording.upstream.address])
    );
    let gateway = Gateway::start(&yaml, &[("API_KEY", "k")]).await;
    for path in [
        "/raw/secret",
        "/raw/%73ecret",
        "/raw%2Fsecret",
        "/raw/secret%2fx",
        "/raw/%%373ecret",
    ] {
        let mut client = gateway.raw().await;
        client.send(format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n")).await;
        let status = client.response().await.status;
        assert!([400, 401, 404].contains(&status), "{path}: {status}");
    }
    assert_eq!(recording.count(), 0);
    // Decoded once and sent on so; the query is left as it is.
    assert_eq!(gateway.get("/r%61w/x%2Dy?q=%61").await.status(), 200);
    assert!(
        recording.last_head().starts_with("get /raw/x-y?q=%61 http/1.1"),
        "{}",
        recording.last_head()
    );
}

#[tokio::test]
async fn a_request_has_exactly_one_host() {
    let recording = Recording::start().await;
    let gateway = Gateway::in_front_of(&[recording.upstream.address], &[]).await;
    for (head, status) in [
        ("GET /predict HTTP/1.1\r\n\r\n", 400),
        ("GET /predict HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        ("GET /predict HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        ("GET /predict HTTP/1.0\r\n\r\n", 200),
    ] {
        let mut client = gateway.raw().await;
        client.send(head).await;
        assert_eq!(client.response().await.status, status, "{head:?}");
    }
    assert_eq!(recording.count(), 1);
    assert!(
        recording.last_head().contains("\r\nhost: backend:5000\r\n"),
        "{}",
        recording.last_head()
    );
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused_wherever_it_ends() {
    let gateway = Gateway::start("{}", &[("MAX_HEADER_BYTES", "16Ki")]).await;
    for (size, status) in [
        (15_000, 200),
        (16_500, 431),
        (17_000, 431),
        (30_000, 431),
        (100_000, 431),
    ] {
        let mut client = gateway.raw().await;
        let head = format!("GET /health HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "x".repeat(size));
        let answer = client.response_while_sending(head.into_bytes()).await;
        assert_eq!(answer.status, status, "{size} bytes");
    }
}

#[tokio::test]
async fn a_tunnel_is_not_opened() {
    let recording = Recording::start().await;
    let yaml = yaml(&[recording.upstream.address]).replace("prefix: /raw", "prefix: /");
    let gateway = Gateway::start(&yaml, &[]).await;
    let mut client = gateway.raw().await;
    client
        .send("CONNECT internal:443 HTTP/1.1\r\nhost: internal:443\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status, 405);
    assert_eq!(recording.count(), 0);
}

#[tokio::test]
async fn a_client_that_is_refused_in_the_middle_of_its_upload_can_read_why() {
    let gateway = Gateway::start("{}", &[("MAX_BODY_BYTES", "1000")]).await;
    for path in ["/predict", "/nope"] {
        let mut client = gateway.raw().await;
        client
            .send(format!(
                "POST {path} HTTP/1.1\r\nhost: h\r\ncontent-length: 4000000\r\n\r\n"
            ))
            .await;
        // More than the sockets hold: it is written only if the gateway reads on.
        client.send(vec![b'x'; 4_000_000]).await;
        let status = client.response().await.status;
        assert_eq!(status, if path == "/nope" { 404 } else { 413 }, "{path}");
    }
}

#[tokio::test]
async fn other_methods_on_an_answer_of_the_gateways_own_are_405() {
    let gateway = Gateway::start("{}", &[]).await;
    let response = gateway.post("/health", "x").await;
    assert_eq!(response.headers()["allow"], "GET, HEAD");
    assert_eq!(problem(response).await.0, 405);
    let admin = gateway
        .client
        .post(format!("http://{}/readyz", gateway.admin))
        .send()
        .await
        .expect("an answer");
    assert_eq!(problem(admin).await.0, 405);
    assert_eq!(problem(gateway.admin("/nope").await).await.0, 404);
}

#[tokio::test]
async fn a_route_may_ask_for_the_api_key() {
    let recording = Recording::start().await;
    let yaml = yaml(&[recording.upstream.address]).replace("idempotent: true", "require_api_key: true");
    let gateway = Gateway::start(&yaml, &[("API_KEY", "the-key")]).await;
    let ask = |name: &'static str, value: &'static str| {
        let request = gateway.client.get(gateway.url("/predict")).header(name, value);
        async move { request.send().await.expect("an answer") }
    };
    assert_eq!(ask("x-api-key", "the-key").await.status(), 200);
    assert_eq!(ask("authorization", "Bearer the-key").await.status(), 200);
    let before = recording.count();
    let refused = ask("x-api-key", "the-kez").await;
    assert_eq!(refused.headers()["www-authenticate"], "Bearer");
    assert_eq!(problem(refused).await.0, 401);
    assert_eq!(problem(gateway.get("/predict").await).await.0, 401);
    assert_eq!(recording.count(), before);
    assert_eq!(gateway.get("/raw").await.status(), 200, "a route that does not ask");
    assert!(!gateway.process.output().contains("the-key"));
}

#[tokio::test]
async fn the_admin_listener_shows_metrics_status_and_probes() {
    let recording = Recording::start().await;
    let gateway = Gateway::in_front_of(&[recording.upstream.address], &[]).await;
    assert_eq!(gateway.admin("/livez").await.status(), 200);
    eventually("it is ready", DEADLINE, async || {
        gateway.admin("/readyz").await.status() == 200
    })
    .await;
    gateway.get("/predict").await.text().await.expect("text");
    gateway.get("/nope").await.text().await.expect("text");
    let counted = "gateway_requests_total{cluster=\"backend:5000\",code_class=\"2xx\",route=\"/predict\"}";
    eventually("the request is counted", DEADLINE, async || {
        gateway.metric(counted).await >= 1.0
    })
    .await;
    for (series, least) in [
        (
            "gateway_requests_total{cluster=\"none\",code_class=\"4xx\",route=\"none\"}",
            1.0,
        ),
        (
            "gateway_request_duration_seconds_count{cluster=\"backend:5000\",route=\"/predict\"}",
            1.0,
        ),
        (
            "gateway_upstream_duration_seconds_count{cluster=\"backend:5000\",route=\"/predict\"}",
            1.0,
        ),
        (
            "gateway_overhead_duration_seconds_count{cluster=\"backend:5000\",route=\"/predict\"}",
            1.0,
        ),
        ("gateway_cluster_endpoints{cluster=\"backend:5000\"}", 1.0),
        ("gateway_connections_accepted_total", 1.0),
        ("gateway_build_info{version=\"", 1.0),
        ("process_resident_memory_bytes", 1.0),
    ] {
        assert!(gateway.metric(series).await >= least, "{series}");
    }
    assert_eq!(gateway.metric("gateway_requests_in_flight").await, 0.0);
    let status: serde_json::Value = gateway.admin("/status.json").await.json().await.expect("JSON");
    assert_eq!(status["ready"], true);
    assert_eq!(
        status["clusters"][0]["endpoints"][0]["address"],
        recording.upstream.address.to_string()
    );
    // Nothing of it is on the public side.
    assert_eq!(gateway.get("/metrics").await.status(), 404);
}

#[tokio::test]
async fn two_hundred_concurrent_clients_all_get_their_own_answer() {
    let upstream = Upstream::start(|mut connection| async move {
        while let Some((_, body)) = connection.read_request().await {
            connection.answer(200, &String::from_utf8_lossy(&body)).await;
        }
    })
    .await;
    let gateway = Arc::new(Gateway::in_front_of(&[upstream.address], &[]).await);
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..200 {
        let gateway = Arc::clone(&gateway);
        clients.spawn(async move {
            for turn in 0..5 {
                let body = format!("client {number} turn {turn}");
                let response = gateway.post("/predict", body.clone()).await;
                assert_eq!(response.status(), 200);
                assert_eq!(response.text().await.expect("text"), body);
            }
        });
    }
    let ended = clients.join_all().await;
    assert_eq!(ended.len(), 200);
}

#[tokio::test]
async fn clients_of_the_model_servers_protocols_get_errors_that_they_can_show() {
    let upstream = Upstream::start(|mut connection| async move { connection.answer_all("ok").await }).await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    for path in ["/v2/models/m/infer", "/v2", "/v1/models/m:predict"] {
        let answer = gateway.post(path, "{}").await;
        assert_eq!(answer.status(), 404, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/json", "{path}");
        let body: serde_json::Value = answer.json().await.expect("JSON");
        assert_eq!(body["error"], "no route matches this path");
        assert_eq!(body["status"], 404);
    }
    for path in ["/v1", "/v22/models", "/elsewhere/v2"] {
        assert_eq!(problem(gateway.get(path).await).await.0, 404, "{path}");
    }
}
