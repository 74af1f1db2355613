//! The report: what was asked for, what came of it, and whether that is good. The field names are those of the JSON file, which
//! scripts/README.md documents; the units are in the names.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::arguments::{Limit, Options};
use crate::latencies::Latencies;
use crate::load::Finished;
use crate::millis::{ms, rounded};
use crate::recorder::{Counts, Group, Recorder, Second, Step, Summary};
use crate::target::Protocol;

/// Of the JSON file; a change that would break a reader raises it.
const FORMAT: u32 = 1;

#[derive(Debug, Serialize)]
pub struct Report {
    pub format: u32,
    pub url: String,
    pub method: String,
    pub protocol: &'static str,
    pub mode: &'static str,
    pub rate_per_s: Option<u32>,
    pub connections: u32,
    pub streams: u32,
    pub started: String,
    pub warmup_s: f64,
    pub duration_s: f64,
    pub measured_s: f64,
    pub ended_early: bool,
    pub timeout_s: f64,
    pub passed: bool,
    pub thresholds: Vec<Threshold>,
    pub requests: u64,
    pub ok: u64,
    pub failed: u64,
    pub requests_per_s: f64,
    pub failures: BTreeMap<String, u64>,
    pub latency_ms: Option<LatencyMs>,
    pub distribution: Vec<Point>,
    pub versions: Vec<Answers>,
    pub pods: Vec<Answers>,
    pub steps: Vec<StepReport>,
    pub timeline: Vec<SecondReport>,
    pub failed_requests: Vec<FailedRequest>,
    pub warmup_requests: u64,
    pub warmup_failed: u64,
    pub lateness_ms: Option<LatenessMs>,
}

/// What was demanded, and whether it was met.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Threshold {
    pub name: String,
    pub limit: f64,
    pub value: Option<f64>,
    pub met: bool,
}

#[derive(Debug, Serialize)]
pub struct LatencyMs {
    pub min: f64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    #[serde(rename = "p99.9")]
    pub p99_9: f64,
    pub max: f64,
}

#[derive(Debug, Serialize)]
pub struct LatenessMs {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

/// `percent` of the requests took no longer than `latency_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    pub percent: f64,
    pub latency_ms: f64,
}

#[derive(Debug, Serialize)]
pub struct Answers {
    /// `null`: the answers did not say.
    pub name: Option<String>,
    /// A pod's model version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub requests: u64,
    pub failed: u64,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
}

#[derive(Debug, Serialize)]
pub struct StepReport {
    pub at_s: f64,
    pub text: Option<String>,
    pub requests: u64,
    pub failed: u64,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub versions: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
pub struct SecondReport {
    pub second: usize,
    pub ok: u64,
    pub failed: u64,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub max_ms: Option<f64>,
    pub versions: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub failures: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
pub struct FailedRequest {
    pub due_s: f64,
    pub took_ms: f64,
    pub kind: String,
    pub detail: String,
    pub pod: Option<String>,
    pub version: Option<String>,
}

impl Report {
    pub fn new(options: &Options, finished: Finished) -> Self {
        let Finished { recorder, measured, .. } = &finished;
        let thresholds = thresholds(options, recorder);
        let counts = recorder.counts;
        Self {
            format: FORMAT,
            url: options.target.url.clone(),
            method: options.template.method().to_string(),
            protocol: match options.protocol {
                Protocol::KeepAlive => "HTTP/1.1",
                Protocol::NewConnections => "HTTP/1.1, a new connection for each request",
                Protocol::Http2 => "HTTP/2",
            },
            mode: if options.rate.is_some() {
                "constant rate"
            } else {
                "closed loop"
            },
            rate_per_s: options.rate,
            connections: options.connections,
            streams: options.streams,
            started: finished.started.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
            warmup_s: options.warmup.as_secs_f64(),
            duration_s: options.duration.as_secs_f64(),
            measured_s: rounded(measured.as_secs_f64()),
            ended_early: finished.ended_early,
            timeout_s: options.timeout.as_secs_f64(),
            passed: counts.total() > 0 && thresholds.iter().all(|threshold| threshold.met),
            thresholds,
            requests: counts.total(),
            ok: counts.ok,
            failed: counts.failed,
            requests_per_s: per_second(counts.total(), *measured),
            failures: by_kind(recorder.failures.iter().map(|(kind, count)| (*kind, *count))),
            latency_ms: latency_ms(&recorder.latencies),
            distribution: distribution(&recorder.latencies),
            versions: recorder.versions.iter().map(|group| answers(group, None)).collect(),
            pods: pods(recorder),
            steps: steps(recorder),
            timeline: timeline(recorder),
            failed_requests: recorder.failed_requests.iter().map(failed_request).collect(),
            warmup_requests: recorder.warmup.total(),
            warmup_failed: recorder.warmup.failed,
            lateness_ms: lateness_ms(&recorder.lateness),
        }
    }

    /// How many connections, and what they are.
    pub fn connections(&self) -> String {
        let plural = if self.connections == 1 { "" } else { "s" };
        let connections = format!("{} connection{plural}", self.connections);
        match self.streams {
            1 => format!("{connections}, {}", self.protocol),
            streams => format!("{connections} with {streams} streams, {}", self.protocol),
        }
    }

    /// The closing line of every load.
    pub fn verdict(&self) -> String {
        format!("failed requests: {} of {}", self.failed, self.requests)
    }
}

fn per_second(requests: u64, measured: Duration) -> f64 {
    if measured.is_zero() {
        return 0.0;
    }
    rounded(requests as f64 / measured.as_secs_f64())
}

fn thresholds(options: &Options, recorder: &Recorder) -> Vec<Threshold> {
    let Counts { failed, .. } = recorder.counts;
    let mut thresholds = vec![Threshold {
        name: "failed requests".to_owned(),
        limit: options.max_failed as f64,
        value: Some(failed as f64),
        met: failed <= options.max_failed,
    }];
    for Limit { percent, longest } in &options.limits {
        let latency = recorder.latencies.percentile(*percent);
        thresholds.push(Threshold {
            name: format!("p{percent} ms"),
            limit: ms(*longest),
            value: latency.map(ms),
            // Without a single answer in time it was not met either.
            met: latency.is_some_and(|latency| latency <= *longest),
        });
    }
    thresholds
}

fn latency_ms(latencies: &Latencies) -> Option<LatencyMs> {
    let percentile = |percent| latencies.percentile(percent).map(ms);
    Some(LatencyMs {
        min: ms(latencies.min()?),
        mean: ms(latencies.mean()?),
        p50: percentile(50.0)?,
        p90: percentile(90.0)?,
        p99: percentile(99.0)?,
        p99_9: percentile(99.9)?,
        max: ms(latencies.max()?),
    })
}

fn lateness_ms(lateness: &Latencies) -> Option<LatenessMs> {
    Some(LatenessMs {
        p50: ms(lateness.percentile(50.0)?),
        p99: ms(lateness.percentile(99.0)?),
        max: ms(lateness.max()?),
    })
}

/// Halfway to 100 % again and again, as far as there are requests to tell it: the far end is what matters.
fn distribution(latencies: &Latencies) -> Vec<Point> {
    const STEPS_A_HALF: i32 = 4;
    let mut points = Vec::new();
    for step in 0.. {
        let above = 0.5_f64.powf(f64::from(step) / f64::from(STEPS_A_HALF));
        let is_last = above * (latencies.count() as f64) < 1.0;
        let percent = if is_last { 100.0 } else { (1.0 - above) * 100.0 };
        let Some(latency) = latencies.percentile(percent) else {
            break;
        };
        let latency_ms = ms(latency);
        let percent = (percent * 1e6).round() / 1e6;
        points.push(Point { percent, latency_ms });
        if is_last {
            break;
        }
    }
    points
}

fn by_kind(failures: impl Iterator<Item = (crate::failure::Kind, u64)>) -> BTreeMap<String, u64> {
    failures.map(|(kind, count)| (kind.to_string(), count)).collect()
}

fn answers(group: &Group, version: Option<String>) -> Answers {
    Answers {
        name: group.name.clone(),
        version,
        requests: group.counts.total(),
        failed: group.counts.failed,
        p50_ms: group.latencies.percentile(50.0).map(ms),
        p99_ms: group.latencies.percentile(99.0).map(ms),
    }
}

fn pods(recorder: &Recorder) -> Vec<Answers> {
    let version = |pod: &Group| recorder.version_name(pod.version).map(str::to_owned);
    let mut pods: Vec<Answers> = recorder.pods.iter().map(|pod| answers(pod, version(pod))).collect();
    pods.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    pods
}

/// Those that answered, by name.
fn versions(answers: &[u64], recorder: &Recorder) -> BTreeMap<String, u64> {
    let named = |version| recorder.version_name(version).unwrap_or_default().to_owned();
    let answered = answers.iter().enumerate().filter(|(_, answers)| **answers > 0);
    answered.map(|(version, answers)| (named(version), *answers)).collect()
}

/// A load that was marked at once has nothing before its first mark.
fn steps(recorder: &Recorder) -> Vec<StepReport> {
    let told = recorder
        .steps
        .iter()
        .filter(|step| step.text.is_some() || step.counts.total() > 0);
    told.map(|step| step_report(step, recorder)).collect()
}

fn step_report(step: &Step, recorder: &Recorder) -> StepReport {
    StepReport {
        at_s: rounded(step.at.as_secs_f64()),
        text: step.text.clone(),
        requests: step.counts.total(),
        failed: step.counts.failed,
        p50_ms: step.latencies.percentile(50.0).map(ms),
        p99_ms: step.latencies.percentile(99.0).map(ms),
        versions: versions(&step.versions, recorder),
    }
}

fn timeline(recorder: &Recorder) -> Vec<SecondReport> {
    let report = |(number, second): (usize, &Second)| {
        let Summary { p50, p99, max } = second.latencies.summary();
        SecondReport {
            second: number,
            ok: second.counts.ok,
            failed: second.counts.failed,
            p50_ms: p50.map(ms),
            p99_ms: p99.map(ms),
            max_ms: max.map(ms),
            versions: versions(&second.versions, recorder),
            failures: by_kind(second.failures.iter().copied()),
        }
    };
    recorder.seconds.iter().enumerate().map(report).collect()
}

fn failed_request(request: &crate::recorder::FailedRequest) -> FailedRequest {
    FailedRequest {
        due_s: rounded(request.due.as_secs_f64()),
        took_ms: ms(request.took),
        kind: request.failure.kind.to_string(),
        detail: request.failure.detail.clone(),
        pod: request.pod.clone(),
        version: request.version.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_distribution_rises_to_the_slowest_request(values in proptest::collection::vec(1u64..5_000_000, 1..500)) {
            let mut latencies = Latencies::precise();
            for value in &values {
                latencies.record(Duration::from_micros(*value));
            }
            let points = distribution(&latencies);
            prop_assert!(points.is_sorted_by(|a, b| a.percent < b.percent && a.latency_ms <= b.latency_ms), "{points:?}");
            let last = points.last().expect("points");
            prop_assert_eq!(last.percent, 100.0);
            prop_assert_eq!(Some(last.latency_ms), latencies.max().map(ms));
        }
    }

    #[test]
    fn no_request_has_no_latency() {
        assert!(distribution(&Latencies::precise()).is_empty());
        assert!(latency_ms(&Latencies::precise()).is_none());
        assert_eq!(per_second(0, Duration::ZERO), 0.0);
    }
}
