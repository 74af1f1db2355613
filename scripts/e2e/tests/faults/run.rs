//! What the load saw of one fault, and the bars it is held against.
//!
//! Whether a request failed and who got it is judged strictly. Times are judged beside those of requests that went past the
//! gateway at the same time; where the machine was busy with other things, a time that is too long says little, and the
//! fault is tried again.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::load::{Failed, Sample};

/// The gateway may take this long to find its way around a fault.
pub(crate) const FIRST: Duration = Duration::from_secs(2);
/// From then on the p99 may be this many times what it was before.
const SETTLED_FACTOR: u32 = 2;
/// Or this: of latencies of a millisecond or three, a scheduler's slice for somebody else makes more than the double. It is
/// a quarter of what a replica takes that is 20 times slower.
const SETTLED_FLOOR: Duration = Duration::from_millis(10);
/// Or this many times the p99 of the requests past the gateway: those wait for two processes, the others for three, in
/// twice as many turns.
const TURNS: u32 = 2;
/// Nobody may wait longer, whatever happens to one replica.
const LONGEST: Duration = Duration::from_secs(1);
/// A replica is avoided once it got nothing for this long, in which its share would be 25 requests: a probe may come later.
const AVOIDED: Duration = Duration::from_millis(500);
/// From then on it may get one request in so many, where its share is one in three.
const RARE: usize = 50;
/// A machine is busy that lets a request past the gateway wait this long,
const BUSY: Duration = Duration::from_millis(10);
/// or the gateway wait for a CPU for so much of each second, all its threads together.
const BUSY_PER_SECOND: Duration = Duration::from_millis(30);

pub(crate) struct Run {
    pub(crate) fault: &'static str,
    /// The steady time is from here to `struck`.
    pub(crate) began: Instant,
    pub(crate) struck: Instant,
    pub(crate) samples: Vec<Sample>,
    /// Requests past the gateway.
    pub(crate) direct: Vec<Sample>,
    /// Requests that were sent more than once.
    pub(crate) resent: HashSet<usize>,
    /// How long the gateway waited for a CPU.
    pub(crate) waited_for_cpu: Duration,
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
        self.lost_only(|_| false)
    }

    /// Requests under way in this time may fail, but quickly and with an answer that says why; no other may.
    pub(crate) fn lost_only_between(self, from: Instant, until: Instant) -> Self {
        self.lost_only(|sample| {
            let said = matches!(sample.outcome, Err(Failed::Status(502..=504, _)));
            said && sample.sent < until && sample.sent + sample.took() >= from && sample.took() < LONGEST
        })
    }

    fn lost_only(self, excused: impl Fn(&Sample) -> bool) -> Self {
        let lost = self.samples.iter();
        let lost = lost.filter(|sample| sample.outcome.is_err() && !excused(sample));
        let lost: Vec<&Sample> = lost.collect();
        assert!(lost.is_empty(), "{} failed: {}", lost.len(), self.describe(&lost));
        self
    }

    /// None of these replicas got a request that was sent between the two moments.
    pub(crate) fn left_alone(self, replicas: &[&str], from: Instant, until: Instant) -> Self {
        // The news travels between processes: a machine that stands still holds it up.
        let from = from + longest(&self.direct);
        let got = between(&self.samples, from, until).filter(|sample| sample.is_by(replicas));
        let got: Vec<&Sample> = got.collect();
        assert!(got.is_empty(), "{replicas:?} got requests: {}", self.describe(&got));
        self
    }

    /// These replicas were avoided soon after `from`; `until` is when they were well again.
    pub(crate) fn diverted(mut self, replicas: &[&str], from: Instant, until: Instant, within: Duration) -> Self {
        let reached = |sample: &&Sample| sample.is_by(replicas) || self.resent.contains(&sample.number);
        let met: Vec<Instant> = between(&self.samples, from, until)
            .filter(reached)
            .map(|sample| sample.sent)
            .collect();
        let mut avoided = from;
        for sent in &met {
            if *sent > avoided + AVOIDED {
                break;
            }
            avoided = *sent;
        }
        self.met += met.len();
        self.diverted = self.diverted.max(avoided - from);
        let later = met.iter().filter(|sent| **sent > avoided).count();
        let all = between(&self.samples, avoided, until).count();
        if avoided - from > within + longest(&self.direct) || later * RARE > all {
            let after = avoided - from;
            self.slow.push(format!(
                "{replicas:?} got requests for {after:?}, and {later} of {all} after that"
            ));
        }
        self
    }

    /// This replica, of three, was used like the others; or somewhat less, as latencies differ by chance.
    pub(crate) fn kept_its_share(mut self, replica: &str, from: Instant, until: Instant) -> Self {
        let all = between(&self.samples, from, until).count();
        let its = between(&self.samples, from, until).filter(|sample| sample.is_by(&[replica]));
        let its = its.count();
        if its * 5 < all {
            self.slow.push(format!("{replica} got {its} of {all}"));
        }
        self
    }

    /// Some seconds after the fault the latencies are as they were before it.
    pub(crate) fn settled(mut self) -> Self {
        let after = self.struck + FIRST;
        let was = percentile(99, &self.samples, self.began, self.struck);
        let is = percentile(99, &self.samples, after, self.end());
        let machine = percentile(99, &self.direct, after, self.end());
        if is > (was * SETTLED_FACTOR).max(SETTLED_FLOOR).max(machine * TURNS) {
            self.slow
                .push(format!("p99 went from {was:?} to {is:?} and stayed there"));
        }
        self
    }

    /// Nobody waited for longer than a second.
    pub(crate) fn kept_nobody_waiting(mut self) -> Self {
        let longest_wait = longest(&self.samples);
        if longest_wait > LONGEST + longest(&self.direct) {
            self.slow.push(format!("a request waited {longest_wait:?}"));
        }
        self
    }

    /// The last request that failed.
    pub(crate) fn last_lost(&self) -> Option<Instant> {
        let lost = self.samples.iter().filter(|sample| sample.outcome.is_err());
        lost.map(|sample| sample.sent).max()
    }

    /// The last request that `replica` answered, as far as it was sent after the fault.
    pub(crate) fn last_answer_of(&self, replica: &str) -> Option<Instant> {
        let its = between(&self.samples, self.struck, self.end()).filter(|sample| sample.is_by(&[replica]));
        its.map(|sample| sample.sent).max()
    }

    /// Whether the machine had other things to do.
    pub(crate) fn was_disturbed(&self) -> bool {
        let per_second = self.waited_for_cpu.div_f64((self.end() - self.began).as_secs_f64());
        longest(&self.direct) > BUSY || per_second > BUSY_PER_SECOND
    }

    /// One line of figures.
    pub(crate) fn figures(&self) -> String {
        let (began, struck, settled, end) = (self.began, self.struck, self.struck + FIRST, self.end());
        let p = |percent, samples, from, until| millis(percentile(percent, samples, from, until));
        let failed = self.samples.iter().filter(|sample| sample.outcome.is_err()).count();
        format!(
            "{}: {} requests, {failed} failed, p50 {}, p99 {} before, {} in the first {} s, {} after, longest {}, diverted \
             after {}, {} met it; past the gateway p99 {}, longest {}",
            self.fault,
            self.samples.len(),
            p(50, &self.samples, began, end),
            p(99, &self.samples, began, struck),
            p(99, &self.samples, struck, settled),
            FIRST.as_secs(),
            p(99, &self.samples, settled, end),
            millis(longest(&self.samples)),
            millis(self.diverted),
            self.met,
            p(99, &self.direct, began, end),
            millis(longest(&self.direct)),
        )
    }

    /// What there is to say about times that were too long.
    pub(crate) fn complaint(&self) -> String {
        let mut slowest: Vec<&Sample> = self.samples.iter().collect();
        slowest.sort_unstable_by_key(|sample| std::cmp::Reverse(sample.took()));
        slowest.truncate(10);
        format!("{}; the slowest: {}", self.slow.join("; "), self.describe(&slowest))
    }

    /// These requests, and what the gateway had to say meanwhile.
    fn describe(&self, samples: &[&Sample]) -> String {
        let mut text = format!("({})", self.fault);
        for sample in samples {
            let at = sample.sent.saturating_duration_since(self.began);
            let resent = if self.resent.contains(&sample.number) {
                ", resent"
            } else {
                ""
            };
            let (number, took, outcome) = (sample.number, millis(sample.took()), &sample.outcome);
            text += &format!("\nrequest {number} at {at:.3?}{resent}: {took}, {outcome:?}");
        }
        let struck = self.struck - self.began;
        text += &format!(
            "\nthe fault was at {struck:.3?}; the gateway said:\n{}",
            self.warnings.join("\n")
        );
        text
    }

    fn end(&self) -> Instant {
        self.samples.last().map_or(self.struck, |sample| sample.answered)
    }
}

fn between(samples: &[Sample], from: Instant, until: Instant) -> impl Iterator<Item = &Sample> {
    samples
        .iter()
        .filter(move |sample| (from..until).contains(&sample.sent))
}

fn longest(samples: &[Sample]) -> Duration {
    samples.iter().map(Sample::took).max().unwrap_or_default()
}

/// The nearest rank, of requests sent between the two moments.
fn percentile(percent: usize, samples: &[Sample], from: Instant, until: Instant) -> Duration {
    let mut times: Vec<Duration> = between(samples, from, until).map(Sample::took).collect();
    times.sort_unstable();
    let rank = (times.len() * percent).div_ceil(100);
    times.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
