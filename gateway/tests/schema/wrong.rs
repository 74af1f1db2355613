//! Of everything that can be wrong in a document, one at a time: both refuse it, at its place.

use gateway::config::PROGRAM;
use serde_json::{Map as Object, Value, json};
use shared::config::{Map, Setting, SettingError, Shape};

use crate::agreement::{as_text, disagreements, faults_of, is_at, is_of_several_places, pointer, refused_by_schema};
use crate::values::{bad, complete};

/// Documents in which one thing is wrong, for everything that can be, and where.
struct WrongDocuments {
    base: Value,
    all: Vec<(String, Value)>,
}

impl WrongDocuments {
    fn new() -> Self {
        let documents = PROGRAM.documents.iter();
        let base = documents.map(|key| (key.name.to_owned(), complete(&key.shape, key.name)[0].clone()));
        let mut wrong = Self {
            base: Value::Object(base.collect()),
            all: Vec::new(),
        };
        for setting in PROGRAM.settings.iter().filter(|setting| !setting.secret) {
            wrong.visit_setting(setting);
        }
        for key in PROGRAM.documents {
            wrong.visit(&key.shape, &format!("/{}", key.name));
        }
        wrong
    }

    fn put(&mut self, place: &str, value: Value) {
        let mut document = self.base.clone();
        *document.pointer_mut(place).expect("it is there") = value;
        self.all.push((place.to_owned(), document));
    }

    fn visit_setting(&mut self, setting: &Setting) {
        // Nothing is an empty text, which stands where an empty one is the default.
        let stands = |value: &Value| value.is_null() && setting.default.is_empty();
        for value in bad(&setting.scalar).into_iter().filter(|value| !stands(value)) {
            let mut document = self.base.clone();
            document[setting.key()] = value;
            self.all.push((format!("/{}", setting.key()), document));
        }
    }

    fn visit(&mut self, shape: &Shape, place: &str) {
        let value = self.base.pointer(place).expect("it is there").clone();
        match (shape, value) {
            (
                Shape::Scalar(scalar) | Shape::ScalarOrMap(scalar, _),
                Value::String(_) | Value::Number(_) | Value::Bool(_),
            ) => {
                bad(scalar).into_iter().for_each(|value| self.put(place, value));
            }
            (Shape::List(item, least), Value::Array(items)) => {
                for value in [json!({}), "a".into(), 1.into(), Value::Null] {
                    self.put(place, value);
                }
                if *least > 0 {
                    self.put(place, json!([]));
                }
                (0..items.len()).for_each(|at| self.visit(item, &format!("{place}/{at}")));
            }
            (Shape::Map(map) | Shape::ScalarOrMap(_, map), Value::Object(entries)) => {
                self.visit_map(map, &entries, place)
            }
            (shape, value) => panic!("{place}: {value} is not of {shape:?}"),
        }
    }

    fn visit_map(&mut self, map: &Map, entries: &Object<String, Value>, place: &str) {
        for value in [json!([]), json!(["a"]), true.into(), 1.into(), Value::Null] {
            self.put(place, value);
        }
        let with = |key: &str| {
            let mut entries = entries.clone();
            entries.insert(key.to_owned(), "a".into());
            Value::Object(entries)
        };
        let without = |key: &str| {
            let mut entries = entries.clone();
            entries.remove(key);
            Value::Object(entries)
        };
        self.put(place, with("no_such_key"));
        for key in map.keys.iter().filter(|key| key.required) {
            self.put(place, without(key.name));
        }
        for choice in map.choices {
            let (there, other) = match entries.contains_key(choice.first.name) {
                true => (choice.first, choice.second),
                false => (choice.second, choice.first),
            };
            self.put(place, without(there.name));
            self.put(place, with(other.name));
        }
        for key in map
            .keys
            .iter()
            .filter(|key| key.requires.is_some_and(|other| !entries.contains_key(other)))
        {
            self.put(place, with(key.name));
        }
        for key in map.keys.iter().filter(|key| entries.contains_key(key.name)) {
            self.visit(&key.shape, &format!("{place}/{}", key.name));
        }
    }
}

#[test]
fn of_everything_that_can_be_wrong_both_refuse_each_at_its_place() {
    let WrongDocuments { base, all } = WrongDocuments::new();
    assert_eq!(refused_by_schema(&base), [""; 0]);
    assert_eq!(disagreements(&base, &as_text(&base)), [""; 0]);
    assert!(all.len() > 500, "{} are few", all.len());
    let mut wrong = Vec::new();
    for (place, document) in all {
        let (refused, faults) = (refused_by_schema(&document), faults_of(&as_text(&document)));
        let value = document.pointer(&place).expect("it is there");
        if !refused.iter().any(|refused| is_at(refused, &place)) {
            wrong.push(format!("the schema takes {value} at {place}"));
        }
        let is_told = |fault: &SettingError| {
            let at = pointer(fault);
            at == place || is_at(&at, &place) && !is_of_several_places(fault)
        };
        if !faults.iter().any(is_told) {
            wrong.push(format!("the parser takes {value} at {place}: {faults:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
