//! How the load goes while it runs: a bar that is drawn anew each second on a terminal, a line a second elsewhere.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use crate::arguments::Options;
use crate::millis::millis;
use crate::recorder::{Recorder, Tick};

const BAR: usize = 24;

#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    warmup: Duration,
    whole: Duration,
    failed: u64,
}

impl Progress {
    pub fn new(options: &Options) -> Self {
        Self {
            terminal: io::stdout().is_terminal(),
            warmup: options.warmup,
            whole: options.warmup + options.duration,
            failed: 0,
        }
    }

    pub fn show(&mut self, elapsed: Duration, tick: &Tick, recorder: &Recorder) {
        self.failed += tick.counts.failed;
        let line = self.line(elapsed, tick, recorder);
        let mut out = io::stdout().lock();
        // What cannot be shown is in the report.
        let _unseen = match self.terminal {
            // Back to the first column, and what was there before is erased.
            true => write!(out, "\r{} {line}\x1b[K", self.bar(elapsed)),
            false => writeln!(out, "{line}"),
        };
        let _unseen = out.flush();
    }

    fn bar(&self, elapsed: Duration) -> String {
        let share = (elapsed.as_secs_f64() / self.whole.as_secs_f64()).min(1.0);
        let full = (share * BAR as f64) as usize;
        format!("[{}{}]", "=".repeat(full), " ".repeat(BAR - full))
    }

    fn line(&self, elapsed: Duration, tick: &Tick, recorder: &Recorder) -> String {
        let warming = if elapsed < self.warmup { " (warm-up)" } else { "" };
        let mut line = format!(
            "{:3.0} s{warming}  {} ok, {} failed",
            elapsed.as_secs_f64(),
            tick.counts.ok,
            tick.counts.failed
        );
        if self.terminal && self.failed > tick.counts.failed {
            let _infallible = write!(line, " ({} so far)", self.failed);
        }
        if let (Some(p50), Some(p99)) = (tick.latencies.percentile(50.0), tick.latencies.percentile(99.0)) {
            let _infallible = write!(line, "  p50 {} p99 {} ms", millis(p50), millis(p99));
        }
        let mut separator = "  ";
        for (version, answers) in tick.versions.iter().enumerate().filter(|(_, answers)| **answers > 0) {
            if let Some(name) = recorder.version_name(version) {
                let _infallible = write!(line, "{separator}{name}: {answers}");
                separator = ", ";
            }
        }
        line
    }
}

impl Drop for Progress {
    /// The bar makes room for the summary.
    fn drop(&mut self) {
        if self.terminal {
            let _unseen = write!(io::stdout(), "\r\x1b[K");
        }
    }
}
