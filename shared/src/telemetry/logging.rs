//! Log lines: JSON in a pod, text at a terminal.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::time::Duration;

use http::HeaderValue;
use tracing::error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Registry, fmt, reload};

use crate::config::{Scalar, Setting, Settings};

/// The least severe level that is logged.
pub const LOG_LEVEL: Setting = Setting::new(
    "LOG_LEVEL",
    "info",
    // In any case: what other programs call it too.
    Scalar::quoted_text(
        "one of trace, debug, info, warn, error",
        "^([Tt][Rr][Aa][Cc][Ee]|[Dd][Ee][Bb][Uu][Gg]|[Ii][Nn][Ff][Oo]|[Ww][Aa][Rr][Nn]([Ii][Nn][Gg])?|[Ee][Rr][Rr][Oo][Rr])$",
    ),
    "least severe level that is logged; probes and scrapes are logged at debug",
)
.live();
/// The form of a log line.
pub const LOG_FORMAT: Setting = Setting::new(
    "LOG_FORMAT",
    "auto",
    Scalar::OneOf(&["auto", "json", "text"]),
    "auto writes text at a terminal and JSON lines elsewhere",
);

/// The installed logging's filter.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// Text for people.
    Text,
}

/// Level and format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logging {
    /// The least severe level that is logged.
    pub level: LevelFilter,
    /// The form of a line.
    pub format: Format,
}

impl Logging {
    /// The logging that `settings` ask for.
    pub fn from_settings(settings: &mut Settings) -> Self {
        Self {
            level: level(settings),
            format: settings.get(&LOG_FORMAT, parse_format),
        }
    }

    /// Makes this the process's logging; every line goes to standard output, where the kubelet reads.
    pub fn install(self) -> Result<(), TryInitError> {
        let (filter, handle) = reload::Layer::new(filter(self.level));
        let lines = match self.format {
            Format::Json => fmt::layer()
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false)
                .boxed(),
            Format::Text => fmt::layer().with_ansi(false).with_target(false).boxed(),
        };
        tracing_subscriber::registry()
            .with(lines.with_filter(filter))
            .try_init()?;
        // There is none before: `try_init` succeeds once in a process.
        let _first = FILTER.set(handle);
        Ok(())
    }
}

/// The level that `settings` ask for.
pub fn level(settings: &mut Settings) -> LevelFilter {
    settings.get(&LOG_LEVEL, parse_level)
}

/// Changes the level of the installed logging. What is logged at no level costs nothing after it either: the decision is
/// cached at each log statement.
pub fn set_level(level: LevelFilter) {
    if let Some(handle) = FILTER.get()
        && let Err(error) = handle.reload(filter(level))
    {
        error!(%error, "cannot change the level of logging");
    }
}

fn filter(level: LevelFilter) -> Targets {
    // The resolver's own notes on every lookup belong to whoever debugs the resolver.
    Targets::new()
        .with_default(level)
        .with_target("hickory_resolver", level.min(LevelFilter::WARN))
        .with_target("hickory_proto", level.min(LevelFilter::WARN))
        .with_target("hickory_net", level.min(LevelFilter::WARN))
}

fn parse_level(text: &str) -> Option<LevelFilter> {
    let level = match text.to_ascii_lowercase().as_str() {
        "trace" => LevelFilter::TRACE,
        "debug" => LevelFilter::DEBUG,
        "info" => LevelFilter::INFO,
        "warn" | "warning" => LevelFilter::WARN,
        "error" => LevelFilter::ERROR,
        _ => return None,
    };
    Some(level)
}

fn parse_format(text: &str) -> Option<Format> {
    match text {
        "json" => Some(Format::Json),
        "text" => Some(Format::Text),
        "auto" if io::stdout().is_terminal() => Some(Format::Text),
        "auto" => Some(Format::Json),
        _ => None,
    }
}

/// A log field's milliseconds, rounded to whole microseconds.
pub fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// The path and query of a request as a log line may show it: values of a query are left out, because
/// keys and tokens travel there.
pub fn without_query_values(path: &str, query: Option<&str>) -> String {
    let Some(query) = query else {
        return path.to_owned();
    };
    let names: Vec<&str> = query
        .split('&')
        .map(|pair| pair.split_once('=').map_or("-", |(name, _)| name))
        .collect();
    format!("{path}?{}", names.join("&"))
}

/// True for the User-Agent of a kubelet's probe, whatever path is requested. Probes come every
/// few seconds and would push everything else out of `kubectl logs --tail=10`.
pub fn is_probe(user_agent: &HeaderValue) -> bool {
    user_agent.as_bytes().starts_with(b"kube-probe/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_in_any_case() {
        assert_eq!(parse_level("INFO"), Some(LevelFilter::INFO));
        assert_eq!(parse_level("verbose"), None);
    }

    #[test]
    fn no_value_of_a_query_reaches_the_log() {
        assert_eq!(without_query_values("/predict", None), "/predict");
        let shown = without_query_values("/predict", Some("api_key=s3cret&x=1&s3cret"));
        assert_eq!(shown, "/predict?api_key&x&-");
    }
}
