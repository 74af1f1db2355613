//! The real binary on real sockets, against servers that do what each test says.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use shared::test_util::{DEADLINE, Finished, Process, Scratch, Signal, Upstream, UpstreamConnection, eventually};
use tokio::time::{Instant, sleep};

const BINARY: &str = env!("CARGO_BIN_EXE_batch-score");

/// A directory with an input, and the runs over it.
struct Work {
    scratch: Scratch,
    input: PathBuf,
    output: PathBuf,
}

impl Work {
    fn new(input: &str, content: impl AsRef<[u8]>, output: &str) -> Self {
        let scratch = Scratch::new("batch-score");
        let input = scratch.file(input, content);
        let output = scratch.path().join(output);
        Self { scratch, input, output }
    }

    fn start(&self, address: SocketAddr, arguments: &str) -> Process {
        self.start_at(&format!("http://{address}/predict"), arguments)
    }

    fn start_at(&self, url: &str, arguments: &str) -> Process {
        let (input, output) = (
            self.input.to_str().expect("UTF-8"),
            self.output.to_str().expect("UTF-8"),
        );
        let mut all = vec!["--input", input, "--output", output, "--url", url];
        all.extend(arguments.split_whitespace());
        Process::start_with(BINARY, &all, [("API_KEY", "the-key")])
    }

    async fn run(&self, address: SocketAddr, arguments: &str) -> Finished {
        self.start(address, arguments).wait_exit(DEADLINE).await
    }

    /// Runs to the end, which has to be a good one, and returns the output.
    async fn score(&self, address: SocketAddr, arguments: &str) -> String {
        let finished = self.run(address, arguments).await;
        assert_eq!(finished.code, 0, "{finished:?}");
        self.read("")
    }

    fn path(&self, extension: &str) -> PathBuf {
        PathBuf::from(format!("{}{extension}", self.output.display()))
    }

    /// The output, or the file beside it with this extension.
    fn read(&self, extension: &str) -> String {
        let path = self.path(extension);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The names of what is there.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.scratch.path()).expect("a directory");
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<String> = entries.map(|entry| name(entry.expect("an entry"))).collect();
        names.sort();
        names
    }
}

fn instances(body: &[u8]) -> Vec<Value> {
    let body: Value = serde_json::from_slice(body).expect("JSON");
    body["instances"].as_array().expect("instances").clone()
}

fn answer_text(status: u16, head: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} Scripted\r\n{head}content-length: {length}\r\n\r\n{body}")
}

/// The model of these tests: half of the instance, plus two.
fn half_plus_two(instances: &[Value]) -> String {
    let half = |instance: &Value| json!(instance.as_f64().expect("a number") / 2.0 + 2.0);
    let predictions: Vec<Value> = instances.iter().map(half).collect();
    json!({"predictions": predictions, "model": "half_plus_two", "version": "1.0"}).to_string()
}

/// Answers every request; a negative instance is a mistake of the client.
async fn model(mut connection: UpstreamConnection, longest_pause: Duration) {
    while let Some((_, body)) = connection.read_request().await {
        sleep(longest_pause.mul_f64(fastrand::f64())).await;
        let instances = instances(&body);
        let negative = instances
            .iter()
            .position(|instance| instance.as_f64().expect("a number") < 0.0);
        let answer = match negative {
            Some(at) => {
                let detail = format!("instances[{at}]: it is negative");
                answer_text(
                    400,
                    "",
                    &json!({"status": 400, "detail": detail, "error": detail}).to_string(),
                )
            }
            None => answer_text(200, "x-model-version: 9\r\n", &half_plus_two(&instances)),
        };
        connection.send(answer).await;
    }
}

/// Numbers from 0, one a line, below the header `x`.
fn numbers(count: usize) -> String {
    let mut text = String::from("x\n");
    (0..count).for_each(|number| text.push_str(&format!("{number}\n")));
    text
}

/// The output for these numbers.
fn expected(count: usize) -> String {
    let mut text = String::from("row,x,prediction,model_version\n");
    (0..count).for_each(|number| {
        let prediction = json!(number as f64 / 2.0 + 2.0);
        text.push_str(&format!("{},{number},{prediction},1.0\n", number + 1));
    });
    text
}

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
async fn what_may_help_is_tried_again_and_retry_after_is_kept() {
    let seen: Arc<Mutex<Vec<(Instant, String)>>> = Arc::default();
    let heads = Arc::clone(&seen);
    let upstream = Upstream::start(move |mut connection| {
        let seen = Arc::clone(&heads);
        async move {
            while let Some((head, body)) = connection.read_request().await {
                let attempt = {
                    let mut seen = seen.lock().expect("no panic");
                    seen.push((Instant::now(), head));
                    seen.len()
                };
                match attempt {
                    1 => connection.send(answer_text(429, "retry-after: 1\r\n", "")).await,
                    2 => connection.answer(502, "").await,
                    3 => connection.answer(504, "").await,
                    4 => return connection.reset(),
                    5 => {
                        connection
                            .send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"pre")
                            .await;
                        return;
                    }
                    6 => connection.send(answer_text(503, "retry-after: 0\r\n", "")).await,
                    _ => {
                        connection
                            .send(answer_text(200, "", &half_plus_two(&instances(&body))))
                            .await
                    }
                }
            }
        }
    })
    .await;
    let work = Work::new("rows.csv", numbers(3), "scores.csv");
    assert_eq!(work.score(upstream.address, "--keep x").await, expected(3));
    let seen = seen.lock().expect("no panic");
    assert_eq!(seen.len(), 7);
    let waited = seen[1].0 - seen[0].0;
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
    let head = seen[0].1.to_ascii_lowercase();
    assert!(head.contains("\r\nx-api-key: the-key\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
}

#[tokio::test]
async fn attempts_and_their_time_are_limited() {
    let upstream = Upstream::start(|mut connection| async move {
        while connection.read_request().await.is_some() {
            let body = "{\"detail\": \"the queue is full\"}";
            connection.send(answer_text(503, "retry-after: 0\r\n", body)).await;
        }
    })
    .await;
    let work = Work::new("rows.csv", numbers(3), "scores.csv");
    let finished = work.run(upstream.address, "--max-attempts 3").await;
    assert_eq!(finished.code, 3, "{finished:?}");
    let named = "status 503: the queue is full, after 3 attempts in ";
    assert!(finished.stderr.contains(named), "{finished:?}");
    assert_eq!(
        work.files(),
        ["rows.csv", "scores.csv.checkpoint", "scores.csv.partial"]
    );

    let patient = Upstream::start(|mut connection| async move {
        while connection.read_request().await.is_some() {
            connection.send(answer_text(503, "retry-after: 3600\r\n", "")).await;
        }
    })
    .await;
    let work = Work::new("rows.csv", numbers(3), "scores.csv");
    let finished = work.run(patient.address, "--max-retry-time 5s").await;
    assert_eq!(finished.code, 3, "{finished:?}");
    assert!(finished.stderr.contains("after 1 attempts in "), "{finished:?}");
}

#[tokio::test]
async fn nobody_listens() {
    let nobody = Upstream::start(|connection| connection.hang()).await.address;
    let work = Work::new("rows.csv", numbers(3), "scores.csv");
    let finished = work.run(nobody, "--max-attempts 2").await;
    assert_eq!(finished.code, 3, "{finished:?}");
    assert!(finished.stderr.contains("cannot connect: "), "{finished:?}");
}

#[tokio::test]
async fn an_answer_that_no_attempt_would_change_ends_the_run() {
    for (status, body, named) in [
        (
            401,
            "{\"detail\":\"the API key is missing\"}",
            "status 401: the API key is missing",
        ),
        (404, "", "status 404"),
        (
            500,
            "{\"error\":\"the model failed on this request\"}",
            "status 500: the model failed",
        ),
        (302, "", "status 302"),
        (200, "{\"predictions\":[1]}", "the answer has 1 predictions for 3 rows"),
        (200, "<html>", "the answer is no JSON"),
    ] {
        let upstream = Upstream::start(move |mut connection| async move {
            while connection.read_request().await.is_some() {
                connection.answer(status, body).await;
            }
        })
        .await;
        let work = Work::new("rows.csv", numbers(3), "scores.csv");
        let finished = work.run(upstream.address, "").await;
        assert_eq!(finished.code, 1, "{finished:?}");
        assert!(finished.stderr.contains(named), "{status}: {finished:?}");
    }
}

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

/// Kills a run a few times, each time somewhere, and returns how many of its parts went on from a checkpoint. The output and the
/// rejected rows are those of a run that nothing disturbed.
async fn kill_and_go_on(upstream: &Upstream, undisturbed: &Work, arguments: &str) -> usize {
    let expected = fs::read(&undisturbed.output).expect("an output");
    let rejected = undisturbed.read(".rejected.jsonl");
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    let content = fs::read(&undisturbed.input).expect("an input");
    let work = Work::new(&name(&undisturbed.input), content, &name(&undisturbed.output));
    let (mut kills, mut resumed) = (0, 0);
    loop {
        let mut process = work.start(upstream.address, arguments);
        let wait = Duration::from_millis(fastrand::u64(0..900));
        let ended = tokio::time::timeout(wait, async {
            while process.is_running() {
                sleep(Duration::from_millis(2)).await;
            }
        });
        let is_killed = ended.await.is_err() && kills < 12;
        if is_killed {
            process.signal(Signal::KILL);
            kills += 1;
        }
        let ended = process.wait_exit(DEADLINE).await;
        resumed += usize::from(ended.stderr.contains("going on after "));
        // A kill may come when all is done but the exit.
        if work.output.exists() && !work.path(".checkpoint").exists() {
            break;
        }
        assert!(is_killed, "{ended:?}");
    }
    let output = fs::read(&work.output).expect("an output");
    assert!(output == expected, "another output after {kills} kills");
    assert_eq!(work.read(".rejected.jsonl"), rejected);
    assert_eq!(work.files().len(), 3, "{:?}", work.files());
    resumed
}

#[tokio::test]
async fn a_run_that_is_killed_anywhere_goes_on_to_the_same_output() {
    let upstream = Upstream::start(|connection| model(connection, Duration::from_millis(20))).await;
    let mut input = numbers(3000);
    input = input
        .replace("\n700\n", "\n-700\n")
        .replace("\n1500\n", "\nbad\n")
        .replace("\n2200\n", "\n\"\n");
    let arguments = "--rows-per-request 9 --concurrency 3 --keep x --on-bad-row skip";
    let undisturbed = Work::new("rows.csv", &input, "scores.csv");
    undisturbed.score(upstream.address, arguments).await;
    assert_eq!(undisturbed.read(".rejected.jsonl").lines().count(), 3);
    let mut resumed = 0;
    for _ in 0..3 {
        resumed += kill_and_go_on(&upstream, &undisturbed, arguments).await;
    }
    assert!(resumed > 0, "no run went on from a checkpoint");
}

#[cfg(feature = "parquet")]
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

#[tokio::test]
async fn sigterm_saves_what_is_under_way_and_the_rest_is_not_sent_again() {
    let counts: Arc<Mutex<BTreeMap<u64, usize>>> = Arc::default();
    let counted = Arc::clone(&counts);
    let upstream = Upstream::start(move |mut connection| {
        let counts = Arc::clone(&counted);
        async move {
            while let Some((_, body)) = connection.read_request().await {
                let instances = instances(&body);
                let numbers = instances.iter().map(|number| number.as_u64().expect("a number"));
                numbers.for_each(|number| *counts.lock().expect("no panic").entry(number).or_default() += 1);
                sleep(Duration::from_millis(5)).await;
                connection.send(answer_text(200, "", &half_plus_two(&instances))).await;
            }
        }
    })
    .await;
    let work = Work::new("rows.csv", numbers(2000), "scores.csv");
    let arguments = "--rows-per-request 5 --concurrency 2 --keep x";
    let mut process = work.start(upstream.address, arguments);
    eventually("some are scored", DEADLINE, async || {
        counts.lock().expect("no panic").len() > 50
    })
    .await;
    process.signal(Signal::TERM);
    let finished = process.wait_exit(DEADLINE).await;
    assert_eq!(finished.code, 6, "{finished:?}");
    assert!(
        finished.stderr.contains("ended by a signal; the same command goes on"),
        "{finished:?}"
    );
    let finished = work.run(upstream.address, arguments).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(finished.stderr.contains("going on after "), "{finished:?}");
    assert_eq!(work.read(""), expected(2000));
    let counts = counts.lock().expect("no panic");
    assert!(
        counts.len() == 2000 && counts.values().all(|count| *count == 1),
        "rows were sent twice"
    );
}

#[tokio::test]
async fn sigterm_does_not_wait_for_an_attempt_that_is_yet_to_come() {
    let upstream = Upstream::start(|mut connection| async move {
        while connection.read_request().await.is_some() {
            connection.send(answer_text(503, "retry-after: 200\r\n", "")).await;
        }
    })
    .await;
    let work = Work::new("rows.csv", numbers(3), "scores.csv");
    let mut process = work.start(upstream.address, "--progress-interval 10ms");
    eventually("it waits", DEADLINE, async || {
        process.output().contains("(last failure: status 503)")
    })
    .await;
    process.signal(Signal::TERM);
    let finished = process.wait_exit(DEADLINE).await;
    assert_eq!(finished.code, 6, "{finished:?}");
}

#[tokio::test]
async fn a_second_signal_does_not_wait() {
    let upstream = Upstream::start(|connection| connection.hang()).await;
    let work = Work::new("rows.csv", numbers(3), "scores.csv");
    let mut process = work.start(upstream.address, "");
    eventually("it is connected", DEADLINE, async || upstream.accepted() > 0).await;
    process.signal(Signal::INT);
    eventually("it says so", DEADLINE, async || process.output().contains("a signal: ")).await;
    process.signal(Signal::INT);
    let finished = process.wait_exit(DEADLINE).await;
    assert_eq!(finished.code, 130, "{finished:?}");
}

#[tokio::test]
async fn another_input_and_other_options_are_refused() {
    let upstream = Upstream::start(|connection| model(connection, Duration::ZERO)).await;
    let work = Work::new("rows.csv", "x\n1\n2\n-3\n", "scores.csv");
    let stopped = work.run(upstream.address, "--rows-per-request 1").await;
    assert_eq!(stopped.code, 4, "{stopped:?}");

    let other = work.run(upstream.address, "--no-row-numbers").await;
    assert_eq!(other.code, 5, "{other:?}");
    assert!(
        other
            .stderr
            .contains("it was made with other options: row-numbers was true, and is false"),
        "{other:?}"
    );

    fs::write(&work.input, "x\n1\n2\n33\n").expect("written");
    let other = work.run(upstream.address, "").await;
    assert_eq!(other.code, 5, "{other:?}");
    assert!(other.stderr.contains("the input has changed since"), "{other:?}");
    assert!(other.stderr.contains("--restart begins anew"), "{other:?}");
    let scored = work.score(upstream.address, "--restart").await;
    assert_eq!(
        scored,
        "row,prediction,model_version\n1,2.5,1.0\n2,3.0,1.0\n3,18.5,1.0\n"
    );

    let exists = work.run(upstream.address, "").await;
    assert_eq!(exists.code, 2, "{exists:?}");
    assert!(
        exists.stderr.contains("is there already; --overwrite replaces it"),
        "{exists:?}"
    );
    work.score(upstream.address, "--overwrite").await;
}

#[tokio::test]
async fn two_runs_do_not_write_the_same_output() {
    let upstream = Upstream::start(|connection| connection.hang()).await;
    let work = Work::new("rows.csv", numbers(3), "scores.csv");
    let _first = work.start(upstream.address, "");
    eventually("it is connected", DEADLINE, async || upstream.accepted() > 0).await;
    let second = work.run(upstream.address, "").await;
    assert_eq!(second.code, 1, "{second:?}");
    assert!(second.stderr.contains("another process is writing "), "{second:?}");
}

#[tokio::test]
async fn an_input_that_changes_meanwhile_gives_no_output() {
    let work = Arc::new(Work::new("rows.csv", numbers(3), "scores.csv"));
    let input = work.input.clone();
    let upstream = Upstream::start(move |mut connection| {
        let input = input.clone();
        async move {
            while let Some((_, body)) = connection.read_request().await {
                fs::write(&input, "x\n1\n").expect("written");
                connection
                    .send(answer_text(200, "", &half_plus_two(&instances(&body))))
                    .await;
            }
        }
    })
    .await;
    let finished = work.run(upstream.address, "").await;
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(finished.stderr.contains("changed while it was read"), "{finished:?}");
    assert!(!work.output.exists());
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

#[tokio::test]
async fn progress_is_lines_where_no_terminal_is() {
    let upstream = Upstream::start(|connection| model(connection, Duration::from_millis(40))).await;
    let work = Work::new("rows.csv", numbers(300), "scores.csv");
    let finished = work
        .run(
            upstream.address,
            "--rows-per-request 10 --concurrency 1 --progress-interval 50ms",
        )
        .await;
    assert_eq!(finished.code, 0, "{finished:?}");
    let lines: Vec<&str> = finished
        .stderr
        .lines()
        .filter(|line| line.contains(" rows scored, "))
        .collect();
    assert!(lines.len() >= 2, "{finished:?}");
    assert!(
        lines
            .iter()
            .all(|line| line.contains(" %: ") && !line.contains('\u{1b}')),
        "{finished:?}"
    );
    assert_eq!(finished.stdout, format!("300 rows scored: {}\n", work.output.display()));
    let quiet = Work::new("rows.csv", numbers(300), "scores.csv");
    let finished = quiet.run(upstream.address, "--quiet --progress-interval 1ms").await;
    assert_eq!(finished.stderr, "");
}

#[tokio::test]
async fn the_other_protocols() {
    let upstream = Upstream::start(|mut connection| async move {
        while let Some((head, body)) = connection.read_request().await {
            let line = head.lines().next().unwrap_or_default();
            let answer = match line {
                "POST /base/v1/models/m/versions/2:predict HTTP/1.1" => {
                    assert_eq!(body, b"{\"instances\":[{\"a\":1,\"b\":2},{\"a\":3,\"b\":4}]}");
                    "{\"predictions\":[[1,2],[3,4]]}"
                }
                "GET /base/v2/models/m HTTP/1.1" => {
                    "{\"inputs\":[{\"name\":\"in\",\"datatype\":\"FP32\",\"shape\":[-1,2]}]}"
                }
                "POST /base/v2/models/m/infer HTTP/1.1" => {
                    let expected =
                        "{\"inputs\":[{\"name\":\"in\",\"datatype\":\"FP32\",\"shape\":[2,2],\"data\":[1,2,3,4]}]}";
                    assert_eq!(body, expected.as_bytes());
                    "{\"model_version\":\"7\",\"outputs\":[{\"name\":\"y\",\"shape\":[2,1],\"data\":[5,6]}]}"
                }
                other => panic!("{other}"),
            };
            connection
                .send(answer_text(200, "x-model-version: 2\r\n", answer))
                .await;
        }
    })
    .await;
    let url = format!("http://{}/base/", upstream.address);
    for (arguments, expected) in [
        (
            "--protocol tf-serving --model m --model-version 2 --rows-as object",
            "row,prediction,model_version\n1,\"[1,2]\",2\n2,\"[3,4]\",2\n",
        ),
        (
            "--protocol open-inference --model m",
            "row,prediction,model_version\n1,5,7\n2,6,7\n",
        ),
    ] {
        let work = Work::new("rows.csv", "a,b\n1,2\n3,4\n", "scores.csv");
        let finished = work.start_at(&url, arguments).wait_exit(DEADLINE).await;
        assert_eq!(finished.code, 0, "{finished:?}");
        assert_eq!(work.read(""), expected);
    }
}
