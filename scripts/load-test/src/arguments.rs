//! The command line, as typed values. Every error names the argument.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use crate::target::{Protocol, Target, Template};

pub const DEFAULT_URL: &str = "http://127.0.0.1:30080/predict";

const LONGEST_DURATION: Duration = Duration::from_secs(24 * 3600);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(300);
const MOST_CONNECTIONS: u32 = 10_000;
const MOST_STREAMS: u32 = 100;
const HIGHEST_RATE: u32 = 1_000_000;
const LARGEST_BODY: u64 = 64 * 1024 * 1024;

/// scripts/load-test.sh prints it too, without building this program.
pub const HELP: &str = include_str!("../usage.txt");

#[derive(Debug)]
pub enum Command {
    Help,
    Run(Box<Options>),
}

#[derive(Debug)]
pub struct Options {
    pub target: Target,
    pub template: Template,
    pub protocol: Protocol,
    pub duration: Duration,
    /// Requests a second; `None` for a closed loop.
    pub rate: Option<u32>,
    pub connections: u32,
    /// Requests at a time on each connection.
    pub streams: u32,
    pub warmup: Duration,
    pub timeout: Duration,
    pub max_failed: u64,
    pub limits: Vec<Limit>,
    pub json: Option<PathBuf>,
    pub html: Option<PathBuf>,
    pub marks: Option<PathBuf>,
    pub quiet: bool,
}

impl Options {
    /// Requests under way at a time, at most.
    pub fn clients(&self) -> usize {
        usize::try_from(self.connections * self.streams).expect("a million at most")
    }
}

/// The longest that a percentile may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    pub percent: f64,
    pub longest: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    #[error("unknown argument: {0}")]
    Unknown(String),
    #[error("{0}")]
    Flag(#[from] lexopt::Error),
    #[error("--{argument}: expected {expected}, not {given:?}")]
    Value {
        argument: &'static str,
        expected: String,
        given: String,
    },
    #[error("--{argument}: cannot read {}: {error}", path.display())]
    Unreadable {
        argument: &'static str,
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("--http2 and --new-connections exclude each other")]
    Protocols,
    #[error("--streams is for --http2")]
    Streams,
}

/// What was given, before it is put together.
#[derive(Default)]
struct Given {
    url: Option<String>,
    duration: Option<Duration>,
    rate: Option<u32>,
    connections: Option<u32>,
    streams: Option<u32>,
    warmup: Option<Duration>,
    timeout: Option<Duration>,
    post: Option<PathBuf>,
    headers: Vec<(HeaderName, HeaderValue)>,
    new_connections: bool,
    http2: bool,
    max_failed: Option<u64>,
    limits: Vec<Limit>,
    json: Option<PathBuf>,
    html: Option<PathBuf>,
    marks: Option<PathBuf>,
    quiet: bool,
}

/// Parses what follows the program's name.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    use lexopt::Arg::{Long, Short, Value};

    let mut parser = lexopt::Parser::from_args(arguments);
    let mut given = Given::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(Command::Help),
            Long("url") => given.url = Some(text(&mut parser)?),
            Long("duration") => given.duration = Some(duration(&mut parser, "duration", LONGEST_DURATION)?),
            Long("rate") => given.rate = Some(whole(&mut parser, "rate", 1, HIGHEST_RATE)?),
            Long("connections") => given.connections = Some(whole(&mut parser, "connections", 1, MOST_CONNECTIONS)?),
            Long("streams") => given.streams = Some(whole(&mut parser, "streams", 1, MOST_STREAMS)?),
            Long("warmup") => given.warmup = Some(warmup(&mut parser)?),
            Long("timeout") => given.timeout = Some(duration(&mut parser, "timeout", LONGEST_TIMEOUT)?),
            Long("post") => given.post = Some(parser.value()?.into()),
            Long("header") => given.headers.push(header(&text(&mut parser)?)?),
            Long("new-connections") => given.new_connections = true,
            Long("http2") => given.http2 = true,
            Long("max-failed") => given.max_failed = Some(max_failed(&mut parser)?),
            Long("p50") => given.limits.push(limit(&mut parser, "p50", 50.0)?),
            Long("p90") => given.limits.push(limit(&mut parser, "p90", 90.0)?),
            Long("p99") => given.limits.push(limit(&mut parser, "p99", 99.0)?),
            Long("p99.9") => given.limits.push(limit(&mut parser, "p99.9", 99.9)?),
            Long("json") => given.json = Some(parser.value()?.into()),
            Long("html") => given.html = Some(parser.value()?.into()),
            Long("marks") => given.marks = Some(parser.value()?.into()),
            Long("quiet") => given.quiet = true,
            Long(other) => return Err(UsageError::Unknown(format!("--{other}"))),
            Short(other) => return Err(UsageError::Unknown(format!("-{other}"))),
            Value(other) => return Err(UsageError::Unknown(other.to_string_lossy().into_owned())),
        }
    }
    Ok(Command::Run(Box::new(given.options()?)))
}

impl Given {
    fn options(self) -> Result<Options, UsageError> {
        let protocol = match (self.http2, self.new_connections) {
            (true, true) => return Err(UsageError::Protocols),
            (true, false) => Protocol::Http2,
            (false, true) => Protocol::NewConnections,
            (false, false) => Protocol::KeepAlive,
        };
        if self.streams.is_some() && protocol != Protocol::Http2 {
            return Err(UsageError::Streams);
        }
        let url = self.url.unwrap_or_else(|| DEFAULT_URL.to_owned());
        let target = Target::parse(&url).map_err(|fault| wrong("url", &format!("a URL ({fault})"), &url))?;
        let body = self.post.map(read_body).transpose()?;
        let template = Template::new(&target, protocol, body, &self.headers)
            .map_err(|error| wrong("header", &format!("a valid request ({error})"), &url))?;
        Ok(Options {
            target,
            template,
            protocol,
            duration: self.duration.unwrap_or(Duration::from_secs(10)),
            rate: self.rate,
            connections: self.connections.unwrap_or(32),
            streams: self.streams.unwrap_or(1),
            warmup: self.warmup.unwrap_or_default(),
            timeout: self.timeout.unwrap_or(Duration::from_secs(10)),
            max_failed: self.max_failed.unwrap_or(0),
            limits: self.limits,
            json: self.json,
            html: self.html,
            marks: self.marks,
            quiet: self.quiet,
        })
    }
}

fn wrong(argument: &'static str, expected: &str, given: &str) -> UsageError {
    UsageError::Value {
        argument,
        expected: expected.to_owned(),
        given: given.to_owned(),
    }
}

fn text(parser: &mut lexopt::Parser) -> Result<String, UsageError> {
    let value = parser.value()?;
    Ok(value.into_string().map_err(lexopt::Error::NonUnicodeValue)?)
}

fn whole(parser: &mut lexopt::Parser, argument: &'static str, lowest: u32, highest: u32) -> Result<u32, UsageError> {
    let given = text(parser)?;
    let expected = || format!("a whole number from {lowest} to {highest}");
    let number = given.parse().ok().filter(|number| (lowest..=highest).contains(number));
    number.ok_or_else(|| wrong(argument, &expected(), &given))
}

fn max_failed(parser: &mut lexopt::Parser) -> Result<u64, UsageError> {
    let given = text(parser)?;
    given.parse().map_err(|_| wrong("max-failed", "a whole number", &given))
}

fn duration(parser: &mut lexopt::Parser, argument: &'static str, longest: Duration) -> Result<Duration, UsageError> {
    let given = text(parser)?;
    let expected = || format!("a time such as 500ms, 10s or 2m, up to {}s", longest.as_secs());
    let valid = parse_duration(&given).filter(|duration| *duration > Duration::ZERO && *duration <= longest);
    valid.ok_or_else(|| wrong(argument, &expected(), &given))
}

fn warmup(parser: &mut lexopt::Parser) -> Result<Duration, UsageError> {
    let given = text(parser)?;
    let valid = parse_duration(&given).filter(|duration| *duration <= LONGEST_DURATION);
    valid.ok_or_else(|| wrong("warmup", "a time such as 0s, 500ms or 5s, up to 86400s", &given))
}

fn limit(parser: &mut lexopt::Parser, argument: &'static str, percent: f64) -> Result<Limit, UsageError> {
    let longest = duration(parser, argument, LONGEST_TIMEOUT)?;
    Ok(Limit { percent, longest })
}

/// A number, a fraction allowed, and its unit.
fn parse_duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let digits = number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let number: f64 = number.parse().ok().filter(|_| digits)?;
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

fn header(given: &str) -> Result<(HeaderName, HeaderValue), UsageError> {
    let parsed = given.split_once(':').and_then(|(name, value)| {
        let name = HeaderName::try_from(name.trim()).ok()?;
        let value = HeaderValue::try_from(value.trim()).ok()?;
        Some((name, value))
    });
    parsed.ok_or_else(|| wrong("header", "\"Name: value\"", given))
}

fn read_body(path: PathBuf) -> Result<Bytes, UsageError> {
    let argument = "post";
    let read = fs::metadata(&path).and_then(|metadata| match metadata.len() <= LARGEST_BODY {
        true => fs::read(&path),
        false => Err(std::io::Error::other(format!("it is over {LARGEST_BODY} bytes"))),
    });
    let body = read.map_err(|error| UsageError::Unreadable { argument, path, error })?;
    Ok(body.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Result<Options, String> {
        match parse(arguments.iter().map(OsString::from)) {
            Ok(Command::Run(options)) => Ok(*options),
            Ok(Command::Help) => Err("help".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn defaults_are_the_lab() {
        let options = options(&[]).expect("parses");
        assert_eq!(options.target.url, DEFAULT_URL);
        assert_eq!((options.connections, options.rate), (32, None));
        assert_eq!(options.duration, Duration::from_secs(10));
        assert_eq!(options.protocol, Protocol::KeepAlive);
    }

    #[test]
    fn everything_given() {
        let options = options(&[
            "--url=http://a:1/x",
            "--duration",
            "90s",
            "--rate",
            "200",
            "--connections",
            "8",
            "--warmup",
            "1.5s",
            "--timeout",
            "250ms",
            "--header",
            "X-API-Key: k: l",
            "--new-connections",
            "--max-failed",
            "3",
            "--p99",
            "50ms",
            "--p99.9",
            "1s",
            "--quiet",
        ]);
        let options = options.expect("parses");
        assert_eq!(
            (options.rate, options.connections, options.max_failed),
            (Some(200), 8, 3)
        );
        assert_eq!(options.timeout, Duration::from_millis(250));
        assert_eq!(options.warmup, Duration::from_millis(1500));
        assert_eq!(options.template.request().headers()["x-api-key"], "k: l");
        let limits: Vec<_> = options
            .limits
            .iter()
            .map(|limit| (limit.percent, limit.longest.as_millis()))
            .collect();
        assert_eq!(limits, [(99.0, 50), (99.9, 1000)]);
    }

    #[test]
    fn a_wrong_argument_is_named_with_what_was_expected() {
        for (arguments, named) in [
            (&["--nonsense"][..], "unknown argument: --nonsense"),
            (&["--rate"], "--rate"),
            (
                &["--rate", "0"],
                "--rate: expected a whole number from 1 to 1000000, not \"0\"",
            ),
            (&["--rate", "fast"], "--rate"),
            (
                &["--connections", "10001"],
                "--connections: expected a whole number from 1 to 10000",
            ),
            (&["--duration", "10"], "--duration: expected a time such as 500ms"),
            (&["--duration", "0s"], "--duration"),
            (&["--duration", "-1s"], "--duration"),
            (&["--duration", "25h"], "--duration"),
            (&["--warmup", "soon"], "--warmup"),
            (&["--timeout", "1h"], "--timeout"),
            (&["--p99", "fast"], "--p99"),
            (&["--max-failed", "-1"], "--max-failed"),
            (&["--header", "no colon"], "--header"),
            (&["--header", "a b: c"], "--header"),
            (&["--url", "127.0.0.1:80"], "--url"),
            (&["--url", "https://gateway/"], "https is not spoken"),
            (
                &["--post", "/nowhere/body.json"],
                "--post: cannot read /nowhere/body.json",
            ),
            (&["--http2", "--new-connections"], "--http2 and --new-connections"),
            (&["--streams", "4"], "--streams is for --http2"),
            (&["surplus"], "surplus"),
        ] {
            let error = options(arguments).expect_err("refused");
            assert!(error.contains(named), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn durations_have_units() {
        for (text, millis) in [
            ("500ms", 500),
            ("1.5s", 1500),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("0s", 0),
        ] {
            assert_eq!(
                parse_duration(text).map(|duration| duration.as_millis()),
                Some(millis),
                "{text}"
            );
        }
        for bad in [
            "", "10", "s", "1d", "1e3s", "-1s", "+1s", "infs", "1.2.3s", "1 s", "nans",
        ] {
            assert_eq!(parse_duration(bad), None, "{bad:?}");
        }
    }
}
