//! Errors in the settings: collected, never reported one at a time.

use std::fmt;

use super::position::Location;

/// One error in the settings, with its source and what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingError {
    /// The layer: `environment`, `file /etc/gateway/gateway.yaml`, `secret file …`.
    pub source: String,
    /// The setting or the path inside the file, such as `routes[1].prefix`.
    pub setting: String,
    /// The problem and what was expected, without the setting's name.
    pub problem: String,
    /// The place in the mounted file, for a setting that is in it.
    pub location: Option<Location>,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            source,
            setting,
            problem,
            ..
        } = self;
        match (&self.location, setting.as_str()) {
            (Some(location), "") => write!(f, "{location}: {problem}"),
            (Some(location), setting) => write!(f, "{location}: {setting}: {problem}"),
            (None, "") => write!(f, "{source}: {problem}"),
            (None, setting) => write!(f, "{setting} ({source}): {problem}"),
        }
    }
}

/// Every error of one start or one reload.
#[derive(Debug, Default)]
pub struct SettingErrors(pub Vec<SettingError>);

impl SettingErrors {
    /// Adds an error without a location.
    pub fn push(&mut self, source: impl Into<String>, setting: impl Into<String>, problem: impl Into<String>) {
        self.0.push(SettingError {
            source: source.into(),
            setting: setting.into(),
            problem: problem.into(),
            location: None,
        });
    }

    /// Sorts by the order of the file; errors without a place in the file come first.
    pub(super) fn sort(&mut self) {
        self.0.sort_by(|one, other| one.location.cmp(&other.location));
    }

    /// All of them in one line, for the log.
    pub fn in_one_line(&self) -> String {
        let faults: Vec<String> = self.0.iter().map(SettingError::to_string).collect();
        faults.join("; ")
    }
}

impl fmt::Display for SettingErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "{count} invalid setting{}", if count == 1 { "" } else { "s" })?;
        for fault in &self.0 {
            // A location is a link only at the beginning of its line.
            let indent = if fault.location.is_some() { "" } else { "  " };
            write!(f, "\n{indent}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingErrors {}
