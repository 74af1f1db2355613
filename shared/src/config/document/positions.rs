//! The place of every part of a file.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::config::position::{Location, Position};

/// Where one value stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The key it stands behind; an element of a list has none.
    pub(super) key: Option<Position>,
    /// What a fault of the value points at: a plain value itself, but the key of a list, a map or nothing at all.
    pub(super) value: Position,
}

/// The place of every part of a file by its path, such as `routes[1].prefix`.
#[derive(Debug)]
pub(in crate::config) struct Positions {
    pub(super) file: PathBuf,
    pub(super) places: HashMap<String, Place>,
}

impl Positions {
    /// Where the value at `path` stands; for one that is missing, where what should hold it does.
    pub(in crate::config) fn of_value(&self, path: &str) -> Location {
        self.locate(path, |place| place.value)
    }

    /// Where the key of `path` stands.
    pub(in crate::config) fn of_key(&self, path: &str) -> Location {
        self.locate(path, |place| place.key.unwrap_or(place.value))
    }

    fn locate(&self, path: &str, part: impl Fn(&Place) -> Position) -> Location {
        let mut path = path;
        let position = loop {
            if let Some(place) = self.places.get(path) {
                break part(place);
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => break Position { line: 1, column: 1 },
            }
        };
        Location {
            file: self.file.clone(),
            position,
        }
    }
}
