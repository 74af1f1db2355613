//! What became of the requests: counts and latencies in all, by pod, by model version, by second and by step. Its size is bounded,
//! however long the load runs and whatever the servers say.
//!
//! Latencies are those of requests that succeeded: a failure is judged as such, and a quick one makes nothing look faster.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderValue;

use crate::client::{Answer, Outcome};
use crate::failure::{Failure, Kind};
use crate::latencies::Latencies;

/// Pods, and versions, that are told apart. What more there is counts as one.
const MAX_GROUPS: usize = 200;
const MANY: &str = "(others)";
/// Failed requests that are kept one by one.
const MAX_FAILED_REQUESTS: usize = 1000;
/// Marks beyond these are dropped.
const MAX_MARKS: usize = 200;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub ok: u64,
    pub failed: u64,
}

impl Counts {
    fn add(&mut self, is_ok: bool) {
        if is_ok {
            self.ok += 1;
        } else {
            self.failed += 1;
        }
    }

    pub fn total(self) -> u64 {
        self.ok + self.failed
    }
}

/// What answered under one name.
#[derive(Debug)]
pub struct Group {
    /// `None`: the answers did not say.
    pub name: Option<String>,
    /// An index of `versions`, for a pod.
    pub version: usize,
    pub counts: Counts,
    pub latencies: Latencies,
}

/// The requests that were due in one second.
#[derive(Debug, Default)]
pub struct Second {
    pub counts: Counts,
    pub failures: Vec<(Kind, u64)>,
    /// Of those that succeeded, how many each version answered, as indexed by `versions`.
    pub versions: Vec<u64>,
    pub latencies: SecondLatencies,
}

/// A histogram while requests of the second may be under way, and then what it came to.
#[derive(Debug)]
pub enum SecondLatencies {
    Open(Box<Latencies>),
    Closed(Summary),
}

impl Default for SecondLatencies {
    fn default() -> Self {
        Self::Open(Box::new(Latencies::coarse()))
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    pub p50: Option<Duration>,
    pub p99: Option<Duration>,
    pub max: Option<Duration>,
}

impl Summary {
    pub fn of(latencies: &Latencies) -> Self {
        Self {
            p50: latencies.percentile(50.0),
            p99: latencies.percentile(99.0),
            max: latencies.max(),
        }
    }
}

impl SecondLatencies {
    pub fn summary(&self) -> Summary {
        match self {
            Self::Open(latencies) => Summary::of(latencies),
            Self::Closed(summary) => *summary,
        }
    }
}

/// What was answered from one mark to the next.
#[derive(Debug)]
pub struct Step {
    pub at: Duration,
    /// `None` for what was before the first mark.
    pub text: Option<String>,
    pub counts: Counts,
    pub versions: Vec<u64>,
    pub latencies: Latencies,
}

impl Step {
    fn new(at: Duration, text: Option<String>) -> Self {
        Self {
            at,
            text,
            counts: Counts::default(),
            versions: Vec::new(),
            latencies: Latencies::coarse(),
        }
    }
}

#[derive(Debug)]
pub struct FailedRequest {
    pub due: Duration,
    pub took: Duration,
    pub failure: Failure,
    pub pod: Option<String>,
    pub version: Option<String>,
}

/// What was answered since it was last asked for.
#[derive(Debug)]
pub struct Tick {
    pub counts: Counts,
    pub versions: Vec<u64>,
    pub latencies: Latencies,
}

impl Default for Tick {
    fn default() -> Self {
        Self {
            counts: Counts::default(),
            versions: Vec::new(),
            latencies: Latencies::coarse(),
        }
    }
}

/// One request: when it was due and when it had ended, both from the end of the warm-up.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    pub due: Duration,
    pub ended: Duration,
}

#[derive(Debug)]
pub struct Recorder {
    pub warmup: Counts,
    pub counts: Counts,
    pub latencies: Latencies,
    /// How late this program was to send what a free connection waited for.
    pub lateness: Latencies,
    pub failures: BTreeMap<Kind, u64>,
    pub versions: Vec<Group>,
    pub pods: Vec<Group>,
    pub seconds: Vec<Second>,
    pub steps: Vec<Step>,
    pub failed_requests: Vec<FailedRequest>,
    tick: Tick,
    /// The last second that a request under way may have been due in lies at most so far back.
    open: Duration,
    first_open: usize,
}

impl Recorder {
    /// For requests that take no longer than `longest` from when they are due.
    pub fn new(longest: Duration) -> Self {
        Self {
            warmup: Counts::default(),
            counts: Counts::default(),
            latencies: Latencies::precise(),
            lateness: Latencies::coarse(),
            failures: BTreeMap::new(),
            versions: Vec::new(),
            pods: Vec::new(),
            seconds: Vec::new(),
            steps: vec![Step::new(Duration::ZERO, None)],
            failed_requests: Vec::new(),
            tick: Tick::default(),
            open: longest + Duration::from_secs(2),
            first_open: 0,
        }
    }

    /// A request that was due during the warm-up.
    pub fn record_warmup(&mut self, outcome: &Outcome) {
        self.warmup.add(outcome.result.is_ok());
        self.tick.counts.add(outcome.result.is_ok());
    }

    pub fn record(&mut self, span: Span, outcome: Outcome) {
        let latency = span.ended.saturating_sub(span.due);
        let is_ok = outcome.result.is_ok();
        let version = outcome
            .answer
            .as_ref()
            .map(|answer| self.record_answer(answer, is_ok, latency));

        self.counts.add(is_ok);
        self.tick.counts.add(is_ok);
        let step = self.steps.last_mut().expect("there is a step from the beginning");
        step.counts.add(is_ok);
        let served = version.filter(|_| is_ok);
        if let Some(version) = served {
            count(&mut self.tick.versions, version);
            count(&mut step.versions, version);
        }
        if is_ok {
            self.latencies.record(latency);
            self.tick.latencies.record(latency);
            step.latencies.record(latency);
        }
        self.record_second(span, served, outcome.result.as_ref().err().map(|failure| failure.kind));
        if let Err(failure) = outcome.result {
            *self.failures.entry(failure.kind).or_default() += 1;
            self.keep_failed(span, failure, outcome.answer);
        }
    }

    /// How long after it was due a request was sent, when a free connection had waited for it.
    pub fn record_lateness(&mut self, lateness: Duration) {
        self.lateness.record(lateness);
    }

    /// Requests that the load ended without.
    pub fn record_unfinished(&mut self, requests: u64, now: Duration) {
        for _ in 0..requests {
            let failure = Failure::new(Kind::Unfinished, "the load was ended");
            let span = Span { due: now, ended: now };
            self.record(span, failure.into());
        }
    }

    /// Requests that were recorded, in the warm-up or after.
    pub fn recorded(&self) -> u64 {
        self.warmup.total() + self.counts.total()
    }

    /// What is answered from now on belongs to `text`.
    pub fn mark(&mut self, at: Duration, text: String) {
        if self.steps.len() <= MAX_MARKS {
            self.steps.push(Step::new(at, Some(text)));
        }
    }

    pub fn take_tick(&mut self) -> Tick {
        std::mem::take(&mut self.tick)
    }

    pub fn version_name(&self, version: usize) -> Option<&str> {
        self.versions.get(version)?.name.as_deref()
    }

    /// Returns the version's index.
    fn record_answer(&mut self, answer: &Answer, is_ok: bool, latency: Duration) -> usize {
        let version = find(&mut self.versions, answer.version.as_ref(), None);
        let pod = find(&mut self.pods, answer.pod.as_ref(), Some(version));
        for group in [&mut self.versions[version], &mut self.pods[pod]] {
            group.counts.add(is_ok);
            if is_ok {
                group.latencies.record(latency);
            }
        }
        version
    }

    fn record_second(&mut self, span: Span, version: Option<usize>, failed: Option<Kind>) {
        let number = usize::try_from(span.due.as_secs()).expect("a run's seconds are few");
        if self.seconds.len() <= number {
            self.seconds.resize_with(number + 1, Second::default);
        }
        let second = &mut self.seconds[number];
        second.counts.add(failed.is_none());
        if let Some(version) = version {
            count(&mut second.versions, version);
        }
        match (failed, &mut second.latencies) {
            (Some(kind), _) => match second.failures.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, failures)) => *failures += 1,
                None => second.failures.push((kind, 1)),
            },
            (None, SecondLatencies::Open(latencies)) => latencies.record(span.ended.saturating_sub(span.due)),
            // Cannot be, by what `new` was told.
            (None, SecondLatencies::Closed(_)) => {}
        }
        self.close_seconds(span.ended);
    }

    /// Lets go of the histograms of seconds that are over.
    fn close_seconds(&mut self, now: Duration) {
        let over = now.saturating_sub(self.open).as_secs();
        while self.first_open < self.seconds.len() && (self.first_open as u64) < over {
            let latencies = &mut self.seconds[self.first_open].latencies;
            *latencies = SecondLatencies::Closed(latencies.summary());
            self.first_open += 1;
        }
    }

    fn keep_failed(&mut self, span: Span, failure: Failure, answer: Option<Answer>) {
        if self.failed_requests.len() >= MAX_FAILED_REQUESTS {
            return;
        }
        let answer = answer.unwrap_or_default();
        self.failed_requests.push(FailedRequest {
            due: span.due,
            took: span.ended.saturating_sub(span.due),
            failure,
            pod: answer.pod.as_ref().map(text),
            version: answer.version.as_ref().map(text),
        });
    }
}

/// The index of the group of this name, and for a pod of this version too. A linear search: there are few.
fn find(groups: &mut Vec<Group>, name: Option<&HeaderValue>, version: Option<usize>) -> usize {
    let version = version.unwrap_or_default();
    let is_same = |group: &Group| {
        group.version == version && group.name.as_deref().map(str::as_bytes) == name.map(HeaderValue::as_bytes)
    };
    if let Some(known) = groups.iter().position(is_same) {
        return known;
    }
    let (name, version) = match groups.len() {
        MAX_GROUPS.. => return MAX_GROUPS - 1,
        last if last == MAX_GROUPS - 1 => (Some(MANY.to_owned()), 0),
        _ => (name.map(text), version),
    };
    groups.push(Group {
        name,
        version,
        counts: Counts::default(),
        latencies: Latencies::precise(),
    });
    groups.len() - 1
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn count(counts: &mut Vec<u64>, index: usize) {
    if counts.len() <= index {
        counts.resize(index + 1, 0);
    }
    counts[index] += 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LONGEST: Duration = Duration::from_secs(2);

    fn answered(pod: &str, version: &str, result: Result<(), Failure>) -> Outcome {
        let header = |text: &str| HeaderValue::from_str(text).ok();
        let answer = Some(Answer {
            pod: header(pod),
            version: header(version),
        });
        Outcome { result, answer }
    }

    fn span(due: u64, took: u64) -> Span {
        let due = Duration::from_millis(due);
        let ended = due + Duration::from_millis(took);
        Span { due, ended }
    }

    fn failed(kind: Kind) -> Failure {
        Failure::new(kind, "")
    }

    proptest! {
        /// However a request ends, it is in every total once.
        #[test]
        fn every_sum_is_the_total(requests in proptest::collection::vec(
            (0u64..20_000, 0u64..2000, 0usize..4, 0usize..3, 0u8..4), 1..400,
        )) {
            let mut recorder = Recorder::new(LONGEST);
            let mut due: Vec<_> = requests.clone();
            due.sort_unstable_by_key(|request| request.0 + request.1);
            for (at, took, pod, version, end) in due {
                let pod = format!("pod-{pod}");
                let version = format!("{version}.0");
                let outcome = match end {
                    0 => failed(Kind::Refused).into(),
                    1 => answered(&pod, &version, Err(failed(Kind::Status(503)))),
                    _ => answered(&pod, &version, Ok(())),
                };
                if at == 10_000 {
                    recorder.mark(Duration::from_millis(at), "half".to_owned());
                }
                recorder.record(span(at, took), outcome);
            }
            let total = requests.len() as u64;
            let failures = recorder.counts.failed;
            prop_assert_eq!(recorder.counts.total(), total);
            prop_assert_eq!(recorder.latencies.count(), recorder.counts.ok);
            prop_assert_eq!(recorder.failures.values().sum::<u64>(), failures);
            prop_assert_eq!(recorder.seconds.iter().map(|second| second.counts.total()).sum::<u64>(), total);
            prop_assert_eq!(recorder.steps.iter().map(|step| step.counts.total()).sum::<u64>(), total);
            let by_version = |second: &Second| second.versions.iter().sum::<u64>();
            prop_assert_eq!(recorder.seconds.iter().map(by_version).sum::<u64>(), recorder.counts.ok);
            let by_second = |second: &Second| second.failures.iter().map(|(_, count)| count).sum::<u64>();
            prop_assert_eq!(recorder.seconds.iter().map(by_second).sum::<u64>(), failures);
            let answers = total - recorder.failures.get(&Kind::Refused).copied().unwrap_or(0);
            let sum = |groups: &[Group]| groups.iter().map(|group| group.counts.total()).sum::<u64>();
            prop_assert_eq!(sum(&recorder.pods), answers);
            prop_assert_eq!(sum(&recorder.versions), answers);
            prop_assert_eq!(recorder.failed_requests.len() as u64, failures);
        }
    }

    #[test]
    fn a_pod_name_that_changes_its_version_is_two_groups() {
        let mut recorder = Recorder::new(LONGEST);
        for version in ["1.0", "2.0", "2.0"] {
            recorder.record(span(0, 1), answered("ml-inference-1", version, Ok(())));
        }
        let counts: Vec<_> = recorder.pods.iter().map(|pod| (pod.version, pod.counts.ok)).collect();
        assert_eq!(counts, [(0, 1), (1, 2)]);
        assert_eq!(recorder.version_name(1), Some("2.0"));
    }

    #[test]
    fn a_server_that_names_itself_anew_each_time_does_not_fill_the_memory() {
        let mut recorder = Recorder::new(LONGEST);
        for number in 0..1000 {
            recorder.record(
                span(0, 1),
                answered(&format!("pod-{number}"), "1.0", Err(failed(Kind::Status(500)))),
            );
        }
        assert_eq!(recorder.pods.len(), MAX_GROUPS);
        let last = recorder.pods.last().expect("groups");
        assert_eq!((last.name.as_deref(), last.counts.failed), (Some(MANY), 801));
        for number in 0..1000 {
            recorder.record(span(0, 1), failed(Kind::Reset).into());
            recorder.mark(Duration::ZERO, number.to_string());
        }
        assert_eq!(recorder.failed_requests.len(), MAX_FAILED_REQUESTS);
        assert_eq!(recorder.steps.len(), MAX_MARKS + 1);
    }

    #[test]
    fn seconds_that_are_over_keep_their_figures_and_no_histogram() {
        let mut recorder = Recorder::new(LONGEST);
        recorder.record(span(500, 30), answered("a", "1", Ok(())));
        recorder.record(span(9000, 50), answered("a", "1", Ok(())));
        assert!(matches!(recorder.seconds[0].latencies, SecondLatencies::Closed(_)));
        assert!(matches!(recorder.seconds[9].latencies, SecondLatencies::Open(_)));
        let first = recorder.seconds[0].latencies.summary();
        assert_eq!(first.p50.map(|p50| p50.as_millis()), Some(30));
        assert_eq!(recorder.seconds[5].latencies.summary(), Summary::default());
    }

    #[test]
    fn a_failure_has_no_part_in_the_latencies() {
        let mut recorder = Recorder::new(LONGEST);
        recorder.record(span(0, 100), answered("a", "1", Ok(())));
        recorder.record(span(0, 1), answered("a", "1", Err(failed(Kind::Status(503)))));
        assert_eq!(recorder.latencies.count(), 1);
        assert_eq!(recorder.pods[0].latencies.count(), 1);
        assert_eq!(recorder.pods[0].counts, Counts { ok: 1, failed: 1 });
    }
}
