//! A cursor over a structured part of the mounted file, such as `routes`.
//!
//! It keeps the path it came by (`routes[1].rewrite`) and collects faults instead of stopping at the
//! first, which a derived deserializer would do.

use std::cell::RefCell;
use std::rc::Rc;

use config::{Value, ValueKind};

use super::positions::Positions;
use super::shape::{Key, Map, OneOf, Shape};
use crate::config::error::SettingError;
use crate::config::position::Location;
use crate::config::scalar::Scalar;
use crate::config::source::DEFAULT_ORIGIN;

/// A value in the file with its path, or the absence of one.
#[derive(Debug, Clone)]
pub struct Node<'a> {
    path: String,
    origin: Rc<str>,
    value: Option<&'a Value>,
    /// The positions of the file's parts.
    positions: Option<&'a Positions>,
    faults: Rc<RefCell<Vec<SettingError>>>,
}

/// The one of two keys that a map has.
#[derive(Debug)]
pub enum Chosen<'a> {
    /// The first of them.
    First(Node<'a>),
    /// The second of them.
    Second(Node<'a>),
}

impl<'a> Node<'a> {
    pub(in crate::config) fn new(
        path: String,
        origin: String,
        value: Option<&'a Value>,
        positions: Option<&'a Positions>,
    ) -> Self {
        Self {
            path,
            origin: origin.into(),
            value,
            positions,
            faults: Rc::default(),
        }
    }

    fn child(&self, path: String, value: Option<&'a Value>) -> Self {
        Self {
            path,
            origin: Rc::clone(&self.origin),
            value,
            positions: self.positions,
            faults: Rc::clone(&self.faults),
        }
    }

    /// An absent value, every key of which has its default.
    pub fn absent() -> Self {
        Self::new(String::new(), DEFAULT_ORIGIN.to_owned(), None, None)
    }

    /// True when the key exists, whatever its value is.
    pub fn exists(&self) -> bool {
        self.value.is_some()
    }

    /// True for a map.
    pub fn is_map(&self) -> bool {
        matches!(self.kind(), Some(ValueKind::Table(_)))
    }

    fn kind(&self) -> Option<&'a ValueKind> {
        self.value.map(|value| &value.kind)
    }

    /// The layer that the value comes from, such as `file /etc/gateway/gateway.yaml`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The elements of the list that is the value of `key`, none when it is absent; an error when it is something else
    /// or too short.
    pub fn items(&self, key: &Key) -> Vec<Node<'a>> {
        let Shape::List(_, least) = key.shape else {
            panic!("{} is no list", key.name);
        };
        let items = match self.kind() {
            Some(ValueKind::Array(items)) => items,
            None => return Vec::new(),
            Some(ValueKind::Nil) => {
                self.fault("expected a list, found nothing");
                return Vec::new();
            }
            Some(_) => {
                self.fault("expected a list");
                return Vec::new();
            }
        };
        if items.len() < least {
            let found = items.len();
            let problem = format!("expected at least {least} in the list, found {found}; leave it out for the default");
            self.fault(problem);
        }
        let numbered = items.iter().enumerate();
        numbered
            .map(|(at, item)| self.child(format!("{}[{at}]", self.path), Some(item)))
            .collect()
    }

    /// Checks that this is a map with keys of `map` alone, none of them in the wrong company.
    pub fn expect(&self, map: &Map) -> bool {
        let Some(ValueKind::Table(table)) = self.kind() else {
            let nothing = if self.is_nothing() { ", found nothing" } else { "" };
            self.fault(format!("expected a map with keys among {}{nothing}", map.names()));
            return false;
        };
        let mut unknown: Vec<&String> = table.keys().filter(|key| map.get(key).is_none()).collect();
        unknown.sort();
        for key in unknown {
            let problem = format!("unknown key; known are {}", map.names());
            self.child(self.below(key), None).misplaced(problem);
        }
        for key in map.keys.iter().filter(|key| table.contains_key(key.name)) {
            if let Some(other) = key.requires.filter(|other| !table.contains_key(*other)) {
                self.field(key).misplaced(format!("has a meaning only beside {other}"));
            }
        }
        true
    }

    /// The path of the value of `name` in this map.
    fn below(&self, name: &str) -> String {
        match self.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        }
    }

    /// The value behind `key`, which may be absent.
    pub fn field(&self, key: &Key) -> Node<'a> {
        let value = match self.kind() {
            Some(ValueKind::Table(table)) => table.get(key.name),
            _ => None,
        };
        self.child(self.below(key.name), value)
    }

    /// The one of two keys that the map has; an error when it has none or both.
    pub fn choose(&self, choice: &OneOf) -> Option<Chosen<'a>> {
        let OneOf { first, second } = choice;
        let (one, other) = (self.field(first), self.field(second));
        match (one.exists(), other.exists()) {
            (true, false) => Some(Chosen::First(one)),
            (false, true) => Some(Chosen::Second(other)),
            _ => {
                let [first, second] = [first, second].map(|key| format!("{} ({})", key.name, key.description));
                self.fault(format!("expected exactly one of {first} and {second}"));
                None
            }
        }
    }

    /// The map behind `key`, which is absent when there is none or something else, with a fault noted.
    ///
    /// # Panics
    /// This and what follows: when the key is declared to be something else, which every start would show.
    pub fn map(&self, key: &Key) -> Node<'a> {
        let Shape::Map(map) = key.shape else {
            panic!("{} is no map", key.name);
        };
        let field = self.field(key);
        match field.exists() && !field.expect(map) {
            true => self.child(field.path, None),
            false => field,
        }
    }

    /// The elements of the list behind `key`.
    pub fn list(&self, key: &Key) -> Vec<Node<'a>> {
        self.field(key).items(key)
    }

    /// The value behind `key`, or its default, with a fault noted where there is something else.
    ///
    /// # Panics
    /// When the key's own default does not parse: a mistake in the table, which every start would show.
    pub fn get<T>(&self, key: &Key, parse: impl Fn(&str) -> Option<T>) -> T {
        let found = self.find(key, &parse);
        let default = || key.default.and_then(parse);
        found
            .or_else(default)
            .unwrap_or_else(|| panic!("the default of {} does not parse", key.name))
    }

    /// The value behind `key`; `None` when it is absent or a fault was noted.
    pub fn find<T>(&self, key: &Key, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let field = self.field(key);
        let Shape::Scalar(scalar) = &key.shape else {
            panic!("{} is no plain value", key.name);
        };
        if key.required && !field.exists() {
            field.fault(format!("is missing; expected {scalar}"));
        }
        field.parse(scalar, parse)
    }

    /// The plain values of the list behind `key`, or its default ones.
    ///
    /// # Panics
    /// As [`Node::get`].
    pub fn values<T>(&self, key: &Key, parse: impl Fn(&str) -> Option<T>) -> Vec<T> {
        let field = self.field(key);
        if key.required && !field.exists() {
            field.fault("is missing; expected a list");
        }
        if !field.exists() {
            let default = key.default.unwrap_or_default().split_whitespace().map(&parse);
            let default: Option<Vec<T>> = default.collect();
            return default.unwrap_or_else(|| panic!("the default of {} does not parse", key.name));
        }
        let Shape::List(Shape::Scalar(scalar), _) = &key.shape else {
            panic!("{} is no list of plain values", key.name);
        };
        let items = field.items(key);
        items.iter().filter_map(|item| item.parse(scalar, &parse)).collect()
    }

    /// The entries of the map behind `key`, whose names pass `is_name`; none when it is absent.
    ///
    /// # Panics
    /// When the key is declared to be something else, which every start would show.
    pub fn entries<T>(
        &self,
        key: &Key,
        is_name: impl Fn(&str) -> bool,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<(String, T)> {
        let Shape::MapOf(name, value) = &key.shape else {
            panic!("{} is no map of plain values", key.name);
        };
        let field = self.field(key);
        let table = match field.kind() {
            Some(ValueKind::Table(table)) => table,
            None => return Vec::new(),
            Some(_) => {
                field.fault(format!("expected a map, from {name} to {value}"));
                return Vec::new();
            }
        };
        let mut names: Vec<&String> = table.keys().collect();
        names.sort();
        let entries = names.into_iter().filter_map(|entry| {
            let node = field.child(field.below(entry), table.get(entry));
            if !is_name(entry) {
                node.misplaced(format!("expected {name}, found {entry:?}"));
                return None;
            }
            Some((entry.clone(), node.parse(value, &parse)?))
        });
        entries.collect()
    }

    /// A plain value through `parse`; `None` when it is absent or a fault was noted.
    pub fn parse<T>(&self, scalar: &Scalar, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let value = self.value?;
        if self.is_nothing() {
            self.fault(format!("expected {scalar}, found nothing"));
            return None;
        }
        let Ok(text) = value.clone().into_string() else {
            self.fault(format!("expected {scalar}, found a list or a map"));
            return None;
        };
        let parsed = scalar.allows(&text).then(|| parse(&text)).flatten();
        if parsed.is_none() {
            self.fault(format!("expected {scalar}, found {text:?}"));
        }
        parsed
    }

    /// A plain value as it is written, valid or not.
    pub fn written(&self) -> Option<String> {
        self.value?.clone().into_string().ok()
    }

    /// True for a key without a value.
    fn is_nothing(&self) -> bool {
        matches!(self.kind(), Some(ValueKind::Nil))
    }

    /// Notes what is wrong with the value.
    pub fn fault(&self, problem: impl Into<String>) {
        let location = self.positions.map(|positions| positions.of_value(&self.path));
        self.note(problem.into(), location);
    }

    /// Notes that this has no place here, whatever its value is.
    pub fn misplaced(&self, problem: impl Into<String>) {
        let location = self.positions.map(|positions| positions.of_key(&self.path));
        self.note(problem.into(), location);
    }

    fn note(&self, problem: String, location: Option<Location>) {
        self.faults.borrow_mut().push(SettingError {
            source: self.origin.to_string(),
            setting: self.path.clone(),
            problem,
            location,
        });
    }

    /// Tells whether errors were noted and not taken yet, at this node or at one that came from it.
    pub fn has_faults(&self) -> bool {
        !self.faults.borrow().is_empty()
    }

    /// The errors noted at this node and at every node that came from it.
    pub fn take_faults(&self) -> Vec<SettingError> {
        self.faults.take()
    }
}
