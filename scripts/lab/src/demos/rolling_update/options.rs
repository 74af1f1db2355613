//! The options of a rolling update: what is updated, and to which images.

use std::ffi::OsString;

use crate::arguments::UsageError;
use crate::cluster::tag_of;
use crate::demo;
use crate::error::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Model,
    Gateway,
    Both,
}

impl What {
    pub(super) fn includes_model(self) -> bool {
        self != Self::Gateway
    }

    pub(super) fn includes_gateway(self) -> bool {
        self != Self::Model
    }
}

#[derive(Debug)]
pub(super) struct Options {
    pub(super) what: What,
    pub(super) image: String,
    pub(super) gateway_image: String,
    /// The version that the new image of ml-inference answers with.
    pub(super) version: String,
    pub(super) common: demo::Options,
}

impl Options {
    /// `None` when --help was asked for.
    pub(super) fn parse(arguments: Vec<OsString>) -> Result<Option<Self>, Error> {
        let mut what = What::Model;
        let mut image = "ml-inference:2.0".to_owned();
        let mut gateway_image = "api-gateway:1.1".to_owned();
        let mut version = String::new();
        let common = demo::Options::parse(arguments, |option, arguments| {
            match option {
                "--gateway" | "--both" if what != What::Model => {
                    return Err(UsageError::Together("--gateway and --both: one of them".to_owned()));
                }
                "--gateway" => what = What::Gateway,
                "--both" => what = What::Both,
                "--image" => image = arguments.value(option)?,
                "--version" => version = arguments.value(option)?,
                "--gateway-image" => gateway_image = arguments.value(option)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let Some(common) = common else {
            return Ok(None);
        };
        if !common.local && what.includes_model() && version.is_empty() {
            version = version_of(&image)?;
        }
        Ok(Some(Self {
            what,
            image,
            gateway_image,
            version,
            common,
        }))
    }

    /// The name of the reports.
    pub(super) fn name(&self) -> String {
        let what = match self.what {
            What::Model => "",
            What::Gateway => "-gateway",
            What::Both => "-both",
        };
        format!("rolling-update{what}")
    }
}

/// The tag is what build-images.sh stamps, as long as it is a number.
fn version_of(image: &str) -> Result<String, UsageError> {
    let tag = tag_of(image);
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match tag.split('.').all(is_number) {
        true => Ok(tag.to_owned()),
        false => Err(UsageError::Together(format!(
            "the tag of {image} is no version: say with --version which one it answers with"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_an_image_is_its_version_when_it_is_a_number() {
        for (image, version) in [("ml-inference:2.0", "2.0"), ("registry:5000/ml-inference:3", "3")] {
            assert_eq!(version_of(image).expect("a version"), version);
        }
        for image in [
            "ml-inference:edge",
            "ml-inference:2.",
            "ml-inference:v2",
            "ml-inference",
        ] {
            assert!(version_of(image).is_err(), "{image}");
        }
    }
}
