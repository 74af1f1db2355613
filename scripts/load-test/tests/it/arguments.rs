//! What is sent is what the arguments say; arguments that are wrong, or lead nowhere, are named.

use shared::test_util::{DEADLINE, Process, Scratch, Upstream};
use tokio::net::TcpListener;

use crate::{BINARY, PATIENT, finish, run, start};

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
