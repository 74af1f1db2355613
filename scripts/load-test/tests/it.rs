//! The real binary on real sockets, against servers that do what each test says.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use shared::test_util::{DEADLINE, Finished, Process, Scratch, Signal, Upstream, UpstreamConnection, eventually};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, sleep_until};

const BINARY: &str = env!("CARGO_BIN_EXE_load-test");
const OK: &str = "HTTP/1.1 200 OK\r\nx-served-by: pod-a\r\nx-model-version: 1.0\r\ncontent-length: 2\r\n\r\nok";

/// A finished load and its JSON report.
struct Ran {
    finished: Finished,
    report: Value,
}

impl Ran {
    fn last_line(&self) -> &str {
        self.finished.stdout.lines().last().unwrap_or_default()
    }

    fn number(&self, field: &str) -> u64 {
        self.report[field]
            .as_u64()
            .unwrap_or_else(|| panic!("{field} in {}", self.report))
    }

    fn failures(&self, kind: &str) -> u64 {
        self.report["failures"][kind].as_u64().unwrap_or_default()
    }

    fn latency(&self, which: &str) -> f64 {
        let latency = &self.report["latency_ms"][which];
        latency.as_f64().unwrap_or_else(|| panic!("{which} in {}", self.report))
    }
}

fn start(scratch: &Scratch, address: SocketAddr, arguments: &str) -> Process {
    let url = format!("http://{address}/predict");
    let json = scratch.path().join("report.json");
    let mut all = vec!["--url", &url, "--json", json.to_str().expect("UTF-8")];
    all.extend(arguments.split_whitespace());
    Process::start_with(BINARY, &all, [("NO_COLOR", "1")])
}

async fn finish(scratch: &Scratch, mut process: Process) -> Ran {
    let finished = process.wait_exit(DEADLINE).await;
    let text = fs::read_to_string(scratch.path().join("report.json")).unwrap_or_default();
    let report = serde_json::from_str(&text).unwrap_or_default();
    Ran { finished, report }
}

/// Runs the load with these arguments to its end.
async fn run(address: SocketAddr, arguments: &str) -> Ran {
    let scratch = Scratch::new("load-test");
    let process = start(&scratch, address, arguments);
    finish(&scratch, process).await
}

/// Answers each request of a connection with these bytes.
async fn answer_with(mut connection: UpstreamConnection, answer: &'static str) {
    while connection.read_request().await.is_some() {
        connection.send(answer).await;
    }
}

/// Longer than a request of these tests waits on a busy machine, shorter than what they look for.
const PATIENT: &str = "--timeout 20s";

#[tokio::test]
async fn a_constant_rate_sends_each_request_and_all_are_counted() {
    let upstream = Upstream::start(|connection| answer_with(connection, OK)).await;
    let ran = run(
        upstream.address,
        &format!("--rate 200 --duration 2s --connections 4 {PATIENT}"),
    )
    .await;
    assert_eq!(ran.finished.code, 0, "{:?}", ran.finished);
    assert_eq!(ran.last_line(), "failed requests: 0 of 400");
    assert_eq!(
        (ran.number("requests"), ran.number("ok"), ran.number("failed")),
        (400, 400, 0)
    );
    let timeline = ran.report["timeline"].as_array().expect("a list");
    let per_second: Vec<_> = timeline.iter().map(|second| second["ok"].as_u64()).collect();
    assert_eq!(per_second, [Some(200), Some(200)]);
    assert_eq!(timeline[0]["versions"]["1.0"], 200);
    assert_eq!(ran.report["versions"][0]["requests"], 400);
    assert_eq!(ran.report["pods"][0]["name"], "pod-a");
    assert_eq!(ran.report["passed"], true);
    assert!(upstream.accepted() <= 4, "{} connections", upstream.accepted());
}

/// What coordinated omission would hide: a server that answers nothing for a second, and one connection that could only
/// have noticed once. Every request that was due in that second waited, and must be seen to.
#[tokio::test]
async fn a_stall_is_seen_in_every_request_that_was_due_in_it() {
    let upstream = Upstream::start(|mut connection| async move {
        let mut stall_at = None;
        let mut stalled = false;
        while connection.read_request().await.is_some() {
            let stall_at = *stall_at.get_or_insert(Instant::now() + Duration::from_secs(1));
            if !stalled && Instant::now() >= stall_at {
                stalled = true;
                sleep_until(stall_at + Duration::from_secs(1)).await;
            }
            connection.send(OK).await;
        }
    })
    .await;
    let ran = run(
        upstream.address,
        &format!("--rate 100 --duration 3s --connections 1 {PATIENT}"),
    )
    .await;
    assert_eq!(ran.last_line(), "failed requests: 0 of 300");
    // A hundred were due while it stalled, evenly: a third of all, of which half waited for over half a second.
    assert!(ran.latency("max") >= 900.0, "{}", ran.report["latency_ms"]);
    assert!(ran.latency("p90") >= 600.0, "{}", ran.report["latency_ms"]);
    let stalled = &ran.report["timeline"][1];
    assert!(stalled["p50_ms"].as_f64().expect("a latency") >= 400.0, "{stalled}");
}

#[tokio::test]
async fn a_closed_loop_sends_when_it_has_its_answer() {
    let upstream = Upstream::start(|mut connection| async move {
        while connection.read_request().await.is_some() {
            sleep(Duration::from_millis(50)).await;
            connection.send(OK).await;
        }
    })
    .await;
    let ran = run(upstream.address, &format!("--duration 1s --connections 2 {PATIENT}")).await;
    assert_eq!(ran.finished.code, 0, "{:?}", ran.finished);
    let requests = ran.number("requests");
    assert!(
        (2..=40).contains(&requests),
        "{requests} requests of 50 ms over two connections in a second"
    );
    assert!(ran.latency("min") >= 49.0);
    assert_eq!(ran.report["mode"], "closed loop");
}

#[tokio::test]
async fn what_no_connection_was_free_for_in_time_has_failed() {
    let upstream = Upstream::start(|mut connection| async move {
        let _request = connection.read_request().await;
        connection.hang().await;
    })
    .await;
    let ran = run(
        upstream.address,
        "--rate 100 --duration 1s --connections 2 --timeout 200ms",
    )
    .await;
    assert_eq!(ran.finished.code, 1);
    assert_eq!(ran.last_line(), "failed requests: 100 of 100");
    assert_eq!(
        ran.failures("timeout") + ran.failures("not sent"),
        100,
        "{}",
        ran.report["failures"]
    );
    assert!(
        ran.failures("not sent") > 0 && ran.failures("timeout") > 0,
        "{}",
        ran.report["failures"]
    );
    assert!(ran.report["latency_ms"].is_null());
}

#[tokio::test]
async fn answers_that_are_no_success_are_counted_by_status_and_by_who_gave_them() {
    let upstream = Upstream::start(|mut connection| async move {
        let mut number = 0;
        while connection.read_request().await.is_some() {
            number += 1;
            match number % 4 {
                0 => connection.answer(502, "").await,
                1 => {
                    let sick =
                        "HTTP/1.1 503 No\r\nx-served-by: pod-b\r\nx-model-version: 2.0\r\ncontent-length: 0\r\n\r\n";
                    connection.send(sick).await;
                }
                _ => connection.send(OK).await,
            }
        }
    })
    .await;
    let ran = run(
        upstream.address,
        &format!("--rate 100 --duration 1s --connections 1 {PATIENT}"),
    )
    .await;
    assert_eq!(ran.finished.code, 1);
    assert_eq!(ran.last_line(), "failed requests: 50 of 100");
    assert_eq!((ran.failures("status 502"), ran.failures("status 503")), (25, 25));
    assert_eq!(
        upstream.accepted(),
        1,
        "an answer keeps its connection, whatever its status"
    );
    let pods = ran.report["pods"].as_array().expect("a list");
    let counts: Vec<_> = pods
        .iter()
        .map(|pod| {
            (
                pod["name"].as_str(),
                pod["version"].as_str(),
                pod["requests"].as_u64(),
                pod["failed"].as_u64(),
            )
        })
        .collect();
    let expected = [
        (None, None, Some(25), Some(25)),
        (Some("pod-a"), Some("1.0"), Some(50), Some(0)),
        (Some("pod-b"), Some("2.0"), Some(25), Some(25)),
    ];
    assert_eq!(counts, expected);
    assert_eq!(ran.report["failed_requests"].as_array().expect("a list").len(), 50);
    assert!(ran.finished.stdout.contains("pod-b (2.0)"), "{}", ran.finished.stdout);
}

#[tokio::test]
async fn connections_that_break_are_told_apart_and_opened_anew() {
    let upstream = Upstream::start(|mut connection| async move {
        let number = connection.number;
        if connection.read_request().await.is_none() {
            return;
        }
        match number % 4 {
            0 => connection.reset(),
            1 => connection.finish_sending().await,
            2 => {
                connection
                    .send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
                    .await
            }
            _ => connection.send("SSH-2.0-OpenSSH_9.2\r\n\r\n").await,
        }
    })
    .await;
    let ran = run(
        upstream.address,
        &format!("--rate 40 --duration 1s --connections 1 {PATIENT}"),
    )
    .await;
    assert_eq!(ran.last_line(), "failed requests: 40 of 40");
    for kind in ["reset", "closed", "body broke off", "invalid answer"] {
        assert_eq!(ran.failures(kind), 10, "{kind} in {}", ran.report["failures"]);
    }
    assert_eq!(upstream.accepted(), 40);
}

#[tokio::test]
async fn a_server_that_closes_after_each_answer_loses_nothing() {
    let closing = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
    let upstream = Upstream::start(move |mut connection| async move {
        let _request = connection.read_request().await;
        connection.send(closing).await;
    })
    .await;
    let ran = run(
        upstream.address,
        &format!("--rate 200 --duration 1s --connections 2 {PATIENT}"),
    )
    .await;
    assert_eq!(ran.last_line(), "failed requests: 0 of 200");
    assert!(upstream.accepted() >= 200, "{} connections", upstream.accepted());
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_opened_anew() {
    let upstream = Upstream::start(|mut connection| async move {
        if connection.read_request().await.is_some() {
            connection.send(OK).await;
        }
        // Closed without a word, long before the next request.
    })
    .await;
    let ran = run(
        upstream.address,
        &format!("--rate 5 --duration 2s --connections 1 {PATIENT}"),
    )
    .await;
    assert_eq!(ran.last_line(), "failed requests: 0 of 10");
    assert_eq!(upstream.accepted(), 10);
}

#[tokio::test]
async fn new_connections_are_new_for_each_request_and_ask_to_be_closed() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let upstream = Upstream::start(move |mut connection| {
        let counter = Arc::clone(&counter);
        async move {
            while let Some((head, _)) = connection.read_request().await {
                counter.fetch_add(usize::from(head.contains("connection: close")), Ordering::SeqCst);
                connection.send(OK).await;
            }
        }
    })
    .await;
    let ran = run(
        upstream.address,
        &format!("--rate 50 --duration 1s --new-connections {PATIENT}"),
    )
    .await;
    assert_eq!(ran.last_line(), "failed requests: 0 of 50");
    assert_eq!(asked.load(Ordering::SeqCst), 50);
    assert_eq!(
        upstream.accepted(),
        51,
        "and the one that looked whether anyone is there"
    );
}

#[tokio::test]
async fn a_server_that_goes_away_refuses_what_comes_after() {
    let upstream = Upstream::start(|connection| answer_with(connection, OK)).await;
    let scratch = Scratch::new("load-test");
    let arguments = format!("--rate 100 --duration 1h --connections 2 {PATIENT}");
    let process = start(&scratch, upstream.address, &arguments);
    eventually("it is under way", DEADLINE, async || process.output().contains(" ok, ")).await;
    drop(upstream);
    eventually("requests fail", DEADLINE, async || process.output().contains(" 0 ok, ")).await;
    process.signal(Signal::TERM);
    let ran = finish(&scratch, process).await;
    assert_eq!(ran.finished.code, 1);
    assert!(ran.failures("refused") > 0, "{}", ran.report["failures"]);
    assert!(ran.number("ok") > 0);
    assert_eq!(ran.number("ok") + ran.number("failed"), ran.number("requests"));
}

#[tokio::test]
async fn a_body_is_posted_with_its_headers() {
    let upstream = Upstream::start(|mut connection| async move {
        while let Some((head, body)) = connection.read_request().await {
            let right = head.starts_with("POST /predict HTTP/1.1\r\n")
                && head.contains("content-type: application/json\r\n")
                && head.contains("x-api-key: secret\r\n")
                && body == b"{\"instances\": [1]}";
            connection.answer(if right { 200 } else { 400 }, "").await;
        }
    })
    .await;
    let scratch = Scratch::new("load-test");
    let body = scratch.file("body.json", "{\"instances\": [1]}");
    let arguments = format!(
        "--rate 50 --duration 1s --post {} --header x-api-key:secret {PATIENT}",
        body.display()
    );
    let ran = run(upstream.address, &arguments).await;
    assert_eq!(ran.last_line(), "failed requests: 0 of 50");
    assert_eq!(ran.report["method"], "POST");
}

/// An HTTP/2 server without TLS, which needs a while for each answer, and its connections so far.
async fn http2_server() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            let answer = async |_request: Request<Incoming>| {
                sleep(Duration::from_millis(100)).await;
                let response = Response::builder()
                    .header("x-model-version", "2.0")
                    .header("x-served-by", "pod-h2");
                response.body(Full::new(Bytes::from_static(b"ok")))
            };
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service_fn(answer)));
        }
    });
    (address, accepted)
}

#[tokio::test]
async fn http2_without_tls() {
    let (address, accepted) = http2_server().await;
    let load = format!("--http2 --rate 10 --duration 1s --connections 3 {PATIENT}");
    let ran = run(address, &load).await;
    assert_eq!(ran.last_line(), "failed requests: 0 of 10", "{:?}", ran.finished);
    assert_eq!(ran.report["protocol"], "HTTP/2");
    assert_eq!(ran.report["pods"][0]["name"], "pod-h2");
    assert_eq!(accepted.load(Ordering::SeqCst), 3);
}

/// One request at a time would be ten a second; the rest would wait for up to four seconds.
#[tokio::test]
async fn requests_share_a_connection_over_http2() {
    let (address, accepted) = http2_server().await;
    let load = format!("--http2 --streams 20 --rate 50 --duration 1s --connections 1 {PATIENT}");
    let ran = run(address, &load).await;
    assert_eq!(ran.last_line(), "failed requests: 0 of 50", "{:?}", ran.finished);
    assert!(ran.latency("p50") < 1000.0, "{}", ran.report["latency_ms"]);
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}

/// A shared connection that no answer comes on is not used again, so that a server that is well again is seen to be.
#[tokio::test]
async fn a_shared_connection_is_opened_anew_after_a_failure() {
    let upstream = Upstream::start(|mut connection| async move {
        // Speaks HTTP/1.1 to HTTP/2's preface.
        let _preface = connection.read_head().await;
        connection.send("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let ran = run(
        upstream.address,
        &format!("--http2 --streams 2 --rate 20 --duration 1s --connections 1 {PATIENT}"),
    )
    .await;
    assert_eq!(ran.last_line(), "failed requests: 20 of 20", "{:?}", ran.finished);
    assert!(upstream.accepted() >= 10, "{} connections", upstream.accepted());
}

#[tokio::test]
async fn a_warmup_is_not_counted() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    let upstream = Upstream::start(move |mut connection| {
        let counter = Arc::clone(&counter);
        async move {
            while connection.read_request().await.is_some() {
                // The first second's requests fail.
                let status = if counter.fetch_add(1, Ordering::SeqCst) < 100 {
                    503
                } else {
                    200
                };
                connection.answer(status, "").await;
            }
        }
    })
    .await;
    let ran = run(
        upstream.address,
        &format!("--warmup 1s --rate 100 --duration 1s --connections 1 {PATIENT}"),
    )
    .await;
    assert_eq!(ran.last_line(), "failed requests: 0 of 100", "{:?}", ran.finished);
    assert_eq!((ran.number("warmup_requests"), ran.number("warmup_failed")), (100, 100));
    assert_eq!(requests.load(Ordering::SeqCst), 200);
}

#[tokio::test]
async fn a_signal_ends_it_early_with_its_report() {
    for signal in [Signal::INT, Signal::TERM] {
        let upstream = Upstream::start(|connection| answer_with(connection, OK)).await;
        let scratch = Scratch::new("load-test");
        let process = start(
            &scratch,
            upstream.address,
            &format!("--rate 50 --duration 1h --connections 2 {PATIENT}"),
        );
        eventually("it is under way", DEADLINE, async || process.output().contains(" ok, ")).await;
        process.signal(signal);
        let ran = finish(&scratch, process).await;
        assert_eq!(ran.finished.code, 0, "{:?}", ran.finished);
        assert!(
            ran.last_line().starts_with("failed requests: 0 of "),
            "{:?}",
            ran.finished
        );
        assert!(ran.number("requests") >= 1);
        assert_eq!(ran.report["ended_early"], true);
        assert!(ran.report["measured_s"].as_f64().expect("seconds") < 60.0);
    }
}

#[tokio::test]
async fn a_second_signal_does_not_wait_for_what_hangs() {
    let upstream = Upstream::start(|mut connection| async move {
        let _request = connection.read_request().await;
        connection.hang().await;
    })
    .await;
    let scratch = Scratch::new("load-test");
    let process = start(
        &scratch,
        upstream.address,
        "--rate 50 --duration 1h --connections 2 --timeout 300s",
    );
    eventually("it is under way", DEADLINE, async || process.output().contains(" ok, ")).await;
    process.signal(Signal::TERM);
    // The two may merge into one while the first is not yet seen: again until it ends.
    let mut process = process;
    eventually("it ends", DEADLINE, async || {
        let running = process.is_running();
        if running {
            process.signal(Signal::TERM);
        }
        !running
    })
    .await;
    let ran = finish(&scratch, process).await;
    assert_eq!(ran.finished.code, 1);
    assert_eq!(
        ran.number("requests"),
        ran.failures("unfinished"),
        "{}",
        ran.report["failures"]
    );
    assert!(
        ran.failures("unfinished") >= 50,
        "every request that was due is counted"
    );
}

#[tokio::test]
async fn thresholds_decide_the_exit_status() {
    let upstream = Upstream::start(|mut connection| async move {
        let mut number = 0;
        while connection.read_request().await.is_some() {
            number += 1;
            sleep(Duration::from_millis(20)).await;
            connection.answer(if number == 5 { 500 } else { 200 }, "").await;
        }
    })
    .await;
    let load = format!("--rate 20 --duration 1s --connections 1 {PATIENT}");
    let ran = run(upstream.address, &format!("{load} --max-failed 1 --p50 10s")).await;
    assert_eq!(ran.finished.code, 0, "{:?}", ran.finished);
    let ran = run(upstream.address, &load).await;
    assert_eq!(ran.finished.code, 1);
    assert!(
        ran.finished
            .stdout
            .contains("missed: failed requests: 1, at most 0 wanted"),
        "{:?}",
        ran.finished
    );
    let ran = run(upstream.address, &format!("{load} --max-failed 1 --p99 5ms")).await;
    assert_eq!((ran.finished.code, ran.last_line()), (1, "failed requests: 1 of 20"));
    assert!(ran.finished.stdout.contains("missed: p99 ms: "), "{:?}", ran.finished);
    assert_eq!(ran.report["thresholds"][1]["met"], false);
}

#[tokio::test]
async fn marks_part_the_load_into_steps() {
    let upstream = Upstream::start(|connection| answer_with(connection, OK)).await;
    let scratch = Scratch::new("load-test");
    let marks = scratch.file("marks", "");
    let arguments = format!("--rate 100 --duration 1h --marks {} {PATIENT}", marks.display());
    let process = start(&scratch, upstream.address, &arguments);
    eventually("it is under way", DEADLINE, async || process.output().contains(" ok, ")).await;
    fs::write(&marks, "v1 -> v2\n").expect("written");
    let lines = || process.output().matches(" ok, ").count();
    let before = lines();
    eventually("two more seconds", DEADLINE, async || lines() >= before + 2).await;
    process.signal(Signal::TERM);
    let ran = finish(&scratch, process).await;
    let steps = ran.report["steps"].as_array().expect("a list");
    assert_eq!(steps.len(), 2, "{steps:?}");
    assert_eq!(
        (steps[0]["text"].as_str(), steps[1]["text"].as_str()),
        (None, Some("v1 -> v2"))
    );
    assert!(steps[1]["at_s"].as_f64().expect("seconds") > 0.5);
    assert!(
        steps.iter().all(|step| step["versions"]["1.0"].as_u64() > Some(0)),
        "{steps:?}"
    );
    assert!(ran.finished.stdout.contains("  v1 -> v2\n"), "{}", ran.finished.stdout);
}

#[tokio::test]
async fn the_page_is_one_file_and_says_the_verdict() {
    let upstream = Upstream::start(|connection| answer_with(connection, OK)).await;
    let scratch = Scratch::new("load-test");
    let page = scratch.path().join("report.html");
    let ran = run(
        upstream.address,
        &format!("--quiet --rate 50 --duration 1s --html {} {PATIENT}", page.display()),
    )
    .await;
    assert_eq!(ran.finished.code, 0, "{:?}", ran.finished);
    assert!(
        !ran.finished.stdout.contains(" ok, "),
        "--quiet shows no progress: {}",
        ran.finished.stdout
    );
    let page = fs::read_to_string(page).expect("a page");
    assert!(page.contains("failed requests: 0 of 50"), "{page}");
    for outside in ["src=", "href=", "url(", "@import", "fetch("] {
        assert!(!page.contains(outside), "the page needs {outside}");
    }
}

#[tokio::test]
async fn where_nothing_answers_nothing_is_measured() {
    // Bound and let go: a port of which nobody else was told.
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = free.local_addr().expect("bound");
    drop(free);
    let scratch = Scratch::new("load-test");
    let before = scratch.file("report.json", "{\"requests\": 7}");
    let ran = finish(&scratch, start(&scratch, address, "--duration 1s")).await;
    assert_eq!(ran.finished.code, 3, "{:?}", ran.finished);
    let expected = format!("error: nothing answers at http://{address}/predict: ");
    assert!(ran.finished.stderr.starts_with(&expected), "{:?}", ran.finished);
    assert_eq!(
        ran.number("requests"),
        7,
        "the report before stays in {}",
        before.display()
    );
}

#[tokio::test]
async fn wrong_arguments_are_named() {
    for (arguments, named) in [
        (&["--rate", "many"][..], "--rate: expected"),
        (&["--nonsense"], "--nonsense"),
        (
            &["--json", "/nowhere/report.json"],
            "--json: cannot write /nowhere/report.json",
        ),
        (&["--html", "/nowhere/report.html"], "--html: cannot write"),
    ] {
        let mut process = Process::start_with(BINARY, arguments, [("NO_COLOR", "1")]);
        let finished = process.wait_exit(DEADLINE).await;
        assert_eq!(finished.code, 2, "{finished:?}");
        assert!(finished.stderr.contains(named), "{finished:?}");
    }
    let mut help = Process::start_with(BINARY, &["--help"], [("NO_COLOR", "1")]);
    let finished = help.wait_exit(DEADLINE).await;
    assert_eq!(finished.code, 0);
    assert!(finished.stdout.contains("--new-connections"), "{finished:?}");
}
