//! What a run says of itself while it is under way.

use std::time::Duration;

use shared::test_util::Upstream;

use crate::{Work, model, numbers};

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
