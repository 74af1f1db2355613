//! Waiting for what has to come.

use std::time::Duration;

/// The time that nothing exceeds on a busy machine; a test that reaches it has failed.
pub const DEADLINE: Duration = Duration::from_secs(30);

pub(super) const POLL: Duration = Duration::from_millis(5);

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within `deadline`.
pub async fn eventually(what: &str, deadline: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let poll = async {
        while !condition().await {
            tokio::time::sleep(POLL).await;
        }
    };
    if tokio::time::timeout(deadline, poll).await.is_err() {
        panic!("after {deadline:?} still not: {what}");
    }
}
