//! One output belongs to one input, one set of options and one process; anything else is refused.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use shared::test_util::{DEADLINE, Upstream, eventually};

use crate::{Work, answer_text, half_plus_two, instances, model, numbers};

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
