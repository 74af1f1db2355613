//! The command line, option by option. Options are read as they were written, and a wrong one is named with what was expected.

use std::ffi::OsString;

use lexopt::Arg;

#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    #[error("unknown argument: {0}")]
    Unknown(String),
    #[error("{0} needs a value")]
    NoValue(String),
    #[error("{option} needs a whole number, not \"{given}\"")]
    NotWhole { option: String, given: String },
    #[error("{option} needs a port from 1 to {highest}, not {given}")]
    NotAPort {
        option: String,
        highest: u16,
        given: String,
    },
    #[error("{0}")]
    Unreadable(#[from] lexopt::Error),
    /// Options that are valid one by one, and do not go together.
    #[error("{0}")]
    Together(String),
}

#[derive(Debug)]
pub struct Arguments {
    parser: lexopt::Parser,
}

impl Arguments {
    /// Reads the arguments after the command's name.
    pub fn new(arguments: impl IntoIterator<Item = OsString>) -> Self {
        Self {
            parser: lexopt::Parser::from_args(arguments.into_iter().collect::<Vec<_>>()),
        }
    }

    /// The next option with its dashes, or an argument that is none.
    pub fn option(&mut self) -> Result<Option<String>, UsageError> {
        Ok(self.parser.next()?.map(|argument| match argument {
            Arg::Long(name) => format!("--{name}"),
            Arg::Short(name) => format!("-{name}"),
            Arg::Value(value) => value.to_string_lossy().into_owned(),
        }))
    }

    pub fn value(&mut self, option: &str) -> Result<String, UsageError> {
        match self.parser.value() {
            Ok(value) => Ok(value.into_string().map_err(lexopt::Error::NonUnicodeValue)?),
            Err(lexopt::Error::MissingValue { .. }) => Err(UsageError::NoValue(option.to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    pub fn number(&mut self, option: &str) -> Result<u32, UsageError> {
        let given = self.value(option)?;
        whole(option, &given)
    }

    pub fn port(&mut self, option: &str, highest: u16) -> Result<u16, UsageError> {
        let given = self.value(option)?;
        let number = whole(option, &given)?;
        let port = u16::try_from(number).ok().filter(|port| (1..=highest).contains(port));
        port.ok_or_else(|| UsageError::NotAPort {
            option: option.to_owned(),
            highest,
            given,
        })
    }
}

/// A whole number as people write it: no sign, no leading zero.
pub fn whole(option: &str, given: &str) -> Result<u32, UsageError> {
    let plain = given.bytes().all(|byte| byte.is_ascii_digit()) && (given == "0" || !given.starts_with('0'));
    let number = given.parse().ok().filter(|_| plain);
    number.ok_or_else(|| UsageError::NotWhole {
        option: option.to_owned(),
        given: given.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(given: &[&str]) -> Arguments {
        Arguments::new(given.iter().map(OsString::from))
    }

    #[test]
    fn an_option_and_its_value_are_read_as_they_were_written() {
        let mut arguments = arguments(&["--rate", "200", "-h", "surplus", "--port=8080"]);
        assert_eq!(arguments.option().expect("read"), Some("--rate".to_owned()));
        assert_eq!(arguments.number("--rate").expect("a number"), 200);
        assert_eq!(arguments.option().expect("read"), Some("-h".to_owned()));
        assert_eq!(arguments.option().expect("read"), Some("surplus".to_owned()));
        assert_eq!(arguments.option().expect("read"), Some("--port".to_owned()));
        assert_eq!(arguments.port("--port", 65525).expect("a port"), 8080);
        assert_eq!(arguments.option().expect("read"), None);
    }

    #[test]
    fn a_wrong_value_is_named_with_what_was_expected() {
        for (given, expected) in [
            ("many", "--port needs a whole number, not \"many\""),
            ("", "--port needs a whole number, not \"\""),
            ("08080", "--port needs a whole number, not \"08080\""),
            ("+1", "--port needs a whole number, not \"+1\""),
            ("0", "--port needs a port from 1 to 65525, not 0"),
            ("65530", "--port needs a port from 1 to 65525, not 65530"),
            ("99999", "--port needs a port from 1 to 65525, not 99999"),
        ] {
            let mut arguments = arguments(&["--port", given]);
            arguments.option().expect("read");
            let error = arguments.port("--port", 65525).expect_err("refused");
            assert_eq!(error.to_string(), expected);
        }
        let mut arguments = arguments(&["--port"]);
        arguments.option().expect("read");
        let error = arguments.port("--port", 65525).expect_err("refused");
        assert_eq!(error.to_string(), "--port needs a value");
    }
}
