//! The place of every part of a file.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::config::position::{Location, Position};

/// The positions of one value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Its key; an element of a list has none.
    pub(super) key: Option<Position>,
    /// The position that an error of the value names: a plain value's own, but the key of a list, a map or an empty value.
    pub(super) value: Position,
}

/// The place of every part of a file by its path, such as `routes[1].prefix`.
#[derive(Debug)]
pub(in crate::config) struct Positions {
    pub(super) file: PathBuf,
    pub(super) places: HashMap<String, Place>,
}

impl Positions {
    /// The position of the value at `path`; for a missing one, the position of its parent.
    pub(in crate::config) fn of_value(&self, path: &str) -> Location {
        self.locate(path, |place| place.value)
    }

    /// The position of the key of `path`.
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
