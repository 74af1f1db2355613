//! YAML read with the place of every part of it, so that a fault can say line and column.
//!
//! The `config` crate would read YAML too, but forgets where a value stood, takes the later of two keys that look alike
//! (`1` and `"1"`), and stops at the first duplicate. Here one pass over the parser's events gives values and places alike.
//! Texts stay as they are written: the `1.10` of a version is not the number 1.1.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use config::{Map, Value, ValueKind};
use yaml_rust2::Yaml;
use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::scanner::{Marker, ScanError, TScalarStyle};

use super::characters::{forbidden_outside_quotes, text_of};
use super::positions::{Place, Positions};
use crate::config::error::SettingError;
use crate::config::position::{Location, Position};

/// Levels inside of each other; settings have five.
const DEEPEST: usize = 32;
/// Values of one file, those that aliases repeat included: a few aliases of aliases would fill the memory.
const MOST_VALUES: usize = 200_000;

impl From<&Marker> for Position {
    fn from(mark: &Marker) -> Self {
        Self {
            line: mark.line(),
            column: mark.col() + 1,
        }
    }
}

/// The values of a file, with their positions.
#[derive(Debug)]
pub(in crate::config) struct Document {
    /// The values by key.
    pub values: Map<String, Value>,
    /// The position of each.
    pub positions: Positions,
    /// Repeated keys; the first of them counts.
    pub faults: Vec<SettingError>,
}

/// Reads `content`, that of `file`, whose values get `origin`.
pub(in crate::config) fn read(content: &[u8], file: &Path, origin: &str) -> Result<Document, SettingError> {
    let mut reader = YamlReader {
        origin,
        positions: Positions {
            file: file.to_owned(),
            places: HashMap::new(),
        },
        faults: Vec::new(),
        open: Vec::new(),
        anchors: BTreeMap::new(),
        values: 0,
        root: None,
    };
    let text = match text_of(content) {
        Ok(text) => text,
        Err((position, problem)) => return Err(reader.broken(position, &problem)),
    };
    match reader.run(text) {
        Ok(()) => Ok(Document {
            values: reader.take_root()?,
            positions: reader.positions,
            faults: reader.faults,
        }),
        Err(error) => Err(reader.broken(error.marker().into(), error.info())),
    }
}

struct YamlReader<'a> {
    origin: &'a str,
    positions: Positions,
    faults: Vec<SettingError>,
    /// The lists and maps that have begun, the innermost last.
    open: Vec<OpenNode>,
    anchors: BTreeMap<usize, Anchored>,
    values: usize,
    root: Option<(Position, ValueKind)>,
}

/// A value that an alias may repeat.
struct Anchored {
    kind: ValueKind,
    values: usize,
}

/// A list or a map of which not all has been read.
struct OpenNode {
    path: String,
    anchor: usize,
    /// The number of values read before it.
    values_before: usize,
    start: Position,
    content: Content,
}

enum Content {
    List(Vec<Value>),
    Map {
        entries: Map<String, Value>,
        /// The key whose value comes next.
        key: Option<(String, Position)>,
    },
}

impl YamlReader<'_> {
    fn run(&mut self, text: &str) -> Result<(), ScanError> {
        let mut parser = Parser::new_from_str(text);
        loop {
            let (event, mark) = parser.next_token()?;
            match event {
                Event::StreamEnd => return Ok(()),
                Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart if self.root.is_some() => {
                    return Err(ScanError::new(mark, "a second document begins, and there may be one"));
                }
                Event::DocumentStart => {}
                Event::SequenceStart(anchor, _) => self.begin(Content::List(Vec::new()), anchor, &mark)?,
                Event::MappingStart(anchor, _) => {
                    let entries = Map::new();
                    self.begin(Content::Map { entries, key: None }, anchor, &mark)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.end(&mark)?,
                Event::Scalar(text, style, anchor, tag) => {
                    let is_quoted = matches!(style, TScalarStyle::SingleQuoted | TScalarStyle::DoubleQuoted);
                    if !is_quoted && let Some(problem) = forbidden_outside_quotes(&text) {
                        return Err(ScanError::new_string(mark, problem));
                    }
                    if self.take_key(&text, &mark) {
                        continue;
                    }
                    let is_text = style != TScalarStyle::Plain || tag.is_some_and(|tag| tag.suffix == "str");
                    let kind = if is_text { ValueKind::String(text) } else { plain(text) };
                    self.note_place((&mark).into(), !matches!(kind, ValueKind::Nil));
                    self.insert(kind, anchor, 1, &mark)?;
                }
                Event::Alias(anchor) => {
                    let Some(Anchored { kind, values }) = self.anchors.get(&anchor) else {
                        return Err(ScanError::new(mark, "the alias repeats what it is a part of"));
                    };
                    let (kind, values) = (kind.clone(), *values);
                    self.note_place((&mark).into(), true);
                    self.insert(kind, 0, values, &mark)?;
                }
            }
        }
    }

    /// Uses a scalar as a key where one is due, and returns true then.
    fn take_key(&mut self, text: &str, mark: &Marker) -> bool {
        let Some(OpenNode { path, content, .. }) = self.open.last_mut() else {
            return false;
        };
        let Content::Map { key, .. } = content else {
            return false;
        };
        if key.is_some() {
            return false;
        }
        let at = mark.into();
        *key = Some((text.to_owned(), at));
        // The parser says of a map without braces that it begins at its first colon.
        if let Some(place) = self.positions.places.get_mut(path) {
            place.value = place.value.min(at);
        }
        true
    }

    fn begin(&mut self, content: Content, anchor: usize, mark: &Marker) -> Result<(), ScanError> {
        if self.open.len() == DEEPEST {
            let problem = format!("lists and maps are nested deeper than {DEEPEST} levels");
            return Err(ScanError::new_string(*mark, problem));
        }
        self.expect_key_taken(mark)?;
        self.note_place(mark.into(), false);
        self.open.push(OpenNode {
            path: self.path(),
            anchor,
            values_before: self.values,
            start: mark.into(),
            content,
        });
        Ok(())
    }

    fn end(&mut self, mark: &Marker) -> Result<(), ScanError> {
        let Some(ended) = self.open.pop() else {
            return Err(ScanError::new(*mark, "what ends here never began"));
        };
        let kind = match ended.content {
            Content::List(items) => ValueKind::Array(items),
            Content::Map { entries, .. } => ValueKind::Table(entries),
        };
        if self.open.is_empty() {
            self.root = Some((ended.start, kind));
            return Ok(());
        }
        if ended.anchor > 0 {
            let values = self.values - ended.values_before + 1;
            let kind = kind.clone();
            self.anchors.insert(ended.anchor, Anchored { kind, values });
        }
        self.insert(kind, 0, 1, mark)
    }

    /// A list or a map cannot be a key.
    fn expect_key_taken(&self, mark: &Marker) -> Result<(), ScanError> {
        match self.open.last().map(|open| &open.content) {
            Some(Content::Map { key: None, .. }) => Err(ScanError::new(*mark, "a key must be a plain text")),
            _ => Ok(()),
        }
    }

    /// The path of the value that comes next.
    fn path(&self) -> String {
        match self.open.last() {
            None => String::new(),
            Some(OpenNode { path, content, .. }) => match content {
                Content::List(items) => format!("{path}[{}]", items.len()),
                Content::Map { key, .. } => join(path, key.as_ref().map_or("", |(key, _)| key)),
            },
        }
    }

    /// Notes the position of the value that comes next. `itself`: its errors point at the value and not at its key.
    fn note_place(&mut self, at: Position, itself: bool) {
        let key = match self.open.last().map(|open| &open.content) {
            Some(Content::Map { key: Some((_, at)), .. }) => Some(*at),
            _ => None,
        };
        let value = if itself { at } else { key.unwrap_or(at) };
        let path = self.path();
        // Of two values with one path the first counts.
        self.positions.places.entry(path).or_insert(Place { key, value });
    }

    fn insert(&mut self, kind: ValueKind, anchor: usize, values: usize, mark: &Marker) -> Result<(), ScanError> {
        self.expect_key_taken(mark)?;
        self.values = self.values.saturating_add(values);
        if self.values > MOST_VALUES {
            let problem = format!("more than {MOST_VALUES} values, those that aliases repeat included");
            return Err(ScanError::new_string(*mark, problem));
        }
        if anchor > 0 {
            let kind = kind.clone();
            self.anchors.insert(anchor, Anchored { kind, values });
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some((mark.into(), kind));
            return Ok(());
        };
        let value = Value::new(Some(&self.origin.to_owned()), kind);
        match &mut open.content {
            Content::List(items) => items.push(value),
            Content::Map { entries, key } => {
                let Some((key, at)) = key.take() else { return Ok(()) };
                let path = join(&open.path, &key);
                match entries.entry(key) {
                    Entry::Vacant(free) => {
                        free.insert(value);
                    }
                    Entry::Occupied(_) => self.note_repeated(path, at),
                }
            }
        }
        Ok(())
    }

    fn note_repeated(&mut self, path: String, at: Position) {
        let first = self.positions.of_key(&path).position.line;
        self.faults.push(SettingError {
            source: self.origin.to_owned(),
            setting: path,
            problem: format!("is there twice; first in line {first}"),
            location: Some(Location {
                file: self.positions.file.clone(),
                position: at,
            }),
        });
    }

    fn take_root(&mut self) -> Result<Map<String, Value>, SettingError> {
        match self.root.take() {
            // Nothing, or comments alone.
            None | Some((_, ValueKind::Nil)) => Ok(Map::new()),
            Some((_, ValueKind::Table(entries))) => Ok(entries),
            Some((at, _)) => Err(self.broken(at, "expected a map of settings")),
        }
    }

    fn broken(&self, position: Position, problem: &str) -> SettingError {
        SettingError {
            source: self.origin.to_owned(),
            setting: String::new(),
            problem: format!("is not valid YAML: {problem}"),
            location: Some(Location {
                file: self.positions.file.clone(),
                position,
            }),
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        return key.to_owned();
    }
    format!("{path}.{key}")
}

/// A plain scalar by YAML's core schema; a fraction stays the text that it is.
fn plain(text: String) -> ValueKind {
    match Yaml::from_str(&text) {
        Yaml::Null => ValueKind::Nil,
        Yaml::Boolean(value) => ValueKind::Boolean(value),
        Yaml::Integer(value) => ValueKind::I64(value),
        _ => ValueKind::String(text),
    }
}
