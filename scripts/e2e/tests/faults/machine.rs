//! How busy the machine is with other things.

use std::fs;
use std::time::Duration;

/// How long the threads of a process have waited for a CPU since they began; 0 where the kernel does not say.
pub(crate) fn waited_for_cpu(process: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let waits = threads.filter_map(|thread| {
        // Nanoseconds on a CPU, nanoseconds of waiting for one, turns.
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    Duration::from_nanos(waits.sum())
}
