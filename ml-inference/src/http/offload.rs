//! Work whose length the client chooses, away from the worker when it is long.
//!
//! A worker answers many connections in turn. Reading ten megabytes of numbers takes it some 50 ms, in which no other of
//! its requests is answered; on a thread of its own the work shares the processor with them instead. Each worker has one such
//! thread, so that there are never more than workers.

use std::future::pending;
use std::panic::resume_unwind;

use tokio::task::spawn_blocking;

/// Bytes of JSON, to be read or written, from which on the way to another thread is worth it: a few hundred microseconds.
const LARGE: usize = 64 * 1024;

/// Does `work`, which has so many bytes to read or to write. A panic of it is this task's.
pub(super) async fn offload_if_large<R: Send + 'static>(bytes: usize, work: impl FnOnce() -> R + Send + 'static) -> R {
    if bytes < LARGE {
        return work();
    }
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // Only when the runtime is shut down, and this task with it.
            Err(_cancelled) => pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn only_large_work_goes_to_another_thread() {
        let here = thread::current().id();
        assert_eq!(offload_if_large(LARGE - 1, || thread::current().id()).await, here);
        assert_ne!(offload_if_large(LARGE, || thread::current().id()).await, here);
    }

    #[tokio::test]
    async fn a_panic_is_the_tasks_own() {
        let panics = tokio::spawn(offload_if_large(LARGE, || panic!("of the work")));
        let panic = panics.await.expect_err("it panicked").into_panic();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"of the work"));
    }
}
