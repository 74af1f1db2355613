//! Parquet, read and written: with its types, and after kills too.

use std::fs;
use std::time::Duration;

use serde_json::json;
use shared::test_util::Upstream;

use crate::kills::kill_and_go_on;
use crate::{Work, answer_text, expected, instances, model, numbers};

#[tokio::test]
async fn parquet_is_written_and_read_and_survives_kills() {
    let upstream = Upstream::start(|connection| model(connection, Duration::from_millis(20))).await;
    let work = Work::new("rows.csv", numbers(2500).replace("\n7\n", "\n-7\n"), "scores.parquet");
    let arguments = "--rows-per-request 9 --concurrency 3";
    let finished = work
        .run(upstream.address, &format!("{arguments} --keep x --on-bad-row skip"))
        .await;
    assert_eq!(finished.code, 0, "{finished:?}");
    assert_eq!(
        work.files(),
        ["rows.csv", "scores.parquet", "scores.parquet.rejected.jsonl"]
    );

    // Its own output as an input: what was kept is there with its types, and nothing else is sent.
    let rows = fs::read(&work.output).expect("an output");
    let again = Work::new("rows.parquet", &rows, "scores.csv");
    again
        .score(
            upstream.address,
            &format!("{arguments} --columns x --no-row-numbers --keep x"),
        )
        .await;
    let expected: String = expected(2501)
        .lines()
        .filter(|line| !line.starts_with("8,7,") && !line.starts_with("2501,"))
        .map(|line| line.split_once(',').expect("columns").1.to_owned() + "\n")
        .collect();
    assert_eq!(again.read(""), expected);

    let arguments = format!("{arguments} --columns x --keep x --on-bad-row skip");
    let negative = Work::new("rows.csv", numbers(2000).replace("\n9\n", "\n-9\n"), "rows.parquet");
    let echo = Upstream::start(|mut connection| async move {
        while let Some((_, body)) = connection.read_request().await {
            let body = json!({"predictions": instances(&body), "version": "2"}).to_string();
            connection.send(answer_text(200, "", &body)).await;
        }
    })
    .await;
    let finished = negative.run(echo.address, "--keep x").await;
    assert_eq!(finished.code, 0, "{finished:?}");
    let rows = fs::read(&negative.output).expect("an output");
    let mut resumed = 0;
    for _ in 0..2 {
        let undisturbed = Work::new("numbers.parquet", &rows, "scores.parquet");
        let finished = undisturbed.run(upstream.address, &arguments).await;
        assert_eq!(finished.code, 0, "{finished:?}");
        assert_eq!(
            undisturbed.read(".rejected.jsonl"),
            "{\"row\":10,\"reason\":\"status 400: instances[0]: it is negative\"}\n"
        );
        resumed += kill_and_go_on(&upstream, &undisturbed, &arguments).await;
    }
    assert!(resumed > 0, "no run went on from a checkpoint");
}
