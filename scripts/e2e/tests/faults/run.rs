//! What the load saw of one fault, and the bars it is held against.
//!
//! Whether a request failed and who got it is judged strictly. Times are judged less what the machine itself stood
//! still (`machine.rs`), and once more when it did so for long.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::load::{Failed, Sample};
use crate::machine::Stalls;

/// The gateway may take this long to find its way around a fault.
pub(crate) const FIRST: Duration = Duration::from_secs(2);
/// From then on the p99 may be this many times what it was before.
const SETTLED_FACTOR: u32 = 2;
/// Or this: a request is waited for by four processes in turn, and on a busy machine each of them may wait for a CPU for as
/// long as the scheduler lets another one run (3 ms). It is a quarter of what a replica takes that is 20 times slower.
const SETTLED_FLOOR: Duration = Duration::from_millis(10);
/// Nobody may wait longer, whatever happens to one replica.
const LONGEST: Duration = Duration::from_secs(1);
/// A replica is avoided once it got nothing for this long, in which its share would be 25 requests: a probe may come later.
const AVOIDED: Duration = Duration::from_millis(500);
/// A machine that stood still for longer in one run proves nothing about times.
const DISTURBED: Duration = Duration::from_millis(50);

pub(crate) struct Run {
    pub(crate) fault: &'static str,
    /// The steady time is from here to `struck`.
    pub(crate) began: Instant,
    pub(crate) struck: Instant,
    pub(crate) samples: Vec<Sample>,
    /// Requests that were sent more than once.
    pub(crate) resent: HashSet<usize>,
    pub(crate) stalls: Stalls,
    /// The gateway's own.
    pub(crate) warnings: Vec<String>,
    /// The longest that a faulty replica went on getting requests.
    pub(crate) diverted: Duration,
    /// Requests that reached one while it was faulty.
    pub(crate) met: usize,
    /// Which times were too long.
    pub(crate) slow: Vec<String>,
}

impl Run {
    /// Not one request failed.
    pub(crate) fn lost_nothing(self) -> Self {
        let never = self.struck;
        self.lost_only_between(never, never)
    }

    /// Requests sent in this time may fail, but quickly and with an answer that says why; no other may.
    pub(crate) fn lost_only_between(self, from: Instant, until: Instant) -> Self {
        let excused = |sample: &Sample| {
            let said = matches!(sample.outcome, Err(Failed::Status(502..=504, _)));
            said && (from..until).contains(&sample.sent) && self.waited(sample) < LONGEST
        };
        let lost: Vec<String> = self
            .samples
            .iter()
            .filter(|sample| sample.outcome.is_err() && !excused(sample))
            .map(|sample| self.describe(sample))
            .collect();
        let warnings = self.warnings.join("\n");
        assert!(
            lost.is_empty(),
            "{}: lost {} of {}:\n{}\nthe gateway:\n{warnings}",
            self.fault,
            lost.len(),
            self.samples.len(),
            lost.join("\n")
        );
        self
    }

    /// None of these replicas got a request that was sent between the two moments.
    pub(crate) fn left_alone(self, replicas: &[&str], from: Instant, until: Instant) -> Self {
        // The news travels between processes: a machine that stands still holds it up.
        let from = from + self.stalls.between(from, until);
        let answered: Vec<String> = self
            .samples
            .iter()
            .filter(|sample| (from..until).contains(&sample.sent) && answered_by(sample, replicas))
            .map(|sample| self.describe(sample))
            .collect();
        assert!(answered.is_empty(), "{}: {replicas:?} got {answered:?}", self.fault);
        self
    }

    /// These replicas were avoided soon after `from`; `until` is when they were well again.
    pub(crate) fn diverted(mut self, replicas: &[&str], from: Instant, until: Instant, within: Duration) -> Self {
        let reached = |sample: &&Sample| answered_by(sample, replicas) || self.resent.contains(&sample.number);
        let between = |sample: &&Sample| (from..until).contains(&sample.sent);
        let mut avoided = None;
        let mut last = from;
        for sample in self.samples.iter().filter(between).filter(reached) {
            if sample.sent > last + AVOIDED {
                avoided.get_or_insert(last);
            }
            last = sample.sent;
            self.met += 1;
        }
        let avoided = avoided.unwrap_or(last);
        let after = avoided - from;
        self.diverted = self.diverted.max(after);
        if after > within + self.stalls.between(from, avoided) {
            self.slow
                .push(format!("{replicas:?} got requests for {after:?}, not {within:?}"));
        }
        self
    }

    /// Some seconds after the fault the latencies are as they were before it.
    pub(crate) fn settled(mut self) -> Self {
        let steady = self.percentile(99, self.began, self.struck);
        let after = self.percentile(99, self.struck + FIRST, self.end());
        if after > (steady * SETTLED_FACTOR).max(SETTLED_FLOOR) {
            self.slow
                .push(format!("p99 went from {steady:?} to {after:?} and stayed there"));
        }
        self
    }

    /// Nobody waited for longer than a second.
    pub(crate) fn kept_nobody_waiting(mut self) -> Self {
        let longest = self.longest();
        if longest > LONGEST {
            self.slow.push(format!("a request waited {longest:?}"));
        }
        self
    }

    /// The last request that failed.
    pub(crate) fn last_lost(&self) -> Option<Instant> {
        let lost = self.samples.iter().filter(|sample| sample.outcome.is_err());
        lost.map(|sample| sample.sent).max()
    }

    pub(crate) fn was_disturbed(&self) -> bool {
        self.stalls.between(self.began, self.end()) > DISTURBED
    }

    /// One line of figures.
    pub(crate) fn figures(&self) -> String {
        let millis = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
        let p99 = |from, until| millis(self.percentile(99, from, until));
        let settled = self.struck + FIRST;
        let failed = self.samples.iter().filter(|sample| sample.outcome.is_err()).count();
        format!(
            "{}: {} requests, {failed} failed, p50 {}, p99 {} before, {} in the first {} s, {} after, longest {}, diverted \
             after {}, {} met it, machine stalled {}",
            self.fault,
            self.samples.len(),
            millis(self.percentile(50, self.began, self.end())),
            p99(self.began, self.struck),
            p99(self.struck, settled),
            FIRST.as_secs(),
            p99(settled, self.end()),
            millis(self.longest()),
            millis(self.diverted),
            self.met,
            millis(self.stalls.between(self.began, self.end())),
        )
    }

    /// What there is to say about times that were too long.
    pub(crate) fn complaint(&self) -> String {
        let mut slowest: Vec<&Sample> = self.samples.iter().collect();
        slowest.sort_unstable_by_key(|sample| std::cmp::Reverse(self.waited(sample)));
        let slowest: Vec<String> = slowest
            .into_iter()
            .take(10)
            .map(|sample| self.describe(sample))
            .collect();
        format!(
            "{}: {}\nthe slowest:\n{}\nthe gateway:\n{}",
            self.fault,
            self.slow.join("; "),
            slowest.join("\n"),
            self.warnings.join("\n")
        )
    }

    fn end(&self) -> Instant {
        self.samples.last().map_or(self.struck, |sample| sample.answered)
    }

    /// How long the request took, less what the machine stood still meanwhile.
    fn waited(&self, sample: &Sample) -> Duration {
        let stalled = self.stalls.between(sample.sent, sample.answered);
        (sample.answered - sample.sent).saturating_sub(stalled)
    }

    fn longest(&self) -> Duration {
        let waits = self.samples.iter().map(|sample| self.waited(sample));
        waits.max().unwrap_or_default()
    }

    /// The nearest rank, of requests sent between the two moments.
    fn percentile(&self, percent: usize, from: Instant, until: Instant) -> Duration {
        let between = |sample: &&Sample| (from..until).contains(&sample.sent);
        let mut waits: Vec<Duration> = self
            .samples
            .iter()
            .filter(between)
            .map(|sample| self.waited(sample))
            .collect();
        waits.sort_unstable();
        let rank = (waits.len() * percent).div_ceil(100);
        waits.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    fn describe(&self, sample: &Sample) -> String {
        let at = sample.sent.saturating_duration_since(self.struck);
        let took = sample.answered - sample.sent;
        format!(
            "request {}, sent {at:?} after the fault, took {took:?}: {:?}",
            sample.number, sample.outcome
        )
    }
}

fn answered_by(sample: &Sample, replicas: &[&str]) -> bool {
    sample.outcome.as_ref().is_ok_and(|by| replicas.contains(&by.as_str()))
}
