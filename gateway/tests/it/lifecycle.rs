//! From start to exit: settings that cannot stand, drains, signals.

use std::time::Duration;

use crate::harness::{BINARY, Gateway, variables, yaml};
use shared::test_util::{DEADLINE, Process, RawClient, Scratch, Signal, Upstream, eventually};

/// Answers when the test says so.
async fn held() -> (Upstream, tokio::sync::watch::Sender<bool>) {
    let (release, released) = tokio::sync::watch::channel(false);
    let upstream = Upstream::start(move |mut connection| {
        let mut released = released.clone();
        async move {
            while connection.read_request().await.is_some() {
                if released.wait_for(|released| *released).await.is_err() {
                    return;
                }
                connection.answer(200, "finished").await;
            }
        }
    })
    .await;
    (upstream, release)
}

#[tokio::test]
async fn sigterm_loses_no_request_in_flight_and_none_that_comes_in_the_window() {
    let (upstream, release) = held().await;
    // The window is long enough for a busy machine to do what happens in it.
    let mut gateway = Gateway::in_front_of(&[upstream.address], &[("DRAIN_WINDOW", "3")]).await;
    let mut in_flight = Vec::new();
    for _ in 0..20 {
        let mut client = gateway.raw().await;
        client.send("GET /predict HTTP/1.1\r\nhost: h\r\n\r\n").await;
        in_flight.push(client);
    }
    let waiting = async || gateway.metric("gateway_requests_in_flight").await == 20.0;
    eventually("all are in flight", DEADLINE, waiting).await;
    let mut idle = gateway.raw().await;
    idle.send("GET /health HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!(idle.response().await.header("connection"), None);

    gateway.process.signal(Signal::TERM);
    let not_ready = async || gateway.admin("/readyz").await.status() == 503;
    eventually("readiness is off", DEADLINE, not_ready).await;
    assert_eq!(gateway.admin("/livez").await.status(), 200, "draining is not dead");

    // In the window: new connections are accepted, and every answer ends its connection.
    let mut late = gateway.raw().await;
    late.send("GET /health HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let answer = late.response().await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    idle.send("GET /health HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!(idle.response().await.header("connection"), Some("close"));

    // The window ends with requests still in flight; then the upstream answers.
    gateway
        .process
        .log_line("closing the listener, finishing requests")
        .await;
    release.send(true).expect("the upstream is there");
    for client in &mut in_flight {
        let answer = client.response().await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "finished"));
    }
    let finished = gateway.process.wait_exit(DEADLINE).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(finished.stdout.contains("\"drained\""), "{finished:?}");
}

#[tokio::test]
async fn connections_that_wait_to_be_accepted_at_the_end_are_served() {
    let mut gateway = Gateway::start("{}", &[("DRAIN_WINDOW", "0.2"), ("WORKERS", "1")]).await;
    // Connected, but silent until the listener is about to close.
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(gateway.raw().await);
    }
    gateway.process.signal(Signal::TERM);
    gateway
        .process
        .log_line("closing the listener, finishing requests")
        .await;
    for client in &mut clients {
        client.send("GET /health HTTP/1.1\r\nhost: h\r\n\r\n").await;
    }
    for client in &mut clients {
        assert_eq!(client.response().await.body, "Gateway OK\n");
    }
    assert_eq!(gateway.process.wait_exit(DEADLINE).await.code, 0);
}

#[tokio::test]
async fn the_drain_timeout_ends_what_does_not_end_by_itself() {
    let (upstream, _never) = held().await;
    let environment = [("DRAIN_WINDOW", "0"), ("DRAIN_TIMEOUT", "0.3")];
    let mut gateway = Gateway::in_front_of(&[upstream.address], &environment).await;
    let mut client = gateway.raw().await;
    client.send("GET /predict HTTP/1.1\r\nhost: h\r\n\r\n").await;
    eventually("it is in flight", DEADLINE, async || upstream.accepted() == 1).await;
    gateway.process.signal(Signal::TERM);
    let finished = gateway.process.wait_exit(DEADLINE).await;
    assert_eq!(finished.code, 0);
    let cut = finished
        .stdout
        .lines()
        .find(|line| line.contains("the drain timeout passed"));
    assert!(
        cut.is_some_and(|line| line.contains("\"connections\":1")),
        "{finished:?}"
    );
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let mut gateway = Gateway::start("{}", &[("DRAIN_WINDOW", "600")]).await;
    gateway.process.signal(Signal::TERM);
    gateway.process.log_line("draining: not ready, still accepting").await;
    gateway.process.signal(Signal::INT);
    assert_eq!(gateway.process.wait_exit(DEADLINE).await.code, 128 + 2);
}

#[tokio::test]
async fn a_port_in_use_is_a_clear_message() {
    let first = Gateway::start("{}", &[]).await;
    let scratch = Scratch::new("gateway");
    let file = scratch.file("gateway.yaml", "{}");
    let mut variables = variables(&file, &[]);
    variables.push(("LISTEN_ADDRESS".to_owned(), first.address.to_string()));
    let mut second = Process::start(BINARY, variables);
    let finished = second.wait_exit(DEADLINE).await;
    assert_eq!(finished.code, 1);
    let message = format!("cannot listen on {}", first.address);
    assert!(
        finished.stdout.contains(&message) && finished.stdout.contains("another process listens there"),
        "{finished:?}"
    );
}

async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> shared::test_util::Finished {
    let mut process = Process::start_with(BINARY, arguments, environment.iter().copied());
    process.wait_exit(DEADLINE).await
}

#[tokio::test]
async fn every_fault_is_reported_at_once_with_its_source_and_no_secret() {
    let scratch = Scratch::new("gateway");
    let file = scratch.file(
        "gateway.yaml",
        "log_level: loud
api_key: in-the-wrong-place
colour: blue
clusters:
  - name: no-port
  - { name: 'a:1', endpoints: [nonsense], size: 3 }
routes:
  - { prefix: predict, cluster: 'a:1' }
  - { prefix: /x, path: /x, cluster: 'a:1' }
  - { prefix: /y, cluster: nowhere, timeout: soon }
  - { prefix: /z }
  - { path: /k, require_api_key: true, respond: { status: 700, colour: red } }
",
    );
    let environment = [
        ("CONFIG_FILE", file.to_str().expect("UTF-8")),
        ("REQUEST_TIMEOUT", "abc"),
        ("WORKERS", "many"),
        ("LISTEN_ADDRESS", "8080"),
        ("SECRET_DIRS", "/nonexistent/secrets"),
    ];
    for arguments in [&["--check"][..], &[]] {
        let finished = run(arguments, &environment).await;
        assert_eq!(finished.code, 78);
        for part in [
            "REQUEST_TIMEOUT (environment): expected seconds from 0.001 to 3600, found \"abc\"",
            "WORKERS (environment): expected a whole number from 0 to 256, found \"many\"",
            "LISTEN_ADDRESS (environment)",
            "SECRET_DIRS (environment): /nonexistent/secrets is not a directory",
            ":1:12: log_level: expected one of trace",
            ":2:1: api_key: ",
            "is a secret",
            ":3:1: colour: unknown setting",
            ":5:11: clusters[0].name: expected a DNS name",
            ":6:32: clusters[1].endpoints[0]: expected an IP address",
            ":6:43: clusters[1].size: unknown key",
            ":8:15: routes[0].prefix: expected an absolute path",
            ":9:5: routes[1]: expected exactly one of path",
            ":10:28: routes[2].cluster: expected one of the clusters",
            ":10:46: routes[2].timeout: expected seconds",
            ":11:5: routes[3]: expected exactly one of cluster",
            ":12:59: routes[4].respond.status: expected a whole number from 200 to 599",
            ":12:64: routes[4].respond.colour: unknown key",
        ] {
            assert!(finished.stderr.contains(part), "{part} in\n{}", finished.stderr);
        }
        assert!(!finished.stderr.contains("in-the-wrong-place"), "{}", finished.stderr);
    }
}

#[tokio::test]
async fn a_cluster_that_is_faulty_is_no_fault_of_its_routes() {
    let faults = async |clusters: &str| {
        let scratch = Scratch::new("gateway");
        let routes = "routes: [{ prefix: /a, cluster: ml }, { prefix: /b, cluster: \"other:1\" }]\n";
        let file = scratch.file("gateway.yaml", format!("{clusters}\n{routes}"));
        let mut check = Process::start_with(BINARY, &["--check"], variables(&file, &[]));
        let finished = check.wait_exit(DEADLINE).await;
        assert_eq!(finished.code, 78, "{finished:?}");
        finished.stderr
    };
    // Only the second route names a cluster that is not there.
    let named = faults("clusters: [{ name: ml }, { name: \"there:1\" }]").await;
    assert!(named.contains("clusters[0].name: expected a DNS name"), "{named}");
    assert!(!named.contains("routes[0]"), "{named}");
    let missing = "routes[1].cluster: expected one of the clusters there:1, found \"other:1\"";
    assert!(named.contains(missing), "{named}");

    for clusters in [
        "clusters: [{ name: ml }]",
        "clusters: [{ balancer: peak_ewma }]",
        "clusters: ml",
    ] {
        let faulty = faults(clusters).await;
        assert!(faulty.contains(": clusters"), "{faulty}");
        assert!(!faulty.contains("routes["), "{faulty}");
    }

    let none = faults("clusters: []").await;
    let problem = "routes[0].cluster: expected one of the clusters, of which there is none; found \"ml\"";
    assert!(none.contains(problem), "{none}");
}

#[tokio::test]
async fn a_route_that_needs_a_key_needs_a_key() {
    let scratch = Scratch::new("gateway");
    let route = "routes: [{ prefix: /x, require_api_key: true, cluster: 'ml-inference-service:5000' }]";
    let file = scratch.file("gateway.yaml", route);
    let path = file.to_str().expect("UTF-8");
    let finished = run(&["--check", "--config", path], &[]).await;
    assert_eq!(finished.code, 78);
    let fault = ":1:41: routes[0].require_api_key: cannot be required: API_KEY is not set";
    assert!(finished.stderr.contains(fault), "{}", finished.stderr);
    let finished = run(&["--check", "--config", path], &[("API_KEY", "k")]).await;
    assert_eq!((finished.code, finished.stdout.as_str()), (0, "ok\n"));
}

#[tokio::test]
async fn broken_yaml_and_a_missing_file_are_named() {
    let scratch = Scratch::new("gateway");
    let broken = scratch.file("gateway.yaml", "routes: [");
    let broken = broken.to_str().expect("UTF-8");
    for (path, expected) in [
        (broken, format!("\n{broken}:2:1: is not valid YAML: ")),
        (
            "/nonexistent/gateway.yaml",
            "  file /nonexistent/gateway.yaml: cannot be read".to_owned(),
        ),
    ] {
        for arguments in [&["--check", "--config", path][..], &["--check", path]] {
            let finished = run(arguments, &[]).await;
            assert_eq!(finished.code, 78);
            assert!(finished.stderr.contains(&expected), "{}", finished.stderr);
        }
    }
}

#[tokio::test]
async fn print_config_shows_values_sources_and_no_secret() {
    let scratch = Scratch::new("gateway");
    let file = scratch.file("gateway.yaml", "request_timeout: 7\nconnect_timeout: 3\n");
    scratch.file("API_KEY", "from-the-file\n");
    let environment = [
        ("SECRET_DIRS", scratch.path().to_str().expect("UTF-8")),
        ("API_KEY", "from-the-environment"),
        ("REQUEST_TIMEOUT", "9"),
        ("JWT_SECRET", "jwt-from-the-environment"),
    ];
    let arguments = ["--print-config", "--config", file.to_str().expect("UTF-8")];
    let finished = run(&arguments, &environment).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    for line in [
        "REQUEST_TIMEOUT=9  (environment)".to_owned(),
        format!("CONNECT_TIMEOUT=3  (file {})", file.display()),
        "MAX_ATTEMPTS=3  (default)".to_owned(),
        format!(
            "API_KEY=[redacted]  (secret file {})",
            scratch.path().join("API_KEY").display()
        ),
        "JWT_SECRET=[redacted]  (environment)".to_owned(),
        "cluster ml-inference-service:5000 by DNS".to_owned(),
        "route prefix /predict to ml-inference-service:5000 idempotent=true".to_owned(),
        "route prefix /v1 to ml-inference-service:5000 idempotent=true".to_owned(),
        "route prefix /v2 to ml-inference-service:5000 idempotent=true".to_owned(),
        "route prefix /predict".to_owned(),
    ] {
        assert!(finished.stdout.contains(&line), "{line} in\n{}", finished.stdout);
    }
    assert!(!finished.stdout.contains("from-the"), "{}", finished.stdout);
}

#[tokio::test]
async fn help_names_every_setting_and_a_wrong_flag_is_refused() {
    let help = run(&["--help"], &[]).await;
    assert_eq!(help.code, 0);
    for setting in gateway::config::PROGRAM.settings {
        assert!(
            help.stdout.contains(&format!("\n  {} (", setting.name)),
            "{}",
            setting.name
        );
    }
    assert_eq!(
        run(&["--version"], &[]).await.stdout,
        format!("gateway {}\n", env!("CARGO_PKG_VERSION"))
    );
    let wrong = run(&["--chekc"], &[]).await;
    assert_eq!(wrong.code, 64);
    assert!(wrong.stderr.contains("--chekc"), "{}", wrong.stderr);
}

#[tokio::test]
async fn the_service_links_kubernetes_injects_change_nothing() {
    let upstream = Upstream::start(|mut connection| async move { connection.answer_all("ok").await }).await;
    let links = [
        ("ML_INFERENCE_SERVICE_PORT", "tcp://10.0.0.1:5000"),
        ("ML_INFERENCE_SERVICE_SERVICE_HOST", "10.0.0.1"),
        ("ML_INFERENCE_SERVICE_SERVICE_PORT", "5000"),
        ("ML_INFERENCE_SERVICE_SERVICE_PORT_HTTP", "5000"),
        ("ML_INFERENCE_SERVICE_PORT_5000_TCP", "tcp://10.0.0.1:5000"),
        ("ML_INFERENCE_SERVICE_PORT_5000_TCP_PROTO", "tcp"),
        ("ML_INFERENCE_SERVICE_PORT_5000_TCP_PORT", "5000"),
        ("ML_INFERENCE_SERVICE_PORT_5000_TCP_ADDR", "10.0.0.1"),
        ("API_GATEWAY_SERVICE_SERVICE_HOST", "10.0.0.2"),
        ("API_GATEWAY_SERVICE_SERVICE_PORT", "80"),
        ("API_GATEWAY_SERVICE_PORT", "tcp://10.0.0.2:80"),
        ("API_GATEWAY_SERVICE_PORT_80_TCP_ADDR", "10.0.0.2"),
        ("SERVICE_PORT", "tcp://10.0.0.3:80"),
        ("GATEWAY_PORT", "tcp://10.0.0.4:80"),
        ("GATEWAY_SERVICE_HOST", "10.0.0.4"),
        ("KUBERNETES_PORT", "tcp://10.0.0.5:443"),
        ("KUBERNETES_PORT_443_TCP_ADDR", "10.0.0.5"),
    ];
    let gateway = Gateway::in_front_of(&[upstream.address], &links).await;
    assert_eq!(gateway.get("/predict").await.status(), 200);
    let mut with_links = run(&["--print-config"], &links).await;
    let without = run(&["--print-config"], &[]).await;
    with_links.stderr.clear();
    assert_eq!(with_links, without);
}

#[tokio::test]
async fn an_idle_client_is_let_go_when_the_keepalive_timeout_passes() {
    let gateway = Gateway::start(&yaml(&[([127, 0, 0, 1], 1).into()]), &[("KEEPALIVE_TIMEOUT", "0.3")]).await;
    let mut client = RawClient::connect(gateway.address).await;
    client.send("GET /health HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!(client.response().await.status, 200);
    assert!(client.is_silent_for(Duration::from_millis(100)).await);
    assert!(client.closed().await.is_empty());
}

#[tokio::test]
async fn settings_are_checked_against_each_other() {
    let scratch = Scratch::new("gateway");
    for (text, problem) in [
        ("routes:\n", "routes: expected a list, found nothing"),
        ("routes: []\n", "routes: expected at least 1 in the list, found 0"),
    ] {
        let file = scratch.file("gateway.yaml", text);
        let finished = run(&["--check", "--config", file.to_str().expect("UTF-8")], &[]).await;
        assert_eq!(finished.code, 78, "{text:?}");
        assert!(finished.stderr.contains(problem), "{}", finished.stderr);
    }
    let same = [
        ("LISTEN_ADDRESS", "127.0.0.1:9999"),
        ("ADMIN_ADDRESS", "127.0.0.1:9999"),
    ];
    let finished = run(&["--check"], &same).await;
    assert_eq!(finished.code, 78);
    assert!(
        finished
            .stderr
            .contains("ADMIN_ADDRESS (environment): is the same as LISTEN_ADDRESS"),
        "{finished:?}"
    );
    let short = [("CONNECT_TIMEOUT", "0.5"), ("DNS_MAX_TTL", "0.5")];
    assert_eq!(run(&["--check"], &short).await.code, 0);
}

#[tokio::test]
async fn a_line_break_at_the_end_of_a_key_in_the_environment_is_no_part_of_it() {
    let upstream = Upstream::start(|mut connection| async move { connection.answer_all("ok").await }).await;
    let keyed = yaml(&[upstream.address]).replace("idempotent: true", "require_api_key: true");
    let gateway = Gateway::start(&keyed, &[("API_KEY", "the-key\n")]).await;
    let request = gateway
        .client
        .get(gateway.url("/predict"))
        .header("x-api-key", "the-key");
    assert_eq!(request.send().await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn one_unreadable_secret_does_not_hide_the_others() {
    let scratch = Scratch::new("gateway");
    scratch.file("API_KEY", "good");
    scratch.file("JWT_SECRET", [0xff, 0xfe]);
    let environment = [("SECRET_DIRS", scratch.path().to_str().expect("UTF-8"))];
    let finished = run(&["--check"], &environment).await;
    assert_eq!(finished.code, 78);
    assert!(
        finished.stderr.contains("JWT_SECRET (secret file "),
        "{}",
        finished.stderr
    );
    assert!(finished.stderr.contains("1 invalid setting\n"), "{}", finished.stderr);
}
