//! A value that must not be seen.

use std::fmt;

/// The text that is printed instead of a secret.
pub(super) const REDACTED: &str = "[redacted]";

/// A secret text. It has no `Display`, its `Debug` is redacted, and reading it is a call one can search for.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret with this value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_neither_the_value_nor_its_length() {
        let holder = Some(Secret::new("hunter2"));
        assert_eq!(format!("{holder:?}"), "Some([redacted])");
    }
}
