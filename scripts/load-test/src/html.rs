//! The report as one page that needs nothing else: no script, no font, no picture from elsewhere.

mod chart;
mod escape;
mod scale;

use std::fmt::Write as _;

use crate::millis::number;
use crate::report::{Answers, Report};
use crate::summary::{group_name, notes};
use chart::{Timeline, VERSION_COLOURS};
use escape::escape;

const STYLE: &str = include_str!("html/style.css");

pub fn page(report: &Report) -> String {
    let mut body = String::new();
    head(&mut body, report);
    tiles(&mut body, report);
    missed(&mut body, report);
    over_time(&mut body, report);
    steps(&mut body, report);
    failures(&mut body, report);
    body.push_str("<div class=\"two\">");
    versions(&mut body, report);
    percentiles(&mut body, report);
    body.push_str("</div>");
    pods(&mut body, report);
    failed_requests(&mut body, report);
    let title = escape(&report.verdict());
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title>\n<style>\n{STYLE}</style></head>\n<body><main>\n{body}</main></body>\n</html>\n"
    )
}

/// Writing to a String cannot fail.
macro_rules! add {
    ($body:expr, $($format:tt)*) => {{ let _infallible = write!($body, $($format)*); }};
}

fn head(body: &mut String, report: &Report) {
    let (class, word) = if report.passed {
        ("passed", "passed")
    } else {
        ("failed", "failed")
    };
    let load = match report.rate_per_s {
        Some(rate) => format!("{rate} requests a second"),
        None => "as fast as it answers".to_owned(),
    };
    add!(
        body,
        "<header><h1>{}</h1><span class=\"verdict {class}\">{word}</span></header>\n",
        escape(&report.verdict())
    );
    add!(
        body,
        "<p class=\"about\">{} {}<br>{} · {:.1} s · {load} · {}</p>\n",
        escape(&report.method),
        escape(&report.url),
        escape(&report.started),
        report.measured_s,
        report.connections()
    );
}

fn tiles(body: &mut String, report: &Report) {
    body.push_str("<div class=\"tiles\">");
    tile(body, "requests", &report.requests.to_string(), "", false);
    tile(body, "a second", &format!("{:.1}", report.requests_per_s), "", false);
    tile(body, "failed", &report.failed.to_string(), "", report.failed > 0);
    if let Some(latency) = &report.latency_ms {
        for (name, value) in [
            ("p50", latency.p50),
            ("p90", latency.p90),
            ("p99", latency.p99),
            ("p99.9", latency.p99_9),
            ("slowest", latency.max),
        ] {
            let is_missed = |missed: &&crate::report::Threshold| !missed.met && missed.name == format!("{name} ms");
            let missed = report.thresholds.iter().find(is_missed);
            tile(body, name, &number(value), " ms", missed.is_some());
        }
    }
    body.push_str("</div>\n");
}

fn tile(body: &mut String, name: &str, value: &str, unit: &str, bad: bool) {
    let class = if bad { "tile bad" } else { "tile" };
    add!(
        body,
        "<div class=\"{class}\"><span>{name}</span><b>{value}</b><small>{unit}</small></div>"
    );
}

fn missed(body: &mut String, report: &Report) {
    let notes = notes(report);
    if notes.is_empty() {
        return;
    }
    let class = if report.passed { "" } else { " class=\"notes\"" };
    add!(body, "<section{class}>");
    for note in notes {
        add!(body, "<p>{}</p>", escape(&note));
    }
    body.push_str("</section>\n");
}

fn over_time(body: &mut String, report: &Report) {
    if report.timeline.is_empty() {
        return;
    }
    let timeline = Timeline::new(report);
    body.push_str("<section><h2>Requests a second</h2><p>by the model version that answered");
    match timeline.seconds_a_column() {
        1 => body.push_str(", in the second in which they were due"),
        seconds => add!(body, "; each column is of {seconds} seconds"),
    }
    body.push_str("</p><div class=\"legend\">");
    for (version, group) in report
        .versions
        .iter()
        .enumerate()
        .filter(|(_, group)| group.requests > group.failed)
    {
        let name = match &group.name {
            Some(name) => format!("version {name}"),
            None => "ok, no version named".to_owned(),
        };
        legend(body, &format!("--v{}", version % VERSION_COLOURS), &name);
    }
    if report.failed > 0 {
        legend(body, "--bad", "failed");
    }
    add!(body, "</div>{}</section>\n", timeline.requests());
    let Some(latency) = timeline.latency() else {
        return;
    };
    body.push_str("<section><h2>Latency</h2><p>of the requests that succeeded; logarithmic");
    if timeline.seconds_a_column() > 1 {
        body.push_str("; of a column's seconds the middle p50, and the worst p99");
    }
    body.push_str("</p><div class=\"legend\">");
    for (colour, name) in [("--p50", "p50"), ("--p99", "p99"), ("--max", "slowest")] {
        legend(body, colour, name);
    }
    add!(body, "</div>{latency}</section>\n");
}

fn legend(body: &mut String, colour: &str, name: &str) {
    add!(
        body,
        "<span><i style=\"background:var({colour})\"></i>{}</span>",
        escape(name)
    );
}

fn steps(body: &mut String, report: &Report) {
    if report.steps.iter().all(|step| step.text.is_none()) {
        return;
    }
    body.push_str(
        "<section><h2>Steps</h2><p>what ended from one mark to the next</p><table><tr><th>from</th><th class=\"text\">step</th>\
         <th class=\"text\">answers by version</th><th>requests</th><th>failed</th><th>p50 ms</th><th>p99 ms</th></tr>",
    );
    for step in &report.steps {
        let versions: Vec<String> = step
            .versions
            .iter()
            .map(|(name, count)| format!("{}: {count}", named(name)))
            .collect();
        add!(
            body,
            "<tr><td>{:.1} s</td><td class=\"text\">{}</td><td class=\"text\">{}</td><td>{}</td>{}<td>{}</td><td>{}</td></tr>",
            step.at_s,
            escape(step.text.as_deref().unwrap_or("start")),
            escape(&versions.join(", ")),
            step.requests,
            failed_cell(step.failed),
            optional(step.p50_ms),
            optional(step.p99_ms)
        );
    }
    body.push_str("</table></section>\n");
}

fn named(version: &str) -> &str {
    if version.is_empty() { "no version" } else { version }
}

fn failures(body: &mut String, report: &Report) {
    if report.failures.is_empty() {
        return;
    }
    body.push_str("<section><h2>Failures</h2><table><tr><th class=\"text\">kind</th><th>requests</th><th class=\"share\"></th></tr>");
    for (kind, count) in &report.failures {
        let bar = bar(*count, report.failed, "--bad");
        add!(
            body,
            "<tr><td class=\"text\">{kind}</td><td>{count}</td><td class=\"text\">{bar}</td></tr>"
        );
    }
    body.push_str("</table></section>\n");
}

fn versions(body: &mut String, report: &Report) {
    if name_nobody(&report.versions) {
        return;
    }
    body.push_str("<section><h2>Model versions</h2>");
    answers(body, "version", &report.versions, |version, _| {
        version % VERSION_COLOURS
    });
    body.push_str("</section>\n");
}

fn pods(body: &mut String, report: &Report) {
    if name_nobody(&report.pods) {
        return;
    }
    body.push_str("<section><h2>Pods</h2>");
    answers(body, "pod (version)", &report.pods, |_, pod| {
        let version = report.versions.iter().position(|version| version.name == pod.version);
        version.unwrap_or(0) % VERSION_COLOURS
    });
    body.push_str("</section>\n");
}

fn name_nobody(groups: &[Answers]) -> bool {
    groups.iter().all(|group| group.name.is_none())
}

fn answers(body: &mut String, what: &str, groups: &[Answers], colour: impl Fn(usize, &Answers) -> usize) {
    add!(
        body,
        "<table><tr><th class=\"text\">{what}</th><th>requests</th><th class=\"share\"></th><th>failed</th><th>p50 ms</th><th>p99 ms</th></tr>"
    );
    let most = groups.iter().map(|group| group.requests).max().unwrap_or(0);
    for (index, group) in groups.iter().enumerate() {
        add!(
            body,
            "<tr><td class=\"text\">{}</td><td>{}</td><td class=\"text\">{}</td>{}<td>{}</td><td>{}</td></tr>",
            escape(&group_name(group)),
            group.requests,
            bar(group.requests, most, &format!("--v{}", colour(index, group))),
            failed_cell(group.failed),
            optional(group.p50_ms),
            optional(group.p99_ms)
        );
    }
    body.push_str("</table>");
}

fn percentiles(body: &mut String, report: &Report) {
    if let Some(chart) = chart::distribution(&report.distribution) {
        add!(
            body,
            "<section><h2>Latency by percentile</h2><p>so many per cent of the requests took no longer; both ways logarithmic</p>{chart}</section>\n"
        );
    }
}

fn failed_requests(body: &mut String, report: &Report) {
    const SHOWN: usize = 50;
    if report.failed_requests.is_empty() {
        return;
    }
    add!(body, "<section><h2>Failed requests</h2>");
    if report.failed > SHOWN as u64 {
        add!(
            body,
            "<p>the first {SHOWN} of {}; the JSON report has a thousand</p>",
            report.failed
        );
    }
    body.push_str(
        "<table><tr><th>due</th><th class=\"text\">kind</th><th>after ms</th><th class=\"text\">answered by</th>\
         <th class=\"text\">error</th></tr>",
    );
    for request in report.failed_requests.iter().take(SHOWN) {
        let by = match (&request.pod, &request.version) {
            (Some(pod), Some(version)) => format!("{pod} ({version})"),
            (Some(name), None) | (None, Some(name)) => name.clone(),
            (None, None) => String::new(),
        };
        add!(
            body,
            "<tr><td>{:.3} s</td><td class=\"text\">{}</td><td>{}</td><td class=\"text\">{}</td><td class=\"text\">{}</td></tr>",
            request.due_s,
            escape(&request.kind),
            number(request.took_ms),
            escape(&by),
            escape(&request.detail)
        );
    }
    body.push_str("</table></section>\n");
}

fn bar(value: u64, most: u64, colour: &str) -> String {
    let percent = 100.0 * value as f64 / most.max(1) as f64;
    format!("<span class=\"bar\" style=\"width:{percent:.1}%;background:var({colour})\"></span>")
}

fn failed_cell(failed: u64) -> String {
    let class = if failed > 0 { " class=\"bad\"" } else { "" };
    format!("<td{class}>{failed}</td>")
}

fn optional(ms: Option<f64>) -> String {
    ms.map_or_else(|| "–".to_owned(), number)
}
