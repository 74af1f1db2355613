//! batch-score through the gateway.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::{Pair, Replica, binary, is_missing};
use shared::test_util::{DEADLINE, Process, Scratch, Signal, eventually};

fn start(pair: &Pair, input: &Path, output: &Path, path: &str, arguments: &str) -> Process {
    let url = pair.url(path);
    let (input, output) = (input.to_str().expect("UTF-8"), output.to_str().expect("UTF-8"));
    let mut all = vec!["--url", &url, "--input", input, "--output", output];
    all.extend(arguments.split_whitespace());
    let no_variables: [(&str, &str); 0] = [];
    Process::start_with(binary("batch-score"), &all, no_variables)
}

/// Half of each number, plus two, below the header.
fn expected(count: usize) -> String {
    let mut text = String::from("row,x,prediction,model_version\n");
    for number in 0..count {
        text.push_str(&format!(
            "{},{number},{:?},1.0\n",
            number + 1,
            number as f64 / 2.0 + 2.0
        ));
    }
    text
}

fn numbers(count: usize) -> String {
    (0..count).fold(String::from("x\n"), |text, number| text + &format!("{number}\n"))
}

#[tokio::test]
async fn every_protocol_and_a_row_that_the_model_refuses() {
    let pair = Pair::start(1).await;
    let scratch = Scratch::new("batch-score");
    let input = scratch.file("rows.csv", "x\n1\nnone\n2\n5\n");
    for (number, (path, arguments)) in [
        ("/predict", ""),
        ("", "--protocol tf-serving --model half_plus_two"),
        ("", "--protocol open-inference --model half_plus_two"),
    ]
    .into_iter()
    .enumerate()
    {
        let output = scratch.path().join(format!("scores-{number}.csv"));
        let arguments = format!("{arguments} --text-columns x --columns x --on-bad-row skip --keep x");
        // As text every row is refused by the model, one by one.
        let finished = start(&pair, &input, &output, path, &arguments)
            .wait_exit(DEADLINE)
            .await;
        assert_eq!(finished.code, 0, "{finished:?}");
        let rejected = fs::read_to_string(format!("{}.rejected.jsonl", output.display())).expect("rejected rows");
        assert_eq!(rejected.lines().count(), 4, "{rejected}");
        assert!(
            rejected.lines().all(|line| line.contains("\"reason\":\"status 400: ")),
            "{rejected}"
        );

        let arguments = arguments.replace("--text-columns x ", "--overwrite ");
        let finished = start(&pair, &input, &output, path, &arguments)
            .wait_exit(DEADLINE)
            .await;
        assert_eq!(finished.code, 0, "{finished:?}");
        let scored = fs::read_to_string(&output).expect("an output");
        let predictions: Vec<&str> = scored
            .lines()
            .skip(1)
            .filter_map(|line| line.split(',').nth(2))
            .collect();
        assert_eq!(predictions, ["2.5", "3.0", "4.5"], "{scored}");
        assert!(
            scored
                .lines()
                .skip(1)
                .all(|line| line.rsplit(',').next().is_some_and(|v| v.starts_with('1'))),
            "{scored}"
        );
    }
}

#[tokio::test]
async fn progress_is_a_bar_where_a_terminal_is() {
    if is_missing("script") {
        return;
    }
    let pair = Pair::start(1).await;
    let scratch = Scratch::new("batch-score");
    let input = scratch.file("rows.csv", numbers(3000));
    let output = scratch.path().join("scores.csv");
    let line = format!(
        "{} --input {} --output {} --url {} --rows-per-request 1 --concurrency 1",
        binary("batch-score").display(),
        input.display(),
        output.display(),
        pair.url("/predict")
    );
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]);
    let mut process = Process::spawn(command).expect("script runs");
    let finished = process.wait_exit(DEADLINE).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    for part in ["\u{1b}[", " %  ", " to go  ", " rows scored, ", "3000 rows scored: "] {
        assert!(finished.stdout.contains(part), "no {part:?} in {finished:?}");
    }
}

#[tokio::test]
async fn replicas_die_meanwhile_and_no_row_is_lost_or_there_twice() {
    let mut pair = Pair::start(2).await;
    let scratch = Scratch::new("batch-score");
    let count = 60_000;
    let input = scratch.file("rows.csv", numbers(count));
    let output = scratch.path().join("scores.csv");
    let partial = scratch.path().join("scores.csv.partial");
    let arguments = "--rows-per-request 20 --concurrency 4 --keep x --progress-interval 100ms";
    let mut process = start(&pair, &input, &output, "/predict", arguments);
    for round in 0..3 {
        let before = fs::metadata(&partial).map_or(0, |metadata| metadata.len());
        eventually("it goes on", DEADLINE, async || {
            output.exists() || fs::metadata(&partial).is_ok_and(|metadata| metadata.len() > before + 20_000)
        })
        .await;
        assert!(
            process.is_running(),
            "it ended before round {round}: {}",
            process.output()
        );
        // Both at once, so that the gateway has nobody to send a request to.
        let addresses: Vec<_> = pair.replicas.iter().map(|replica| replica.address).collect();
        for replica in pair.replicas.drain(..) {
            replica.process.signal(Signal::KILL);
            let mut replica = replica;
            replica.process.wait_exit(DEADLINE).await;
        }
        eventually("it waits for one", DEADLINE, async || {
            process.output().matches("requests sent again").count() > 0
        })
        .await;
        for address in addresses {
            pair.replicas
                .push(Replica::start_at(address, "ml-inference", "1.0", "0.5").await);
        }
    }
    let finished = process.wait_exit(DEADLINE + Duration::from_secs(30)).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(
        fs::read_to_string(&output).expect("an output") == expected(count),
        "another output"
    );
}
