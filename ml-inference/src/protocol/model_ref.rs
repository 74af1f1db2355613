//! Which model a path is for.

use shared::percent;

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

/// The text of a path's segment.
fn decode(segment: &str) -> Result<String, ModelRefError> {
    percent::decode_text(segment).ok_or(ModelRefError::Escape)
}
