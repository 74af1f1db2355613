//! The verdict by its thresholds, the steps that marks make, and the page.

use std::fs;
use std::time::Duration;

use shared::test_util::{DEADLINE, Scratch, Signal, Upstream, eventually};
use tokio::time::sleep;

use crate::{OK, PATIENT, answer_with, finish, run, start};

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
