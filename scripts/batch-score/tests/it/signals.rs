//! A run that is asked to end saves what is under way, and does not wait for what is not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shared::test_util::{DEADLINE, Signal, Upstream, eventually};
use tokio::time::sleep;

use crate::{Work, answer_text, expected, half_plus_two, instances, numbers};

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
