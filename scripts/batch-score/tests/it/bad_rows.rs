//! Rows that cannot be scored: they are skipped and told, or end the run.

use std::time::Duration;

use serde_json::Value;
use shared::test_util::Upstream;

use crate::{Work, model};

#[tokio::test]
async fn a_bad_row_does_not_reject_its_neighbours() {
    let upstream = Upstream::start(|connection| model(connection, Duration::ZERO)).await;
    let csv = "x\n1\n-2\nthree\n\"4\n5,5\n6\n";
    let rejected = "{\"row\":2,\"line\":3,\"reason\":\"status 400: instances[0]: it is negative\"}\n\
                    {\"row\":3,\"line\":4,\"reason\":\"column \\\"x\\\": expected a number, found \\\"three\\\"; --text-columns sends text\"}\n\
                    {\"row\":4,\"line\":5,\"reason\":\"a quote is opened and not closed\"}\n\
                    {\"row\":5,\"line\":6,\"reason\":\"2 fields, and 1 columns\"}\n";
    for arguments in ["", "--rows-per-request 1", "--rows-per-request 2 --concurrency 1"] {
        let work = Work::new("rows.csv", csv, "scores.csv");
        let scored = work
            .score(upstream.address, &format!("--on-bad-row skip {arguments}"))
            .await;
        assert_eq!(scored, "row,prediction,model_version\n1,2.5,1.0\n6,5.0,1.0\n");
        assert_eq!(work.read(".rejected.jsonl"), rejected);
    }
    let json = "1\n\n-2\n{\"x\":3}\n[4\n5\n";
    let work = Work::new("rows.jsonl", json, "scores.csv");
    let scored = work.score(upstream.address, "--on-bad-row skip --max-bad-rows 3").await;
    assert_eq!(scored, "row,prediction,model_version\n1,2.5,1.0\n5,4.5,1.0\n");
    let rejected: Vec<Value> = work
        .read(".rejected.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let places: Vec<_> = rejected
        .iter()
        .map(|bad| (bad["row"].as_u64(), bad["line"].as_u64()))
        .collect();
    assert_eq!(places, [(Some(2), Some(3)), (Some(3), Some(4)), (Some(4), Some(5))]);
}

#[tokio::test]
async fn a_bad_row_ends_the_run_and_skipping_it_goes_on() {
    let upstream = Upstream::start(|connection| model(connection, Duration::ZERO)).await;
    let work = Work::new("rows.csv", "x\n1\n2\n-3\n4\n-5\n", "scores.csv");
    let finished = work.run(upstream.address, "--rows-per-request 2").await;
    assert_eq!(finished.code, 4, "{finished:?}");
    let named = "error: row 3 (line 4): status 400: instances[0]: it is negative\n";
    assert!(finished.stderr.contains(named), "{finished:?}");
    assert_eq!(
        work.read(".partial"),
        "row,prediction,model_version\n1,2.5,1.0\n2,3.0,1.0\n"
    );

    let finished = work.run(upstream.address, "--on-bad-row skip --max-bad-rows 1").await;
    assert_eq!(finished.code, 4, "{finished:?}");
    assert!(
        finished
            .stderr
            .contains("more than 1 bad rows (--max-bad-rows); the last: row 5 (line 6)"),
        "{finished:?}"
    );
    let scored = work.score(upstream.address, "--on-bad-row skip --max-bad-rows 2").await;
    assert_eq!(
        scored,
        "row,prediction,model_version\n1,2.5,1.0\n2,3.0,1.0\n4,4.0,1.0\n"
    );
    assert_eq!(work.read(".rejected.jsonl").lines().count(), 2);
}
