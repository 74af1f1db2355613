//! The command line, as typed values. Every error names the argument.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderValue, Uri};

use crate::input::Format;
use crate::layout::{Form, Keep, Wanted};
use crate::output;

pub const HELP: &str = include_str!("../usage.txt");

const LONGEST_TIME: Duration = Duration::from_secs(24 * 3600);
const MOST_ROWS: u32 = 100_000;
const MOST_REQUESTS: u32 = 1_000;
const MOST_ATTEMPTS: u32 = 1_000;
const LARGEST_ROW: u32 = 64 << 20;
const LARGEST_REQUEST: u32 = 1 << 30;
const FORMATS: &str = match cfg!(feature = "parquet") {
    true => "csv, jsonl or parquet",
    false => "csv or jsonl",
};
/// The longest key that a file may hold.
const LARGEST_KEY: u64 = 8192;

#[derive(Debug)]
pub enum Command {
    Help,
    Version,
    Run(Box<Options>),
}

/// The protocol of the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The lab's `/predict`.
    Lab,
    /// TensorFlow Serving's REST API.
    TfServing,
    /// The Open Inference Protocol, version 2.
    OpenInference,
}

/// What to do about a row that cannot be scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBadRow {
    Stop,
    /// As long as there are no more than these.
    Skip(u64),
}

#[derive(Debug)]
pub struct Options {
    pub input: PathBuf,
    pub format: Format,
    pub output: PathBuf,
    pub output_format: output::Format,
    pub overwrite: bool,
    pub restart: bool,
    pub url: String,
    pub protocol: Protocol,
    /// The model's path, such as `models/iris/versions/2`; empty for the lab's protocol.
    pub model: String,
    pub wanted: Wanted,
    pub row_numbers: bool,
    pub rows_per_request: usize,
    pub max_row_bytes: usize,
    pub max_request_bytes: usize,
    pub concurrency: usize,
    pub timeout: Duration,
    pub max_attempts: u32,
    pub max_retry_time: Duration,
    pub on_bad_row: OnBadRow,
    pub api_key: Option<HeaderValue>,
    pub progress_interval: Duration,
    pub quiet: bool,
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
    #[error("--{0} is required")]
    Missing(&'static str),
    #[error("--{0}: {1}")]
    Unfit(&'static str, &'static str),
    #[error("--api-key-file: cannot read {}: {error}", path.display())]
    KeyFile { path: PathBuf, error: std::io::Error },
    #[error("{0}: expected one line of visible characters, of at most {LARGEST_KEY} bytes")]
    Key(&'static str),
}

/// What was given, before it is put together.
#[derive(Default)]
struct Given {
    input: Option<PathBuf>,
    input_format: Option<String>,
    no_header: bool,
    output: Option<PathBuf>,
    output_format: Option<String>,
    overwrite: bool,
    restart: bool,
    url: Option<String>,
    protocol: Option<Protocol>,
    model: Option<String>,
    model_version: Option<String>,
    columns: Option<Vec<String>>,
    text: Vec<String>,
    keep: Option<Keep>,
    form: Option<Form>,
    no_row_numbers: bool,
    rows_per_request: Option<u32>,
    max_row_bytes: Option<u32>,
    max_request_bytes: Option<u32>,
    concurrency: Option<u32>,
    timeout: Option<Duration>,
    max_attempts: Option<u32>,
    max_retry_time: Option<Duration>,
    skip: bool,
    max_bad_rows: Option<u64>,
    api_key_file: Option<PathBuf>,
    progress_interval: Option<Duration>,
    quiet: bool,
}

/// Parses what follows the program's name. `api_key` is the variable `API_KEY`.
pub fn parse(arguments: impl IntoIterator<Item = OsString>, api_key: Option<OsString>) -> Result<Command, UsageError> {
    use lexopt::Arg::{Long, Short, Value};

    let mut parser = lexopt::Parser::from_args(arguments);
    let mut given = Given::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(Command::Help),
            Long("version") => return Ok(Command::Version),
            Long("input") => given.input = Some(parser.value()?.into()),
            Long("input-format") => given.input_format = Some(text(&mut parser)?),
            Long("no-header") => given.no_header = true,
            Long("output") => given.output = Some(parser.value()?.into()),
            Long("output-format") => given.output_format = Some(text(&mut parser)?),
            Long("overwrite") => given.overwrite = true,
            Long("restart") => given.restart = true,
            Long("url") => given.url = Some(url(&mut parser)?),
            Long("protocol") => given.protocol = Some(protocol(&mut parser)?),
            Long("model") => given.model = Some(segment(&mut parser, "model")?),
            Long("model-version") => given.model_version = Some(segment(&mut parser, "model-version")?),
            Long("columns") => given.columns = Some(names(&text(&mut parser)?)),
            Long("text-columns") => given.text = names(&text(&mut parser)?),
            Long("keep") => given.keep = Some(keep(&text(&mut parser)?)),
            Long("rows-as") => given.form = form(&mut parser)?,
            Long("no-row-numbers") => given.no_row_numbers = true,
            Long("rows-per-request") => {
                given.rows_per_request = Some(whole(&mut parser, "rows-per-request", MOST_ROWS)?)
            }
            Long("max-row-bytes") => given.max_row_bytes = Some(whole(&mut parser, "max-row-bytes", LARGEST_ROW)?),
            Long("max-request-bytes") => {
                given.max_request_bytes = Some(whole(&mut parser, "max-request-bytes", LARGEST_REQUEST)?);
            }
            Long("concurrency") => given.concurrency = Some(whole(&mut parser, "concurrency", MOST_REQUESTS)?),
            Long("timeout") => given.timeout = Some(duration(&mut parser, "timeout")?),
            Long("max-attempts") => given.max_attempts = Some(whole(&mut parser, "max-attempts", MOST_ATTEMPTS)?),
            Long("max-retry-time") => given.max_retry_time = Some(duration(&mut parser, "max-retry-time")?),
            Long("on-bad-row") => given.skip = on_bad_row(&mut parser)?,
            Long("max-bad-rows") => given.max_bad_rows = Some(count(&mut parser, "max-bad-rows")?),
            Long("api-key-file") => given.api_key_file = Some(parser.value()?.into()),
            Long("progress-interval") => given.progress_interval = Some(duration(&mut parser, "progress-interval")?),
            Long("quiet") => given.quiet = true,
            Long(other) => return Err(UsageError::Unknown(format!("--{other}"))),
            Short(other) => return Err(UsageError::Unknown(format!("-{other}"))),
            Value(other) => return Err(UsageError::Unknown(other.to_string_lossy().into_owned())),
        }
    }
    Ok(Command::Run(Box::new(given.options(api_key)?)))
}

impl Given {
    fn options(self, api_key: Option<OsString>) -> Result<Options, UsageError> {
        let input = self.input.ok_or(UsageError::Missing("input"))?;
        let output = self.output.ok_or(UsageError::Missing("output"))?;
        let url = self.url.ok_or(UsageError::Missing("url"))?;
        let protocol = self.protocol.unwrap_or(Protocol::Lab);
        let format = input_format(self.input_format.as_deref(), &input, !self.no_header)?;
        let output_format = output_format(self.output_format.as_deref(), &output)?;
        let model = match (protocol, self.model, self.model_version) {
            (Protocol::Lab, None, None) => String::new(),
            (Protocol::Lab, ..) => {
                return Err(UsageError::Unfit(
                    "model",
                    "is for --protocol tf-serving and open-inference",
                ));
            }
            (_, None, _) => return Err(UsageError::Missing("model")),
            (_, Some(model), None) => format!("models/{model}"),
            (_, Some(model), Some(version)) => format!("models/{model}/versions/{version}"),
        };
        if self.max_bad_rows.is_some() && !self.skip {
            return Err(UsageError::Unfit("max-bad-rows", "is for --on-bad-row skip"));
        }
        Ok(Options {
            api_key: key(self.api_key_file.as_deref(), api_key)?,
            input,
            format,
            output,
            output_format,
            overwrite: self.overwrite,
            restart: self.restart,
            url,
            protocol,
            model,
            wanted: Wanted {
                columns: self.columns,
                text: self.text,
                keep: self.keep.unwrap_or(Keep::None),
                form: self.form,
            },
            row_numbers: !self.no_row_numbers,
            rows_per_request: self.rows_per_request.unwrap_or(100) as usize,
            max_row_bytes: self.max_row_bytes.unwrap_or(1 << 20) as usize,
            max_request_bytes: self.max_request_bytes.unwrap_or(1 << 20) as usize,
            concurrency: self.concurrency.unwrap_or(4) as usize,
            timeout: self.timeout.unwrap_or(Duration::from_secs(60)),
            max_attempts: self.max_attempts.unwrap_or(10),
            max_retry_time: self.max_retry_time.unwrap_or(Duration::from_secs(300)),
            on_bad_row: match self.skip {
                true => OnBadRow::Skip(self.max_bad_rows.unwrap_or(1000)),
                false => OnBadRow::Stop,
            },
            progress_interval: self.progress_interval.unwrap_or(Duration::from_secs(10)),
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

fn whole(parser: &mut lexopt::Parser, argument: &'static str, highest: u32) -> Result<u32, UsageError> {
    let given = text(parser)?;
    let number = given.parse().ok().filter(|number| (1..=highest).contains(number));
    number.ok_or_else(|| wrong(argument, &format!("a whole number from 1 to {highest}"), &given))
}

fn count(parser: &mut lexopt::Parser, argument: &'static str) -> Result<u64, UsageError> {
    let given = text(parser)?;
    given.parse().map_err(|_| wrong(argument, "a whole number", &given))
}

fn duration(parser: &mut lexopt::Parser, argument: &'static str) -> Result<Duration, UsageError> {
    let given = text(parser)?;
    let valid = parse_duration(&given).filter(|duration| *duration > Duration::ZERO && *duration <= LONGEST_TIME);
    let expected = format!(
        "a time such as 500ms, 10s or 2m, up to {}h",
        LONGEST_TIME.as_secs() / 3600
    );
    valid.ok_or_else(|| wrong(argument, &expected, &given))
}

/// A number, a fraction allowed, and its unit.
fn parse_duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let digits = number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let number: f64 = number.parse().ok().filter(|_| digits)?;
    let seconds = match unit {
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

fn url(parser: &mut lexopt::Parser) -> Result<String, UsageError> {
    let given = text(parser)?;
    let uri: Option<Uri> = given.parse().ok();
    let valid = uri.filter(|uri| {
        let has_user = uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'));
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && !has_user
    });
    match valid {
        Some(_) => Ok(given),
        None => Err(wrong(
            "url",
            "a URL such as http://api-gateway-service/predict, without a user",
            &given,
        )),
    }
}

fn protocol(parser: &mut lexopt::Parser) -> Result<Protocol, UsageError> {
    let given = text(parser)?;
    match given.as_str() {
        "lab" => Ok(Protocol::Lab),
        "tf-serving" => Ok(Protocol::TfServing),
        "open-inference" => Ok(Protocol::OpenInference),
        _ => Err(wrong("protocol", "lab, tf-serving or open-inference", &given)),
    }
}

/// A segment of a path.
fn segment(parser: &mut lexopt::Parser, argument: &'static str) -> Result<String, UsageError> {
    let given = text(parser)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let valid = !given.is_empty() && given.len() <= 255 && given.bytes().all(is_plain) && !given.starts_with("..");
    match valid && given != "." {
        true => Ok(given),
        false => Err(wrong(argument, "letters, digits and -._~", &given)),
    }
}

fn names(list: &str) -> Vec<String> {
    list.split(',').map(|name| name.trim().to_owned()).collect()
}

fn keep(list: &str) -> Keep {
    match list {
        "all" => Keep::All,
        "none" => Keep::None,
        list => Keep::Named(names(list)),
    }
}

fn form(parser: &mut lexopt::Parser) -> Result<Option<Form>, UsageError> {
    let given = text(parser)?;
    match given.as_str() {
        "auto" => Ok(None),
        "value" => Ok(Some(Form::Value)),
        "list" => Ok(Some(Form::List)),
        "object" => Ok(Some(Form::Object)),
        _ => Err(wrong("rows-as", "auto, value, list or object", &given)),
    }
}

fn on_bad_row(parser: &mut lexopt::Parser) -> Result<bool, UsageError> {
    let given = text(parser)?;
    match given.as_str() {
        "stop" => Ok(false),
        "skip" => Ok(true),
        _ => Err(wrong("on-bad-row", "stop or skip", &given)),
    }
}

/// The format that was named, or that the file's name ends in.
fn named_format<'g>(given: Option<&'g str>, path: &'g Path) -> &'g str {
    given.unwrap_or_else(|| {
        path.extension()
            .and_then(|extension| extension.to_str())
            .unwrap_or_default()
    })
}

fn input_format(given: Option<&str>, path: &Path, header: bool) -> Result<Format, UsageError> {
    match named_format(given, path) {
        "csv" => Ok(Format::Csv { header }),
        _ if !header => Err(UsageError::Unfit("no-header", "is for CSV")),
        "jsonl" | "ndjson" => Ok(Format::JsonLines),
        #[cfg(feature = "parquet")]
        "parquet" => Ok(Format::Parquet),
        other => Err(wrong(
            "input-format",
            &format!("{FORMATS}, here or as the input's extension"),
            other,
        )),
    }
}

fn output_format(given: Option<&str>, path: &Path) -> Result<output::Format, UsageError> {
    match named_format(given, path) {
        "csv" => Ok(output::Format::Csv),
        "jsonl" | "ndjson" => Ok(output::Format::JsonLines),
        #[cfg(feature = "parquet")]
        "parquet" => Ok(output::Format::Parquet),
        other => Err(wrong(
            "output-format",
            &format!("{FORMATS}, here or as the output's extension"),
            other,
        )),
    }
}

fn key(file: Option<&Path>, variable: Option<OsString>) -> Result<Option<HeaderValue>, UsageError> {
    let (place, text) = match (file, variable) {
        (Some(path), _) => {
            let read = fs::metadata(path).and_then(|metadata| match metadata.len() <= LARGEST_KEY {
                true => fs::read_to_string(path),
                false => Err(std::io::Error::other(format!("it is over {LARGEST_KEY} bytes"))),
            });
            let path = path.to_owned();
            (
                "--api-key-file",
                read.map_err(|error| UsageError::KeyFile { path, error })?,
            )
        }
        (None, Some(key)) => ("API_KEY", key.into_string().map_err(|_| UsageError::Key("API_KEY"))?),
        (None, None) => return Ok(None),
    };
    let text = text.trim();
    let visible = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let mut key = HeaderValue::from_str(text)
        .ok()
        .filter(|_| visible)
        .ok_or(UsageError::Key(place))?;
    key.set_sensitive(true);
    Ok(Some(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUIRED: &str = "--input rows.csv --output scores.jsonl --url http://gateway/predict";

    fn options(arguments: &str, key: Option<&str>) -> Result<Options, String> {
        match parse(
            arguments.split_whitespace().map(OsString::from),
            key.map(OsString::from),
        ) {
            Ok(Command::Run(options)) => Ok(*options),
            Ok(Command::Help | Command::Version) => Err("no run".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn formats_follow_the_extensions_and_the_key_comes_from_the_environment() {
        let options = options(REQUIRED, Some("a-key\n")).expect("parses");
        assert_eq!(options.format, Format::Csv { header: true });
        assert_eq!(options.output_format, output::Format::JsonLines);
        assert_eq!(options.api_key.expect("a key"), "a-key");
        assert_eq!(options.on_bad_row, OnBadRow::Stop);
        assert!(options.row_numbers);
    }

    #[test]
    fn a_wrong_argument_is_named_with_what_was_expected() {
        for (more, named) in [
            ("--nonsense", "unknown argument: --nonsense"),
            (
                "--rows-per-request 0",
                "--rows-per-request: expected a whole number from 1 to 100000, not \"0\"",
            ),
            ("--url gateway/predict", "--url: expected a URL such as"),
            ("--url http://u:p@gateway/", "--url: expected a URL such as"),
            ("--url ftp://gateway/", "--url"),
            ("--timeout 10", "--timeout: expected a time such as 500ms"),
            (
                "--protocol grpc",
                "--protocol: expected lab, tf-serving or open-inference, not \"grpc\"",
            ),
            ("--model iris", "--model: is for --protocol"),
            ("--protocol tf-serving", "--model is required"),
            ("--protocol tf-serving --model a/b", "--model: expected letters"),
            ("--protocol tf-serving --model ..", "--model: expected letters"),
            ("--output scores.xls", "--output-format: expected csv, jsonl or parquet"),
            ("--input-format xml", "--input-format: expected csv, jsonl or parquet"),
            ("--input rows.jsonl --no-header", "--no-header: is for CSV"),
            ("--max-bad-rows 3", "--max-bad-rows: is for --on-bad-row skip"),
            ("--on-bad-row perhaps", "--on-bad-row: expected stop or skip"),
            ("--rows-as rows", "--rows-as: expected auto, value, list or object"),
            (
                "--api-key-file /nonexistent",
                "--api-key-file: cannot read /nonexistent",
            ),
            ("--api-key secret", "unknown argument: --api-key"),
        ] {
            let error = options(&format!("{REQUIRED} {more}"), None).expect_err(more);
            assert!(error.starts_with(named), "{more}: {error}");
        }
        assert_eq!(options("", None).expect_err("nothing"), "--input is required");
        let two_lines = options(REQUIRED, Some("a\nb")).expect_err("two lines");
        assert!(
            two_lines.starts_with("API_KEY: expected one line") && !two_lines.contains("a\nb"),
            "{two_lines}"
        );
    }
}
