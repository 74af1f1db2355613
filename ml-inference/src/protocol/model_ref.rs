//! Which model a path is for.

use crate::catalog::Choice;

/// A model and a version of it as a path writes them, escapes and all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RawModelRef<'a> {
    pub(super) model: &'a str,
    pub(super) version: VersionSpec<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VersionSpec<'a> {
    Latest,
    /// All of it digits.
    Number(&'a str),
    Label(&'a str),
}

/// A [`RawModelRef`] with its escapes decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRef {
    pub model: String,
    version: RequestedVersion,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum RequestedVersion {
    Latest,
    Number(u64),
    Label(String),
}

/// A path's model that cannot be looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ModelRefError {
    /// The path's escapes are broken.
    Escape,
    /// The version is more than a version can be.
    Version { text: String },
}

impl RawModelRef<'_> {
    pub(super) fn decode(self) -> Result<ModelRef, ModelRefError> {
        let version = match self.version {
            VersionSpec::Latest => RequestedVersion::Latest,
            // TensorFlow Serving counts versions in signed numbers.
            VersionSpec::Number(digits) => {
                let number = digits.parse::<i64>().ok().and_then(|number| u64::try_from(number).ok());
                RequestedVersion::Number(number.ok_or_else(|| ModelRefError::Version {
                    text: digits.to_owned(),
                })?)
            }
            VersionSpec::Label(label) => RequestedVersion::Label(decode(label)?),
        };
        Ok(ModelRef {
            model: decode(self.model)?,
            version,
        })
    }
}

impl ModelRef {
    pub fn choice(&self) -> Choice<'_> {
        match &self.version {
            RequestedVersion::Latest => Choice::Latest,
            RequestedVersion::Number(number) => Choice::Number(*number),
            RequestedVersion::Label(label) => Choice::Label(label),
        }
    }
}

/// The text of a path's segment, RFC 3986 section 2.1.
fn decode(segment: &str) -> Result<String, ModelRefError> {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let mut digit = || char::from(bytes.next()?).to_digit(16).map(|digit| digit as u8);
        decoded.push(match byte {
            b'%' => {
                let (high, low) = (digit(), digit());
                high.zip(low)
                    .map(|(high, low)| high << 4 | low)
                    .ok_or(ModelRefError::Escape)?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).map_err(|_| ModelRefError::Escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_once() {
        assert_eq!(decode("half%5Fplus%5ftwo"), Ok("half_plus_two".to_owned()));
        assert_eq!(decode("m%C3%BC%2525"), Ok("mü%25".to_owned()));
        for broken in ["%", "%5", "%zz", "%ff", "a%+1"] {
            assert_eq!(decode(broken), Err(ModelRefError::Escape), "{broken}");
        }
    }
}
