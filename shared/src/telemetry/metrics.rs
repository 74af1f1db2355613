//! A registry with what every process shows: build and process.

use prometheus::{Encoder, IntGauge, Opts, Registry, TextEncoder};

/// Buckets in seconds for requests that take from a tenth of a millisecond to the default timeout.
pub const LATENCY_BUCKETS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// The media type of a scrape.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// A registry that already shows the process and `<prefix>_build_info`.
pub fn registry(prefix: &str, version: &str) -> prometheus::Result<Registry> {
    let registry = Registry::new();
    let options = Opts::new(
        format!("{prefix}_build_info"),
        "Which build this is; the value is always 1.",
    )
    .const_label("version", version);
    let build = IntGauge::with_opts(options)?;
    build.set(1);
    registry.register(Box::new(build))?;
    let process = prometheus::process_collector::ProcessCollector::for_self();
    registry.register(Box::new(process))?;
    Ok(registry)
}

/// The metrics of `registry` as Prometheus text.
pub fn render(registry: &Registry) -> prometheus::Result<Vec<u8>> {
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_shows_build_and_process() {
        let registry = registry("demo", "1.2.3").expect("registers");
        let text = String::from_utf8(render(&registry).expect("renders")).expect("UTF-8");
        assert!(text.contains("demo_build_info{version=\"1.2.3\"} 1"), "{text}");
        assert!(text.contains("process_resident_memory_bytes"), "{text}");
    }
}
