//! What the structured part of the file has to look like: lists, maps and their keys.

use std::fmt::Write;

use crate::config::scalar::Scalar;

/// What may stand behind a key of the file's structured part.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    Scalar(Scalar),
    /// So many elements at least, each of this shape.
    List(&'static Shape, usize),
    Map(&'static Map),
    /// A map with keys of the user's own, each of the first form, and values of the second.
    Entries(Scalar, Scalar),
    /// A plain value for the common case, or a map that says more.
    ScalarOrMap(Scalar, &'static Map),
}

/// The keys that a map may have.
#[derive(Debug, Clone, Copy)]
pub struct Map {
    pub keys: &'static [Key],
    /// Of each of these the map has exactly one.
    pub choices: &'static [Choice],
}

/// Two keys that exclude each other, and of which one is needed.
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    pub either: Key,
    pub or: Key,
}

/// One key of a map: what it means and what may stand behind it.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    pub shape: Shape,
    pub about: &'static str,
    /// What holds without the key; of a list its values, with spaces between them.
    pub default: Option<&'static str>,
    pub required: bool,
    /// The key has no meaning without this other one.
    pub beside: Option<&'static str>,
}

impl Key {
    pub const fn new(name: &'static str, shape: Shape, about: &'static str) -> Self {
        Self {
            name,
            shape,
            about,
            default: None,
            required: false,
            beside: None,
        }
    }

    pub const fn scalar(name: &'static str, scalar: Scalar, about: &'static str) -> Self {
        Self::new(name, Shape::Scalar(scalar), about)
    }

    pub const fn map(name: &'static str, map: &'static Map, about: &'static str) -> Self {
        Self::new(name, Shape::Map(map), about)
    }

    pub const fn or(self, default: &'static str) -> Self {
        Self {
            default: Some(default),
            ..self
        }
    }

    pub const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    pub const fn beside(self, other: &'static str) -> Self {
        Self {
            beside: Some(other),
            ..self
        }
    }
}

impl Map {
    pub const fn of(keys: &'static [Key]) -> Self {
        Self { keys, choices: &[] }
    }

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
