//! The version of a model, as people write it and as a model repository counts it.

use http::HeaderValue;

/// Longer texts are no version; it travels in a header of every response.
const LONGEST: usize = 32;

/// `1.0` is what is shown; its integer version, the one a model repository's directory is named by, is 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelVersion {
    text: String,
    number: u64,
    header: HeaderValue,
}

impl ModelVersion {
    pub const EXPECTS: &'static str = "a version such as 1.0: major[.minor[.patch]], whole numbers, major from 1";

    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('.').collect();
        if text.len() > LONGEST || parts.len() > 3 {
            return None;
        }
        let numbers: Vec<u64> = parts.iter().filter_map(|part| whole(part)).collect();
        let number = *numbers.first().filter(|major| **major >= 1)?;
        if numbers.len() != parts.len() {
            return None;
        }
        Some(Self {
            text: text.to_owned(),
            number,
            header: HeaderValue::from_str(text).ok()?,
        })
    }

    /// The version that a directory of a model repository is named by.
    pub fn of_repository(number: u64) -> Self {
        Self {
            text: number.to_string(),
            number,
            header: HeaderValue::from(number),
        }
    }

    /// The text as it was set, such as `1.0`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text as a header's value, made once: a copy of it is a reference count.
    pub fn header_value(&self) -> &HeaderValue {
        &self.header
    }

    /// The major number: 1.0 is version 1 of the repository, 2.0 is version 2.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// `v1.0`, as the lesson's answers name it.
    pub fn label(&self) -> String {
        format!("v{}", self.text)
    }
}

/// Digits only, and no leading zero: `01` and `1` would be two texts for one version.
fn whole(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_labs_versions_map_to_the_integers_of_a_repository() {
        for (text, number) in [("1.0", 1), ("2.0", 2), ("3", 3), ("10.4.7", 10)] {
            let version = ModelVersion::parse(text).expect("a version");
            assert_eq!(version.number(), number);
            assert_eq!(version.as_str(), text);
            assert_eq!(version.label(), format!("v{text}"));
        }
    }

    #[test]
    fn what_is_no_version_is_refused() {
        let long = format!("1.{}", "1".repeat(40));
        for bad in [
            "", "0", "0.9", "v1.0", "1.", ".1", "1..0", "01.0", "1.00", "+1.0", "-1", "1.0.0.0", "1 ", "1.0\n", &long,
        ] {
            assert_eq!(ModelVersion::parse(bad), None, "{bad:?}");
        }
    }
}
