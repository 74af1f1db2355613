//! The report as one page that needs nothing else.

use crate::report::Report;

pub fn page(report: &Report) -> String {
    let verdict = report.verdict();
    format!("<!doctype html><title>{verdict}</title>{verdict}\n")
}
