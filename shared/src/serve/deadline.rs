//! A timeout that costs nothing while it is not needed, and little where it is set anew for every request.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Runs from the first poll after it was cleared.
#[derive(Debug, Default)]
pub(super) struct Deadline {
    at: Option<Instant>,
    /// May be set to an earlier time than `at`, left over from an earlier wait: waking up once for nothing is
    /// cheaper than moving the timer for each request.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Ends the wait: the awaited event has come.
    pub(super) fn clear(&mut self) {
        self.at = None;
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, timeout: Duration) -> Poll<()> {
        let at = *self.at.get_or_insert_with(|| Instant::now() + timeout);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= at {
                return Poll::Ready(());
            }
            timer.as_mut().reset(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const LONG: Duration = Duration::from_secs(75);
    const SHORT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_its_whole_time_whatever_came_before() {
        let mut deadline = Deadline::default();
        for timeout in [LONG, SHORT, LONG, LONG] {
            // A wait that ended early.
            assert!(poll_fn(|cx| Poll::Ready(deadline.poll(cx, timeout))).await.is_pending());
            tokio::time::advance(timeout / 2).await;
            deadline.clear();

            let began = Instant::now();
            poll_fn(|cx| deadline.poll(cx, timeout)).await;
            let waited = began.elapsed();
            assert!(
                waited >= timeout && waited < timeout + Duration::from_millis(10),
                "{waited:?}"
            );
            deadline.clear();
        }
    }
}
