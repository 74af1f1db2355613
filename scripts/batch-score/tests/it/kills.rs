//! A run that is killed anywhere goes on to the output of a run that nothing disturbed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use shared::test_util::{DEADLINE, Signal, Upstream};
use tokio::time::sleep;

use crate::{Work, model, numbers};

/// Kills a run a few times, each time somewhere, and returns how many of its parts went on from a checkpoint. The output and the
/// rejected rows are those of a run that nothing disturbed.
pub(crate) async fn kill_and_go_on(upstream: &Upstream, undisturbed: &Work, arguments: &str) -> usize {
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
