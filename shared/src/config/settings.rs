//! Typed values, taken out of the merged layers.

use std::path::{Path, PathBuf};

use config::{Map, Value};

use super::document::shape::Key;
use super::document::{Node, Positions};
use super::error::{SettingError, SettingErrors};
use super::secret::{REDACTED, Secret};
use super::setting::Setting;
use super::source::{DEFAULT_ORIGIN, file_origin};

/// The settings that a reload changes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Settings that a running process applies, by name, and parts of the file.
    pub live: Vec<&'static str>,
    /// Those that only the next start of the process takes up.
    pub at_restart: Vec<&'static str>,
}

impl Changes {
    /// True when nothing changed.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.at_restart.is_empty()
    }
}

/// Every setting and every part of the file at one time, secrets included.
pub struct Values(Map<String, Value>);

/// The merged layers of one start.
pub struct Settings {
    pub(super) settings: Vec<Setting>,
    pub(super) documents: &'static [Key],
    /// Secrets among them: nothing here is `Debug`.
    pub(super) values: Map<String, Value>,
    pub(super) file: PathBuf,
    pub(super) file_said: bool,
    /// The positions in the mounted file, until [`Settings::finish`].
    pub(super) positions: Option<Positions>,
    pub(super) faults: SettingErrors,
}

impl Settings {
    /// The value of `setting`, or its default with a fault noted.
    ///
    /// # Panics
    /// When the setting's own default does not parse: a mistake in the table, which every start would show.
    pub fn get<T>(&mut self, setting: &Setting, parse: impl Fn(&str) -> Option<T>) -> T {
        let found = self.values.get(&setting.key());
        let text = found.map(|value| value.clone().into_string());
        match text {
            Some(Ok(text)) => match setting.scalar.allows(&text).then(|| parse(&text)).flatten() {
                Some(value) => return value,
                None => self.refuse(setting, Some(&text)),
            },
            Some(Err(_)) => self.refuse(setting, None),
            None => {}
        }
        parse(setting.default).unwrap_or_else(|| panic!("the default of {} does not parse", setting.name))
    }

    /// The value of a secret setting; an empty one counts as not given.
    pub fn get_secret(&mut self, setting: &Setting) -> Option<Secret> {
        let text = self.get(setting, |text| Some(text.to_owned()));
        (!text.is_empty()).then(|| Secret::new(text))
    }

    /// The list that is the value of `key` in the mounted file.
    pub fn document(&self, key: &Key) -> Node<'_> {
        let value = self.values.get(key.name);
        let origin = value.and_then(Value::origin).unwrap_or(DEFAULT_ORIGIN).to_owned();
        let from_file = origin == file_origin(&self.file);
        let positions = self.positions.as_ref().filter(|_| from_file);
        Node::new(key.name.to_owned(), origin, value, positions)
    }

    /// Adds errors that the service itself found.
    pub fn note(&mut self, faults: impl IntoIterator<Item = SettingError>) {
        self.faults.0.extend(faults);
    }

    /// Notes an error of a setting whose value is valid by itself and not beside the others.
    pub fn refuse_value(&mut self, setting: &Setting, problem: impl Into<String>) {
        self.note_refused(setting, problem.into());
    }

    fn note_refused(&mut self, setting: &Setting, problem: String) {
        let source = self.origin(setting);
        let from_file = source == file_origin(&self.file);
        let positions = self.positions.as_ref().filter(|_| from_file);
        let location = positions.map(|positions| positions.of_value(&setting.key()));
        self.faults.0.push(SettingError {
            source,
            // As it is written there.
            setting: location.as_ref().map_or(setting.name.to_owned(), |_| setting.key()),
            problem,
            location,
        });
    }

    /// The mounted file's path, whether or not there is a file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// True when there is a mounted file with a setting in it.
    pub fn file_said_something(&self) -> bool {
        self.file_said
    }

    /// `value` when nothing was wrong, else every fault.
    pub fn finish<T>(&mut self, value: T) -> Result<T, SettingErrors> {
        self.positions = None;
        self.faults.sort();
        match self.faults.0.is_empty() {
            true => Ok(value),
            false => Err(std::mem::take(&mut self.faults)),
        }
    }

    /// A copy of every value, for a later comparison.
    pub fn values(&self) -> Values {
        Values(self.values.clone())
    }

    /// The differences from `before`, by name: settings, and parts of the file.
    pub fn changes_since(&self, before: &Values) -> Changes {
        let kind_of = |values: &Map<String, Value>, key: &str| values.get(key).map(|value| value.kind.clone());
        let differs = |key: &str| kind_of(&self.values, key) != kind_of(&before.0, key);
        let changed = self.settings.iter().filter(|setting| differs(&setting.key()));
        let (live, at_restart): (Vec<&Setting>, Vec<&Setting>) = changed.partition(|setting| setting.live);
        let names = |settings: Vec<&Setting>| settings.iter().map(|setting| setting.name).collect();
        let mut changes = Changes {
            live: names(live),
            at_restart: names(at_restart),
        };
        changes
            .live
            .extend(self.documents.iter().map(|key| key.name).filter(|key| differs(key)));
        changes
    }

    /// Every effective setting with its source, secrets redacted: what `--print-config` shows.
    pub fn print(&self) -> String {
        let mut lines = String::new();
        for setting in &self.settings {
            let text = self
                .values
                .get(&setting.key())
                .cloned()
                .and_then(|value| value.into_string().ok());
            let text = text.unwrap_or_default();
            let shown = match setting.secret && !text.is_empty() {
                true => REDACTED,
                false => &text,
            };
            lines.push_str(&format!("{}={shown}  ({})\n", setting.name, self.origin(setting)));
        }
        lines
    }

    fn origin(&self, setting: &Setting) -> String {
        let value = self.values.get(&setting.key());
        value.and_then(Value::origin).unwrap_or(DEFAULT_ORIGIN).to_owned()
    }

    fn refuse(&mut self, setting: &Setting, text: Option<&str>) {
        let problem = match text {
            _ if setting.secret => format!("expected {}", setting.scalar),
            Some(text) => format!("expected {}, found {text:?}", setting.scalar),
            None => format!("expected {}, found a list or a map", setting.scalar),
        };
        self.note_refused(setting, problem);
    }
}
