//! The charts, as SVG inside of the page. Colours are the style sheet's, so that they follow light and dark.

use std::fmt::Write as _;

use super::escape::escape;
use super::scale::{Linear, Logarithmic, step};
use crate::millis::number;
use crate::report::{Point, Report, SecondReport};

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 12.0;
const BOTTOM: f64 = 32.0;
/// More columns than these nobody sees apart; then each is of several seconds.
const MAX_COLUMNS: usize = 300;
/// Colours there are for versions; then they begin anew.
pub(super) const VERSION_COLOURS: usize = 8;
const MARK_ROWS: usize = 3;
const MARK_ROW_HEIGHT: f64 = 16.0;
const MARK_LETTERS: usize = 44;
/// Of the page's font, roughly.
const LETTER_WIDTH: f64 = 6.6;

/// Where a chart's figures are drawn.
struct Plot {
    width: f64,
    top: f64,
    bottom: f64,
}

impl Plot {
    fn new(width: f64, top: f64, height: f64) -> Self {
        let bottom = top + height;
        Self { width, top, bottom }
    }

    fn height(&self) -> f64 {
        self.bottom - self.top
    }

    fn right(&self) -> f64 {
        self.width - RIGHT
    }

    /// A share of the way from left to right.
    fn x(&self, share: f64) -> f64 {
        LEFT + share * (self.right() - LEFT)
    }

    /// A share of the way from the bottom to the top.
    fn y(&self, share: f64) -> f64 {
        self.bottom - share * self.height()
    }

    fn svg(&self, label: &str, content: &str) -> String {
        let (width, height) = (self.width, self.bottom + BOTTOM);
        let label = escape(label);
        format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">{content}</svg>")
    }

    fn horizontal(&self, svg: &mut String, share: f64, label: &str) {
        let (y, right) = (self.y(share), self.right());
        let _infallible = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            LEFT - 8.0,
            y + 4.0
        );
    }

    fn baseline(&self, svg: &mut String) {
        let (y, right) = (self.bottom, self.right());
        let _infallible = write!(
            svg,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y}\" y2=\"{y}\"/>"
        );
    }

    fn below(&self, svg: &mut String, share: f64, label: &str) {
        let (x, y) = (self.x(share), self.bottom + 25.0);
        let _infallible = write!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{label}</text>"
        );
    }
}

/// Some seconds of the load, drawn as one column.
#[derive(Debug, Clone, PartialEq)]
struct Column {
    from: f64,
    to: f64,
    /// Answers a second, in the order of the report's versions.
    by_version: Vec<f64>,
    failed: f64,
    /// The medians' median, and the worst of the others.
    p50: Option<f64>,
    p99: Option<f64>,
    max: Option<f64>,
    title: String,
}

/// The load over time, from which two charts are drawn.
pub(super) struct Timeline<'r> {
    report: &'r Report,
    columns: Vec<Column>,
    length: f64,
    seconds_a_column: usize,
}

impl<'r> Timeline<'r> {
    pub(super) fn new(report: &'r Report) -> Self {
        let length = report.measured_s.max(report.timeline.len() as f64 - 1.0).max(0.001);
        let seconds_a_column = report.timeline.len().div_ceil(MAX_COLUMNS).max(1);
        let chunks = report.timeline.chunks(seconds_a_column);
        let columns = chunks.map(|seconds| column(report, seconds, length)).collect();
        Self {
            report,
            columns,
            length,
            seconds_a_column,
        }
    }

    pub(super) fn seconds_a_column(&self) -> usize {
        self.seconds_a_column
    }

    fn share(&self, second: f64) -> f64 {
        second / self.length
    }

    /// Requests a second, stacked by version, failures on top.
    pub(super) fn requests(&self) -> String {
        let (labels, rows) = self.mark_labels();
        let plot = Plot::new(WIDTH, 8.0 + rows as f64 * MARK_ROW_HEIGHT, 210.0);
        let highest = self.columns.iter().map(Column::height).fold(0.0, f64::max);
        let scale = Linear::up_to(highest);
        let mut svg = String::new();
        for tick in scale.ticks() {
            plot.horizontal(&mut svg, scale.share(tick), &thousands(tick));
        }
        for column in &self.columns {
            self.stack(&mut svg, &plot, &scale, column);
        }
        self.time_axis(&mut svg, &plot);
        self.marks(&mut svg, &plot);
        svg.push_str(&labels);
        self.hover(&mut svg, &plot);
        plot.svg("requests a second over time, by model version", &svg)
    }

    fn stack(&self, svg: &mut String, plot: &Plot, scale: &Linear, column: &Column) {
        let (left, right) = (plot.x(self.share(column.from)), plot.x(self.share(column.to)));
        // A hair of room between columns, as long as they are wide enough for it.
        let gap = if right - left > 6.0 { 1.0 } else { 0.0 };
        let mut below = 0.0;
        let versions = column.by_version.iter().enumerate();
        let parts = versions.map(|(version, rate)| (format!("fill:var(--v{})", version % VERSION_COLOURS), *rate));
        for (fill, rate) in parts.chain([("fill:var(--bad)".to_owned(), column.failed)]) {
            if rate <= 0.0 {
                continue;
            }
            let (top, bottom) = (plot.y(scale.share(below + rate)), plot.y(scale.share(below)));
            let _infallible = write!(
                svg,
                "<rect style=\"{fill}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                (right - left - gap).max(0.5),
                bottom - top
            );
            below += rate;
        }
        if column.failed > 0.0 {
            // One failure of thousands is a sliver of no height: a triangle below the axis shows it anyway.
            let (x, y) = ((left + right) / 2.0, plot.bottom + 2.0);
            let _infallible = write!(svg, "<path class=\"failure\" d=\"M{x:.1} {y:.1}l5 8h-10z\"/>");
        }
    }

    /// The median, the 99th percentile and the slowest of each column, on a logarithmic scale.
    pub(super) fn latency(&self) -> Option<String> {
        let all = self
            .columns
            .iter()
            .flat_map(|column| [column.p50, column.p99, column.max]);
        let scale = Logarithmic::over(all.flatten())?;
        let plot = Plot::new(WIDTH, 10.0, 210.0);
        let mut svg = String::new();
        for tick in scale.ticks() {
            plot.horizontal(&mut svg, scale.share(tick), &milliseconds(tick));
        }
        let centre = |column: &Column| plot.x(self.share((column.from + column.to) / 2.0));
        for (colour, value) in [
            ("--max", (|column| column.max) as fn(&Column) -> Option<f64>),
            ("--p99", |column| column.p99),
            ("--p50", |column| column.p50),
        ] {
            let points = self.columns.iter().map(|column| {
                let value = value(column)?;
                Some((centre(column), plot.y(scale.share(value))))
            });
            curve(&mut svg, colour, points);
        }
        self.time_axis(&mut svg, &plot);
        self.marks(&mut svg, &plot);
        self.hover(&mut svg, &plot);
        Some(plot.svg("latency over time", &svg))
    }

    fn time_axis(&self, svg: &mut String, plot: &Plot) {
        plot.baseline(svg);
        let step = step(self.length / 10.0).max(1.0);
        let mut second = 0.0;
        while second <= self.length {
            plot.below(svg, self.share(second), &format!("{second} s"));
            second += step;
        }
    }

    /// Invisible columns that light up and say what they are.
    fn hover(&self, svg: &mut String, plot: &Plot) {
        for column in &self.columns {
            let (left, right) = (plot.x(self.share(column.from)), plot.x(self.share(column.to)));
            let _infallible = write!(
                svg,
                "<rect class=\"hover\" x=\"{left:.1}\" y=\"{}\" width=\"{:.1}\" height=\"{}\"><title>{}</title></rect>",
                plot.top,
                (right - left).max(0.5),
                plot.height(),
                escape(&column.title)
            );
        }
    }

    fn marks(&self, svg: &mut String, plot: &Plot) {
        for step in self.report.steps.iter().filter(|step| step.text.is_some()) {
            let x = plot.x(self.share(step.at_s.min(self.length)));
            let (top, bottom) = (plot.top, plot.bottom);
            let _infallible = write!(
                svg,
                "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>"
            );
        }
    }

    /// The marks' texts above the chart, in as many rows as they need not to overlap; and how many that are. One that fits
    /// nowhere is left to the table.
    fn mark_labels(&self) -> (String, usize) {
        let plot = Plot::new(WIDTH, 0.0, 0.0);
        let mut svg = String::new();
        let mut row_ends = [f64::MIN; MARK_ROWS];
        let mut rows = 0;
        for step in &self.report.steps {
            let Some(text) = &step.text else { continue };
            let text = shortened(text);
            let width = text.chars().count() as f64 * LETTER_WIDTH;
            let at = plot.x(self.share(step.at_s.min(self.length)));
            let x = (at + 3.0).min(plot.right() - width).max(LEFT);
            let Some(row) = row_ends.iter().position(|end| *end < x) else {
                continue;
            };
            row_ends[row] = x + width + 12.0;
            rows = rows.max(row + 1);
            let y = 12.0 + row as f64 * MARK_ROW_HEIGHT;
            let _infallible = write!(
                svg,
                "<text class=\"mark-text\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
                escape(&text)
            );
        }
        (svg, rows)
    }
}

impl Column {
    fn height(&self) -> f64 {
        self.by_version.iter().sum::<f64>() + self.failed
    }
}

fn column(report: &Report, seconds: &[SecondReport], length: f64) -> Column {
    let from = seconds.first().map_or(0.0, |second| second.second as f64);
    let to = (from + seconds.len() as f64).min(length).max(from + 0.001);
    let a_second = |count: u64| count as f64 / (to - from);
    let sum = |of: &dyn Fn(&SecondReport) -> u64| seconds.iter().map(of).sum::<u64>();
    let versions: Vec<&str> = report
        .versions
        .iter()
        .map(|version| version.name.as_deref().unwrap_or_default())
        .collect();
    let counts: Vec<u64> = versions
        .iter()
        .map(|version| sum(&|second| second.versions.get(*version).copied().unwrap_or(0)))
        .collect();
    let mut medians: Vec<f64> = seconds.iter().filter_map(|second| second.p50_ms).collect();
    medians.sort_unstable_by(f64::total_cmp);
    let p50 = medians.get(medians.len() / 2).copied();
    let worst = |of: fn(&SecondReport) -> Option<f64>| seconds.iter().filter_map(of).max_by(f64::total_cmp);
    let (p99, max) = (worst(|second| second.p99_ms), worst(|second| second.max_ms));
    let (ok, failed) = (sum(&|second| second.ok), sum(&|second| second.failed));

    let mut title = format!("{from} s to {to:.1} s: {ok} ok, {failed} failed");
    for (version, count) in versions
        .iter()
        .zip(&counts)
        .filter(|(version, count)| **count > 0 && !version.is_empty())
    {
        let _infallible = write!(title, "\nversion {version}: {count}");
    }
    for (kind, count) in seconds.iter().flat_map(|second| &second.failures) {
        let _infallible = write!(title, "\n{kind}: {count}");
    }
    for (name, value) in [("p50", p50), ("p99", p99), ("max", max)] {
        if let Some(value) = value {
            let _infallible = write!(title, "\n{name} {} ms", number(value));
        }
    }
    Column {
        from,
        to,
        by_version: counts.into_iter().map(a_second).collect(),
        failed: a_second(failed),
        p50,
        p99,
        max,
        title,
    }
}

/// Latency by percentile. Each nine has the same width, since the far end is what is looked for.
pub(super) fn distribution(points: &[Point]) -> Option<String> {
    let scale = Logarithmic::over(points.iter().map(|point| point.latency_ms))?;
    let plot = Plot::new(520.0, 10.0, 210.0);
    // 100 % would be infinitely far: the last point stands a step behind the one before.
    let nines = |percent: f64| (1.0 / (1.0 - percent / 100.0)).log10();
    let finite = points
        .iter()
        .filter(|point| point.percent < 100.0)
        .map(|point| nines(point.percent));
    let end = finite.fold(0.0, f64::max) + 0.1;
    let share = |percent: f64| if percent < 100.0 { nines(percent) / end } else { 1.0 };
    let mut svg = String::new();
    for tick in scale.ticks() {
        plot.horizontal(&mut svg, scale.share(tick), &milliseconds(tick));
    }
    for (percent, label) in [
        (0.0, "0"),
        (50.0, "50"),
        (90.0, "90"),
        (99.0, "99"),
        (99.9, "99.9"),
        (99.99, "99.99"),
        (99.999, "99.999"),
    ] {
        if share(percent) < 0.93 && (share(percent) > 0.1 || percent == 0.0) {
            plot.below(&mut svg, share(percent), &format!("{label} %"));
        }
    }
    plot.below(&mut svg, 1.0, "100 %");
    plot.baseline(&mut svg);
    let drawn = points
        .iter()
        .map(|point| Some((plot.x(share(point.percent)), plot.y(scale.share(point.latency_ms)))));
    curve(&mut svg, "--v0", drawn);
    for point in points {
        let (x, y) = (plot.x(share(point.percent)), plot.y(scale.share(point.latency_ms)));
        let _infallible = write!(
            svg,
            "<circle class=\"hover\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"7\"><title>{} % within {} ms</title></circle>",
            point.percent,
            number(point.latency_ms)
        );
    }
    Some(plot.svg("latency by percentile", &svg))
}

/// A line through the points there are; where one is missing, it is interrupted.
fn curve(svg: &mut String, colour: &str, points: impl Iterator<Item = Option<(f64, f64)>>) {
    let mut path = String::new();
    let mut connected = false;
    for point in points {
        let Some((x, y)) = point else {
            connected = false;
            continue;
        };
        // A point alone is a line of no length, which round ends make a dot.
        let _infallible = match connected {
            true => write!(path, "L{x:.1} {y:.1}"),
            false => write!(path, "M{x:.1} {y:.1}h0"),
        };
        connected = true;
    }
    let _infallible = write!(
        svg,
        "<path class=\"curve\" style=\"stroke:var({colour})\" d=\"{path}\"/>"
    );
}

fn milliseconds(tick: f64) -> String {
    match tick {
        1000.0.. => format!("{} s", rounded(tick / 1000.0)),
        _ => format!("{} ms", rounded(tick)),
    }
}

/// Without the digits that powers of ten leave behind.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= MARK_LETTERS {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(MARK_LETTERS - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_parted() {
        assert_eq!(thousands(1_234_567.0), "1,234,567");
        assert_eq!(thousands(0.0), "0");
    }

    #[test]
    fn a_missing_point_interrupts_the_line() {
        let mut svg = String::new();
        curve(
            &mut svg,
            "--p50",
            [Some((1.0, 2.0)), None, Some((3.0, 4.0)), Some((5.0, 6.0))].into_iter(),
        );
        assert!(svg.contains("M1.0 2.0h0M3.0 4.0h0L5.0 6.0"), "{svg}");
    }
}
