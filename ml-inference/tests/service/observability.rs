//! Log lines, request ids and metrics.

use serde_json::Value;

use crate::server::Server;

fn requests(log: &[Value]) -> Vec<&Value> {
    log.iter().filter(|line| line["message"] == "request").collect()
}

#[tokio::test]
async fn a_request_is_one_line_with_everything_in_it() {
    let server = Server::start(&[]).await;
    let id = "4bf92f35-77b3-4da6-a3ce-929d0e0e4736";
    let answer = server
        .request("GET", "/predict?api_key=s3cret&flag", &[("x-request-id", id)])
        .await;
    assert_eq!(answer.header("x-request-id"), id);

    let line = server
        .process
        .log_line_where("the request", |line| line["request_id"] == id)
        .await;
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["message"], "request");
    assert_eq!(line["method"], "GET");
    assert_eq!(line["path"], "/predict?api_key&-");
    assert_eq!(line["status"], 200);
    assert_eq!(line["bytes"], answer.body.len());
    assert_eq!(line["model_version"], "1.0");
    assert!(
        line["duration_ms"]
            .as_f64()
            .is_some_and(|time| (0.0..10_000.0).contains(&time)),
        "{line}"
    );
    assert!(
        line["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")),
        "{line}"
    );
    assert!(!server.process.output().contains("s3cret"));
}

#[tokio::test]
async fn an_id_that_is_not_sane_is_replaced() {
    let server = Server::start(&[]).await;
    let long = "x".repeat(129);
    for id in ["a b", "{\"level\":\"ERROR\"}", &long] {
        let answer = server.request("GET", "/", &[("x-request-id", id)]).await;
        let given = answer.header("x-request-id").to_owned();
        assert_eq!(given.len(), 32);
        server
            .process
            .log_line_where("the new id", |line| line["request_id"] == given)
            .await;
    }
}

#[tokio::test]
async fn probes_and_scrapes_are_logged_only_at_debug() {
    for (level, logged) in [("info", false), ("debug", true)] {
        let server = Server::start(&[("LOG_LEVEL", level)]).await;
        for path in ["/health", "/livez", "/readyz", "/metrics"] {
            server.request("GET", path, &[("x-request-id", "probe")]).await;
        }
        // The lab's early steps let the kubelet ask for a prediction.
        let kubelet = [("x-request-id", "probe"), ("user-agent", "kube-probe/1.35")];
        server.request("GET", "/", &kubelet).await;
        server.request("GET", "/", &[("x-request-id", "last")]).await;
        server
            .process
            .log_line_where("the last request", |line| line["request_id"] == "last")
            .await;
        let log = server.process.log();
        let probes: Vec<&Value> = requests(&log)
            .into_iter()
            .filter(|line| line["request_id"] == "probe")
            .collect();
        assert_eq!(probes.len(), if logged { 5 } else { 0 }, "{level}: {probes:?}");
        assert!(probes.iter().all(|line| line["level"] == "DEBUG"));
    }
}

#[tokio::test]
async fn a_higher_level_silences_requests() {
    let settings = [("LOG_LEVEL", "warn"), ("DRAIN_WINDOW", "0")];
    // Without the line `listening` there is no port to learn. Whoever asks for any port gets one from 32768 on.
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).expect("below 10,000");
    let port = (first..32_768).find(|port| std::net::TcpListener::bind(("0.0.0.0", *port)).is_ok());
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port.expect("a free port")));
    let port = address.port().to_string();
    let variables = settings
        .iter()
        .copied()
        .chain([("SERVICE_PORT", port.as_str()), ("ADMIN_ADDRESS", "127.0.0.1:0")]);
    let mut process = shared::test_util::Process::start(crate::server::BINARY, variables);
    shared::test_util::eventually("it listens", shared::test_util::DEADLINE, async || {
        std::net::TcpStream::connect(address).is_ok()
    })
    .await;
    let mut client = shared::test_util::RawClient::connect(address).await;
    client
        .send("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status, 200);
    process.signal(shared::test_util::Signal::TERM);
    let finished = process.wait_exit(shared::test_util::DEADLINE).await;
    assert_eq!(
        (finished.code, finished.stdout.as_str()),
        (0, ""),
        "{}",
        finished.stderr
    );
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let server = Server::start(&[("MODEL_VERSION", "2.0")]).await;
    server.get("/").await;
    server.get("/").await;
    server.post("/predict", r#"{"instances":[1]}"#).await;
    server.post("/predict", "broken").await;
    server.post("/", r#"{"features":[1]}"#).await;
    server.get("/a/path/of/the/clients/choice").await;
    server.request("BREW", "/", &[]).await;

    let answer = server.get("/metrics").await;
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4");
    let version = env!("CARGO_PKG_VERSION");
    for line in [
        "ml_inference_requests_total{code_class=\"2xx\",method=\"GET\",route=\"/\"} 2",
        "ml_inference_requests_total{code_class=\"2xx\",method=\"POST\",route=\"/\"} 1",
        "ml_inference_requests_total{code_class=\"2xx\",method=\"POST\",route=\"/predict\"} 1",
        "ml_inference_requests_total{code_class=\"4xx\",method=\"POST\",route=\"/predict\"} 1",
        "ml_inference_requests_total{code_class=\"4xx\",method=\"GET\",route=\"unknown\"} 1",
        "ml_inference_requests_total{code_class=\"4xx\",method=\"other\",route=\"/\"} 1",
        "ml_inference_request_duration_seconds_count{route=\"/\"} 4",
        "ml_inference_inference_duration_seconds_count{model=\"half_plus_two\"} 3",
        "ml_inference_inference_duration_seconds_count{model=\"sum\"} 1",
        "ml_inference_model_loaded{model=\"half_plus_two\",version=\"2.0\"} 1",
        "ml_inference_requests_in_flight 1",
        "ml_inference_connections_accept_errors_total 0",
        &format!("ml_inference_build_info{{version=\"{version}\"}} 1"),
    ] {
        assert!(
            answer.body.lines().any(|shown| shown == line),
            "no {line} in\n{}",
            answer.body
        );
    }
    assert!(answer.body.contains("ml_inference_connections_open "));
    assert!(answer.body.contains("process_resident_memory_bytes "));
    assert!(!answer.body.contains("choice"));
}

#[tokio::test]
async fn the_start_is_told_in_the_log() {
    let server = Server::start(&[("MODEL_VERSION", "2.0"), ("ENVIRONMENT", "staging")]).await;
    let starting = server.process.log_line("starting").await;
    assert_eq!(starting["environment"], "staging");
    assert_eq!(starting["pod"], "ml-inference-abc12");
    let loaded = server.process.log_line("model loaded").await;
    assert_eq!(loaded["model"], "half_plus_two");
    assert_eq!(loaded["model_version"], "2.0");
    assert_eq!(loaded["repository_version"], 2);
}

#[tokio::test]
async fn without_a_pod_name_the_host_name_answers() {
    let server = Server::start(&[("POD_NAME", "")]).await;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a host name");
    assert_eq!(server.get("/").await.header("x-served-by"), host.trim_end());
}
