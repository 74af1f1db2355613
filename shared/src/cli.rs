//! The command line both services share: a handful of flags around settings that come from elsewhere.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config::{Key, Layers, Setting, SettingErrors, Settings, schema};
use crate::reload::Reloader;

/// `EX_CONFIG` of sysexits.h: the exit status for invalid settings.
pub const EXIT_CONFIG: u8 = 78;
/// `EX_USAGE` of sysexits.h: an unknown flag.
pub const EXIT_USAGE: u8 = 64;

/// The action that a command line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// The service itself.
    Run,
    /// `--check`: validates the settings and exits.
    Check,
    /// `--print-config`.
    PrintConfig,
    /// `--print-schema`.
    PrintSchema,
    /// `--help`.
    Help,
    /// `--version`.
    Version,
}

/// A parsed command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Arguments {
    /// The last action named; without one, `Run`.
    pub command: Command,
    /// The mounted file, by `--config FILE` or `--check FILE`.
    pub config_file: Option<PathBuf>,
}

/// Parses what follows the program's name.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, lexopt::Error> {
    use lexopt::Arg::{Long, Short, Value};

    let mut parser = lexopt::Parser::from_args(arguments);
    let mut parsed = Arguments {
        command: Command::Run,
        config_file: None,
    };
    let mut checked: Option<PathBuf> = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("check") => parsed.command = Command::Check,
            Long("print-config") => parsed.command = Command::PrintConfig,
            Long("print-schema") => parsed.command = Command::PrintSchema,
            Long("help") | Short('h') => parsed.command = Command::Help,
            Long("version") | Short('V') => parsed.command = Command::Version,
            Value(file) if parsed.command == Command::Check && checked.is_none() => checked = Some(file.into()),
            Long("config") => parsed.config_file = Some(parser.value()?.into()),
            other => return Err(other.unexpected()),
        }
    }
    match (checked, &parsed.config_file) {
        (Some(checked), Some(config)) => {
            let (checked, config) = (checked.display(), config.display());
            Err(format!("--check {checked} and --config {config} name two files; one of them has to go").into())
        }
        (Some(checked), None) => Ok(Arguments {
            config_file: Some(checked),
            ..parsed
        }),
        (None, _) => Ok(parsed),
    }
}

/// The process environment as text. A variable that is not UTF-8 cannot hold a valid setting; its
/// replacement characters make the setting's own check refuse it.
pub fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        })
        .collect()
}

/// One of the two services, as its command line sees it.
#[derive(Debug)]
pub struct Program {
    /// The program's name, as `--version` and messages show it.
    pub name: &'static str,
    /// The version of the build.
    pub version: &'static str,
    /// One sentence, the first line of `--help`.
    pub description: &'static str,
    /// The table of settings.
    pub settings: &'static [Setting],
    /// Keys of the mounted file that hold lists, and their defaults as YAML.
    pub documents: &'static [Key],
    /// The defaults of `documents` as YAML.
    pub default_document: &'static str,
    /// The mounted file where neither a flag nor `CONFIG_FILE` names one.
    pub default_file: &'static str,
    /// Colon-separated.
    pub default_config_dirs: &'static str,
    /// The directory of secret files where `SECRET_DIRS` names none.
    pub default_secret_dir: &'static str,
    /// The lines of `--help` about the mounted file.
    pub file_note: &'static str,
}

impl Program {
    /// Loads the settings and does what the command line asks for. `parse` makes the service's own
    /// typed settings, `describe` prints the part of them that is no plain setting, `run` is the service, which also
    /// gets what follows changes of its settings.
    pub fn main<S>(
        &self,
        parse: fn(&mut Settings) -> S,
        describe: impl FnOnce(&S) -> String,
        run: impl FnOnce(S, Reloader<S>) -> ExitCode,
    ) -> ExitCode {
        let arguments = match self::parse(std::env::args_os().skip(1)) {
            Ok(arguments) => arguments,
            Err(error) => {
                complain(&format!("{}: {error}; --help lists the flags", self.name));
                return ExitCode::from(EXIT_USAGE);
            }
        };
        match arguments.command {
            Command::Help => return say(&self.help()),
            Command::PrintSchema => return say(&self.schema()),
            Command::Version => return say(&format!("{} {}\n", self.name, self.version)),
            Command::Run | Command::Check | Command::PrintConfig => {}
        }

        let layers = self.layers(arguments.config_file, environment());
        let (parsed, reloader) = Reloader::start(layers, parse);
        match (arguments.command, parsed) {
            (Command::PrintConfig, Ok(parsed)) => say(&(reloader.current().print() + &describe(&parsed))),
            (Command::PrintConfig, Err(faults)) => {
                let printed = say(&reloader.current().print());
                self.refuse(&faults);
                if printed == ExitCode::SUCCESS {
                    ExitCode::from(EXIT_CONFIG)
                } else {
                    printed
                }
            }
            (_, Err(faults)) => self.refuse(&faults),
            (Command::Check, Ok(_)) => say("ok\n"),
            (_, Ok(parsed)) => run(parsed, reloader),
        }
    }

    /// The sources of the settings, with `file` as the mounted one.
    pub fn layers(&self, file: Option<PathBuf>, variables: BTreeMap<String, String>) -> Layers {
        Layers {
            settings: self.settings.to_vec(),
            documents: self.documents,
            default_document: self.default_document,
            default_file: self.default_file,
            default_config_dirs: self.default_config_dirs,
            default_secret_dir: self.default_secret_dir,
            file,
            variables,
            file_held: false,
        }
    }

    /// The JSON Schema of the mounted file, as `--print-schema` shows it.
    pub fn schema(&self) -> String {
        let schema = schema(&self.file_name(), self.settings, self.documents);
        format!("{schema:#}\n")
    }

    fn file_name(&self) -> String {
        let name = Path::new(self.default_file).file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    fn refuse(&self, faults: &SettingErrors) -> ExitCode {
        complain(&format!("{}: {faults}", self.name));
        ExitCode::from(EXIT_CONFIG)
    }

    fn help(&self) -> String {
        let mut text = format!(
            "{about}

Usage: {program} [--config FILE] [--check [FILE] | --print-config | --print-schema]

  --config FILE    the mounted settings file (default {file}; also CONFIG_FILE)
  --check [FILE]   validate every setting, print what is wrong as FILE:LINE:COLUMN, exit 0 or {EXIT_CONFIG}
  --print-config   print every effective setting and its source, secrets redacted
  --print-schema   print the JSON Schema of the mounted file, for editors
  -h, --help       this text
  -V, --version    the version

Settings, weakest layer first: default, file (the names in lower case), environment variable,
file a key in CONFIG_DIRS (default {configs}),
secret file a key in SECRET_DIRS (default {secrets}); both are colon-separated lists.
What is marked `live` may change in a running process; so may the file's other parts.
{note}
",
            about = self.description,
            program = self.name,
            file = self.default_file,
            configs = self.default_config_dirs,
            secrets = self.default_secret_dir,
            note = self.file_note,
        );
        for setting in self.settings {
            let default = match (setting.secret, setting.default) {
                (true, _) => "secret".to_owned(),
                (false, "") => "no default".to_owned(),
                (false, default) => format!("default {default}"),
            };
            let live = if setting.live { ", live" } else { "" };
            text.push_str(&format!(
                "\n  {} ({default}{live})\n      {}\n      {}\n",
                setting.name, setting.description, setting.scalar
            ));
        }
        text
    }
}

/// Prints to standard output. A reader that went away (`| head`) is no fault of ours.
fn say(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("cannot write to standard output: {error}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Prints to standard error: the log is not up yet, or the user is at a terminal.
pub fn complain(text: &str) {
    // With standard error gone there is no place left to report to.
    let _unreported = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(arguments: &[&str]) -> Result<Arguments, lexopt::Error> {
        parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn no_argument_means_run() {
        let parsed = parse_text(&[]).expect("parses");
        assert_eq!(parsed.command, Command::Run);
        assert_eq!(parsed.config_file, None);
    }

    #[test]
    fn check_takes_a_file() {
        let parsed = parse_text(&["--check", "--config", "a.yaml"]).expect("parses");
        assert_eq!(parsed.command, Command::Check);
        assert_eq!(parsed.config_file, Some(PathBuf::from("a.yaml")));
    }

    #[test]
    fn a_file_may_follow_check_and_nothing_else() {
        let parsed = parse_text(&["--check", "a.yaml"]).expect("parses");
        assert_eq!(parsed.command, Command::Check);
        assert_eq!(parsed.config_file, Some(PathBuf::from("a.yaml")));
        for bad in [
            &["a.yaml"][..],
            &["a.yaml", "--check"],
            &["--check", "a.yaml", "b.yaml"],
            &["--check", "--config", "a.yaml", "b.yaml"],
            &["--print-config", "a.yaml"],
        ] {
            assert!(parse_text(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn two_files_to_check_are_an_error_that_names_both() {
        for arguments in [
            ["--check", "a.yaml", "--config", "b.yaml"],
            ["--config", "b.yaml", "--check", "a.yaml"],
        ] {
            let error = parse_text(&arguments).expect_err("refused").to_string();
            assert!(error.contains("--check a.yaml and --config b.yaml"), "{error}");
        }
    }

    #[test]
    fn an_unknown_flag_is_an_error_that_names_it() {
        let error = parse_text(&["--chekc"]).expect_err("refused");
        assert!(error.to_string().contains("--chekc"), "{error}");
    }
}
