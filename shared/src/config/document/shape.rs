//! The form of the file's structured part: lists, maps and their keys.

use std::fmt::Write;

use crate::config::scalar::Scalar;

/// The form of a value in the file's structured part.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// A plain value.
    Scalar(Scalar),
    /// A list of elements of this shape, with the least number of them.
    List(&'static Shape, usize),
    /// A map with declared keys.
    Map(&'static Map),
    /// A map with keys of the user's own, each of the first form, and values of the second.
    MapOf(Scalar, Scalar),
    /// A plain value for the common case, or a map that says more.
    ScalarOrMap(Scalar, &'static Map),
}

/// The keys that a map may have.
#[derive(Debug, Clone, Copy)]
pub struct Map {
    /// Every key that the map may have.
    pub keys: &'static [Key],
    /// Pairs of keys, of each of which the map has exactly one.
    pub choices: &'static [OneOf],
}

/// Two keys that exclude each other, and of which one is needed.
#[derive(Debug, Clone, Copy)]
pub struct OneOf {
    /// One of them.
    pub first: Key,
    /// The other.
    pub second: Key,
}

/// One key of a map: its meaning and the form of its value.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The key as it is written.
    pub name: &'static str,
    /// The value that belongs behind it.
    pub shape: Shape,
    /// Its meaning, a sentence without its full stop.
    pub description: &'static str,
    /// The value without the key; for a list its elements, with spaces between them.
    pub default: Option<&'static str>,
    /// A map without the key is an error.
    pub required: bool,
    /// The key has no meaning without this other one.
    pub requires: Option<&'static str>,
}

impl Key {
    /// An optional key without a default.
    pub const fn new(name: &'static str, shape: Shape, description: &'static str) -> Self {
        Self {
            name,
            shape,
            description,
            default: None,
            required: false,
            requires: None,
        }
    }

    /// An optional key with a plain value.
    pub const fn scalar(name: &'static str, scalar: Scalar, description: &'static str) -> Self {
        Self::new(name, Shape::Scalar(scalar), description)
    }

    /// An optional key with a map.
    pub const fn map(name: &'static str, map: &'static Map, description: &'static str) -> Self {
        Self::new(name, Shape::Map(map), description)
    }

    /// The same key with the value that applies without it.
    pub const fn default(self, default: &'static str) -> Self {
        Self {
            default: Some(default),
            ..self
        }
    }

    /// The same key, without which the map is invalid.
    pub const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// The same key, valid only beside the key `other`.
    pub const fn requires(self, other: &'static str) -> Self {
        Self {
            requires: Some(other),
            ..self
        }
    }
}

impl Map {
    /// A map of `keys`, without choices between them.
    pub const fn of(keys: &'static [Key]) -> Self {
        Self { keys, choices: &[] }
    }

    /// The key called `name`.
    pub fn get(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The names of all keys, for a fault.
    pub(super) fn names(&self) -> String {
        let mut names = String::new();
        for key in self.keys {
            let gap = if names.is_empty() { "" } else { ", " };
            // A `String` takes whatever is written to it.
            let _infallible = write!(names, "{gap}{}", key.name);
        }
        names
    }
}
