//! A cursor over a structured part of the mounted file, such as `routes`.
//!
//! It keeps the path it came by (`routes[1].rewrite`) and collects faults instead of stopping at the
//! first, which a derived deserializer would do.

use std::cell::RefCell;
use std::rc::Rc;

use config::{Value, ValueKind};

use super::yaml::Positions;
use super::{Fault, Location};

#[derive(Debug, Clone)]
pub struct Node<'a> {
    path: String,
    origin: Rc<str>,
    value: Option<&'a Value>,
    /// Where the parts of the file stand that this is a part of.
    positions: Option<&'a Positions>,
    faults: Rc<RefCell<Vec<Fault>>>,
}

impl<'a> Node<'a> {
    pub(super) fn new(
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

    pub fn exists(&self) -> bool {
        !matches!(self.value.map(|value| &value.kind), None | Some(ValueKind::Nil))
    }

    /// Whether there is no element: an empty list, or nothing behind the key.
    pub fn is_empty(&self) -> bool {
        match self.value.map(|value| &value.kind) {
            Some(ValueKind::Array(items)) => items.is_empty(),
            _ => !self.exists(),
        }
    }

    pub fn is_map(&self) -> bool {
        matches!(self.value.map(|value| &value.kind), Some(ValueKind::Table(_)))
    }

    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The elements of a list; a fault when it is something else.
    pub fn items(&self) -> Vec<Node<'a>> {
        match self.value.map(|value| &value.kind) {
            Some(ValueKind::Array(items)) => {
                let numbered = items.iter().enumerate();
                numbered
                    .map(|(at, item)| self.child(format!("{}[{at}]", self.path), Some(item)))
                    .collect()
            }
            None | Some(ValueKind::Nil) => Vec::new(),
            Some(_) => {
                self.fault("expected a list");
                Vec::new()
            }
        }
    }

    /// Checks that this is a map whose keys are all among `known`.
    pub fn expect_keys(&self, known: &[&str]) -> bool {
        let Some(ValueKind::Table(table)) = self.value.map(|value| &value.kind) else {
            self.fault(format!("expected a map with keys among {}", known.join(", ")));
            return false;
        };
        let mut unknown: Vec<&String> = table.keys().filter(|key| !known.contains(&key.as_str())).collect();
        unknown.sort();
        for key in unknown {
            let problem = format!("unknown key; known are {}", known.join(", "));
            self.child(format!("{}.{key}", self.path), None).misplaced(problem);
        }
        true
    }

    pub fn field(&self, key: &str) -> Node<'a> {
        let value = match self.value.map(|value| &value.kind) {
            Some(ValueKind::Table(table)) => table.get(key),
            _ => None,
        };
        self.child(format!("{}.{key}", self.path), value)
    }

    /// A scalar through `parse`; `None` when it is absent or a fault was noted.
    pub fn parse<T>(&self, expects: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        if !self.exists() {
            return None;
        }
        let text = match self.value?.clone().into_string() {
            Ok(text) => text,
            Err(_) => {
                self.fault(format!("expected {expects}, found a list or a map"));
                return None;
            }
        };
        let parsed = parse(&text);
        if parsed.is_none() {
            self.fault(format!("expected {expects}, found {text:?}"));
        }
        parsed
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
        self.faults.borrow_mut().push(Fault {
            source: self.origin.to_string(),
            setting: self.path.clone(),
            problem,
            location,
        });
    }

    /// Every fault noted here or at any node that came from here.
    pub fn take_faults(&self) -> Vec<Fault> {
        self.faults.take()
    }
}
