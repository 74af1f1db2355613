//! CSV and JSON lines as they are read and written: in order, each as the other, and what cannot be read.

use std::time::Duration;

use shared::test_util::Upstream;

use crate::{Work, answer_text, expected, model, numbers};

#[tokio::test]
async fn the_order_is_the_inputs_whatever_the_answers_order_is() {
    let upstream = Upstream::start(|connection| model(connection, Duration::from_millis(20))).await;
    let work = Work::new("rows.csv", numbers(1003), "scores.csv");
    let scored = work
        .score(upstream.address, "--rows-per-request 7 --concurrency 8 --keep x")
        .await;
    assert_eq!(scored, expected(1003));
    assert!(upstream.accepted() > 1, "one connection at a time");
    assert_eq!(work.files(), ["rows.csv", "scores.csv"]);
}

#[tokio::test]
async fn each_format_becomes_the_other() {
    let upstream = Upstream::start(|connection| model(connection, Duration::ZERO)).await;
    let csv = "\u{feff}id,x\r\n\"a, \"\"b\"\"\",1\r\n\r\nc,\"2\"\r\nd,3.50";
    let work = Work::new("rows.csv", csv, "scores.jsonl");
    let scored = work
        .score(upstream.address, "--columns x --keep id --no-row-numbers")
        .await;
    assert_eq!(
        scored,
        "{\"id\":\"a, \\\"b\\\"\",\"prediction\":2.5,\"model_version\":\"1.0\"}\n\
         {\"id\":\"c\",\"prediction\":3.0,\"model_version\":\"1.0\"}\n\
         {\"id\":\"d\",\"prediction\":3.75,\"model_version\":\"1.0\"}\n"
    );
    let work = Work::new(
        "rows.ndjson",
        "{\"x\":1,\"id\":\"a,b\"}\n\n{\"id\":null,\"x\":2}",
        "scores.csv",
    );
    let scored = work.score(upstream.address, "--columns x --keep all").await;
    assert_eq!(
        scored,
        "row,x,id,prediction,model_version\n1,1,\"a,b\",2.5,1.0\n2,2,,3.0,1.0\n"
    );
    for (name, content, output) in [
        ("rows.csv", "x\n", "row,prediction,model_version\n"),
        ("rows.jsonl", "", "row,prediction,model_version\n"),
    ] {
        let work = Work::new(name, content, "scores.csv");
        assert_eq!(work.score(upstream.address, "").await, output, "{name}");
    }
}

#[tokio::test]
async fn nan_reaches_the_model_and_comes_back() {
    let upstream = Upstream::start(|mut connection| async move {
        while let Some((_, body)) = connection.read_request().await {
            assert_eq!(body, b"{\"instances\":[[NaN,9007199254740993],[-Infinity,1]]}");
            let body = "{\"predictions\": [NaN, [1.0, -Infinity]], \"version\": 3}";
            connection.send(answer_text(200, "", body)).await;
        }
    })
    .await;
    let input = "x,y\nnan,9007199254740993\n-inf,1\n";
    let work = Work::new("rows.csv", input, "scores.csv");
    let scored = work.score(upstream.address, "").await;
    assert_eq!(
        scored,
        "row,prediction,model_version\n1,NaN,3\n2,\"[1.0,\"\"-Infinity\"\"]\",3\n"
    );
    let work = Work::new("rows.csv", input, "scores.jsonl");
    let scored = work.score(upstream.address, "").await;
    assert_eq!(
        scored.lines().next(),
        Some("{\"row\":1,\"prediction\":\"NaN\",\"model_version\":\"3\"}")
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let upstream = Upstream::start(|connection| model(connection, Duration::ZERO)).await;
    for (name, content, arguments, code, named) in [
        ("rows.csv", &b""[..], "", 1, "the file is empty; it has no header"),
        ("rows.csv", b"\xff\xfex\0", "", 1, "the file is UTF-16"),
        ("rows.csv", b"x,x\n1,2\n", "", 1, "column \"x\" is there twice"),
        (
            "rows.csv",
            b"x\n1\n",
            "--columns y",
            1,
            "--columns: the input has no column \"y\"; it has x",
        ),
        (
            "rows.csv",
            b"row\n1\n",
            "--keep all",
            1,
            "--keep: column \"row\" has the name of a column of the output",
        ),
        (
            "rows.txt",
            b"1\n",
            "",
            2,
            "--input-format: expected csv, jsonl or parquet",
        ),
    ] {
        let work = Work::new(name, content, "scores.csv");
        let finished = work.run(upstream.address, arguments).await;
        assert_eq!(finished.code, code, "{finished:?}");
        assert!(finished.stderr.contains(named), "{finished:?}");
    }
}
