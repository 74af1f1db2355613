//! Which model a path is for.

use crate::catalog::Choice;

/// A model and the version of it that is wanted, as the path has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    pub(crate) model: &'a str,
    pub(crate) version: Wanted<&'a str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted<T> {
    Latest,
    /// All of it digits.
    Number(T),
    Label(T),
}

/// A [`Place`] with its escapes decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub model: String,
    version: Version,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Version {
    Latest,
    Number(u64),
    Label(String),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TargetError {
    /// The path's escapes are broken.
    Escape,
    /// The version is more than a version can be.
    Version,
}

impl Place<'_> {
    pub(crate) fn target(&self) -> Result<Target, TargetError> {
        let version = match self.version {
            Wanted::Latest => Version::Latest,
            // TensorFlow Serving counts versions in signed numbers.
            Wanted::Number(digits) => {
                let number = digits.parse::<i64>().ok().and_then(|number| u64::try_from(number).ok());
                Version::Number(number.ok_or(TargetError::Version)?)
            }
            Wanted::Label(label) => Version::Label(decode(label)?),
        };
        Ok(Target {
            model: decode(self.model)?,
            version,
        })
    }
}

impl Target {
    pub fn choice(&self) -> Choice<'_> {
        match &self.version {
            Version::Latest => Choice::Latest,
            Version::Number(number) => Choice::Number(*number),
            Version::Label(label) => Choice::Label(label),
        }
    }
}

/// The text of a path's segment, RFC 3986 section 2.1.
fn decode(segment: &str) -> Result<String, TargetError> {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let mut digit = || char::from(bytes.next()?).to_digit(16).map(|digit| digit as u8);
        decoded.push(match byte {
            b'%' => {
                let (high, low) = (digit(), digit());
                high.zip(low)
                    .map(|(high, low)| high << 4 | low)
                    .ok_or(TargetError::Escape)?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).map_err(|_| TargetError::Escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_once() {
        assert_eq!(decode("half%5Fplus%5ftwo"), Ok("half_plus_two".to_owned()));
        assert_eq!(decode("m%C3%BC%2525"), Ok("mü%25".to_owned()));
        for broken in ["%", "%5", "%zz", "%ff", "a%+1"] {
            assert_eq!(decode(broken), Err(TargetError::Escape), "{broken}");
        }
    }
}
