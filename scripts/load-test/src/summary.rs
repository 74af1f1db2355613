//! The report as text for a terminal.

use std::fmt::Write as _;

use crate::millis::number;
use crate::report::{Answers, FailedRequest, LatencyMs, Report};

/// A program that is late itself measures itself.
const NOTABLE_LATENESS_MS: f64 = 5.0;
const FAILED_SECONDS: usize = 15;

/// Writing to a String cannot fail.
macro_rules! line {
    ($text:expr) => { $text.push('\n') };
    ($text:expr, $($format:tt)*) => {{ let _infallible = writeln!($text, $($format)*); }};
}

/// Everything but the verdict, which is the last line.
pub fn text(report: &Report) -> String {
    let mut text = String::new();
    head(&mut text, report);
    failures(&mut text, report);
    groups(&mut text, "model version", &report.versions);
    groups(&mut text, "pod", &report.pods);
    steps(&mut text, report);
    let notes = notes(report);
    if !notes.is_empty() {
        line!(text);
    }
    for note in notes {
        line!(text, "{note}");
    }
    text
}

fn optional(ms: Option<f64>) -> String {
    ms.map_or_else(|| "-".to_owned(), number)
}

fn head(text: &mut String, report: &Report) {
    let load = match report.rate_per_s {
        Some(rate) => format!("{rate} requests a second"),
        None => "as fast as it answers".to_owned(),
    };
    line!(
        text,
        "{} {}: {:.1} s, {load}, {}",
        report.method,
        report.url,
        report.measured_s,
        report.connections()
    );
    line!(text);
    line!(
        text,
        "requests   {} ({:.1} a second)",
        report.requests,
        report.requests_per_s
    );
    line!(text, "ok         {}", report.ok);
    line!(text, "failed     {}", report.failed);
    if let Some(LatencyMs {
        min,
        mean,
        p50,
        p90,
        p99,
        p99_9,
        max,
    }) = report.latency_ms
    {
        line!(
            text,
            "latency    p50 {}  p90 {}  p99 {}  p99.9 {}  max {} ms  (min {}, mean {})",
            number(p50),
            number(p90),
            number(p99),
            number(p99_9),
            number(max),
            number(min),
            number(mean)
        );
    }
}

fn failures(text: &mut String, report: &Report) {
    if report.failures.is_empty() {
        return;
    }
    line!(text);
    line!(text, "{:<18} {:>8} {:>12}  by", "failure", "requests", "first due s");
    for (kind, count) in &report.failures {
        let first = report.failed_requests.iter().find(|request| request.kind == *kind);
        let due = first.map_or_else(|| "-".to_owned(), |request| format!("{:.3}", request.due_s));
        let by = first.map_or("-", named_by);
        line!(text, "{kind:<18} {count:>8} {due:>12}  {by}");
    }
    line!(text);
    line!(text, "{:>6} {:>7}", "second", "failed");
    let seconds = report.timeline.iter().filter(|second| second.failed > 0);
    for second in seconds.clone().take(FAILED_SECONDS) {
        let kinds: Vec<String> = second
            .failures
            .iter()
            .map(|(kind, count)| format!("{kind}: {count}"))
            .collect();
        line!(text, "{:>6} {:>7}  {}", second.second, second.failed, kinds.join(", "));
    }
    let more = seconds.count().saturating_sub(FAILED_SECONDS);
    if more > 0 {
        line!(text, "{:>6} {more} seconds more", "and");
    }
}

/// The pod that answered, or what went wrong instead.
fn named_by(request: &FailedRequest) -> &str {
    match (&request.pod, request.detail.as_str()) {
        (Some(pod), _) => pod,
        (None, "") => "-",
        (None, detail) => detail,
    }
}

fn groups(text: &mut String, what: &str, groups: &[Answers]) {
    let names: Vec<String> = groups.iter().map(group_name).collect();
    // Answers that name nobody make no table.
    if groups.iter().all(|group| group.name.is_none()) {
        return;
    }
    let width = names
        .iter()
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0)
        .max(what.len());
    line!(text);
    line!(
        text,
        "{what:<width$} {:>9} {:>7} {:>8} {:>8}",
        "requests",
        "failed",
        "p50 ms",
        "p99 ms"
    );
    for (name, group) in names.iter().zip(groups) {
        let (p50, p99) = (optional(group.p50_ms), optional(group.p99_ms));
        line!(
            text,
            "{name:<width$} {:>9} {:>7} {p50:>8} {p99:>8}",
            group.requests,
            group.failed
        );
    }
}

pub fn group_name(group: &Answers) -> String {
    let name = group.name.as_deref().unwrap_or("(not named)");
    match &group.version {
        Some(version) => format!("{name} ({version})"),
        None => name.to_owned(),
    }
}

fn steps(text: &mut String, report: &Report) {
    if report.steps.iter().all(|step| step.text.is_none()) {
        return;
    }
    line!(text);
    line!(
        text,
        "{:>7} {:>9} {:>7} {:>8} {:>8}  step",
        "from s",
        "requests",
        "failed",
        "p50 ms",
        "p99 ms"
    );
    for step in &report.steps {
        let (p50, p99) = (optional(step.p50_ms), optional(step.p99_ms));
        let title = step.text.as_deref().unwrap_or("start");
        line!(
            text,
            "{:>7.1} {:>9} {:>7} {p50:>8} {p99:>8}  {title}",
            step.at_s,
            step.requests,
            step.failed
        );
        let versions: Vec<String> = step
            .versions
            .iter()
            .filter(|(name, _)| !name.is_empty())
            .map(|(name, answers)| format!("{name}: {answers}"))
            .collect();
        if !versions.is_empty() {
            line!(text, "{:>43}  answers of version {}", "", versions.join(", "));
        }
    }
}

/// What else there is to know: what was missed, above all.
pub fn notes(report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    if report.warmup_requests > 0 {
        let (requests, failed) = (report.warmup_requests, report.warmup_failed);
        notes.push(format!("warm-up: {requests} requests, {failed} failed, none counted"));
    }
    if report.ended_early {
        notes.push("ended by a signal".to_owned());
    }
    if let Some(lateness) = report
        .lateness_ms
        .as_ref()
        .filter(|lateness| lateness.p99 > NOTABLE_LATENESS_MS)
    {
        notes.push(format!(
            "this program was late itself, which the latencies contain: p99 {}, max {} ms; is the machine busy?",
            number(lateness.p99),
            number(lateness.max)
        ));
    }
    for threshold in report.thresholds.iter().filter(|threshold| !threshold.met) {
        let text = |value: f64| match threshold.name.ends_with("ms") {
            true => number(value),
            false => value.to_string(),
        };
        let value = threshold.value.map_or_else(|| "none".to_owned(), text);
        let (name, limit) = (&threshold.name, text(threshold.limit));
        notes.push(format!("missed: {name}: {value}, at most {limit} wanted"));
    }
    if report.requests == 0 {
        notes.push("missed: no request was made".to_owned());
    }
    notes
}
