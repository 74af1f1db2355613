//! Conditions that are waited for.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Between two looks at a condition that lies in another process.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Waits until `condition` is met, for `patience` at most, and gives whether it was. It is checked once in any case.
pub async fn within(patience: Duration, mut condition: impl AsyncFnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while !condition().await {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(LOOK_EVERY).await;
    }
    true
}
