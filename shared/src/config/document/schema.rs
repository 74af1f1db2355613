//! The JSON Schema of the mounted file, for editors and checks: made of the tables that the reader goes by, so that the
//! two say the same.
//!
//! Rules about several places at once are the reader's alone, such as that a route names a known cluster.

use serde_json::{Map as Object, Value, json};

use super::shape::{Key, Map, Shape};
use crate::config::scalar::{Scalar, Text};
use crate::config::setting::Setting;
use crate::config::units;

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The schema of a file of these `settings` and `documents`.
pub fn schema(title: &str, settings: &[Setting], documents: &[Key]) -> Value {
    let mut properties = Object::new();
    for document in documents {
        properties.insert(document.name.to_owned(), of_key(document));
    }
    // A secret is refused in the file.
    for setting in settings.iter().filter(|setting| !setting.secret) {
        properties.insert(setting.key(), of_setting(setting));
    }
    json!({
        "$schema": DIALECT,
        "title": title,
        // A file of comments alone says nothing.
        "type": ["object", "null"],
        "properties": properties,
        "additionalProperties": false,
    })
}

fn of_setting(setting: &Setting) -> Value {
    let mut schema = of_scalar(&setting.scalar);
    // A key without a value is an empty text, which is valid where an empty one is the default.
    if let Some(types) = schema.get_mut("type").filter(|_| setting.default.is_empty()) {
        let mut all = match types.take() {
            Value::Array(all) => all,
            one => vec![one],
        };
        all.push("null".into());
        *types = all.into();
    }
    let live = if setting.live {
        ""
    } else {
        " Taken up at the next start."
    };
    let description = format!("{}.{}{live}", setting.description, expected(&setting.scalar));
    schema.insert("description".to_owned(), description.into());
    schema.insert("default".to_owned(), value_of(&setting.scalar, setting.default));
    schema.into()
}

fn of_key(key: &Key) -> Value {
    let mut schema = of_shape(&key.shape);
    let expected = match &key.shape {
        Shape::Scalar(scalar) | Shape::List(Shape::Scalar(scalar), _) => expected(scalar),
        _ => String::new(),
    };
    schema.insert(
        "description".to_owned(),
        format!("{}.{expected}", key.description).into(),
    );
    let default = key.default.map(|default| match &key.shape {
        Shape::Scalar(scalar) => value_of(scalar, default),
        Shape::List(Shape::Scalar(scalar), _) => {
            default.split_whitespace().map(|text| value_of(scalar, text)).collect()
        }
        _ => Value::Null,
    });
    if let Some(default) = default {
        schema.insert("default".to_owned(), default);
    }
    schema.into()
}

/// The expectation as a sentence for people. Where there are few values, editors list them.
fn expected(scalar: &Scalar) -> String {
    match scalar {
        Scalar::Boolean | Scalar::OneOf(_) => String::new(),
        scalar => format!(" Expected: {scalar}."),
    }
}

fn of_shape(shape: &Shape) -> Object<String, Value> {
    match shape {
        Shape::Scalar(scalar) => of_scalar(scalar),
        Shape::Map(map) => of_map(map),
        Shape::MapOf(name, value) => object(json!({
            "type": "object", "propertyNames": of_scalar(name), "additionalProperties": of_scalar(value),
        })),
        Shape::List(item, least) => object(json!({ "type": "array", "items": of_shape(item), "minItems": least })),
        Shape::ScalarOrMap(scalar, map) => object(json!({ "anyOf": [of_scalar(scalar), of_map(map)] })),
    }
}

fn of_map(map: &Map) -> Object<String, Value> {
    let keys = map.keys.iter();
    let properties: Object<String, Value> = keys.clone().map(|key| (key.name.to_owned(), of_key(key))).collect();
    let mut schema = object(json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    }));
    let required: Vec<&str> = keys.clone().filter(|key| key.required).map(|key| key.name).collect();
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    let requires = keys.filter_map(|key| Some((key.name.to_owned(), json!([key.requires?]))));
    let requires: Object<String, Value> = requires.collect();
    if !requires.is_empty() {
        schema.insert("dependentRequired".to_owned(), requires.into());
    }
    let choices = map.choices.iter().map(|choice| {
        let [first, second] = [choice.first.name, choice.second.name].map(|name| json!({ "required": [name] }));
        json!({ "oneOf": [first, second] })
    });
    let choices: Vec<Value> = choices.collect();
    if !choices.is_empty() {
        schema.insert("allOf".to_owned(), choices.into());
    }
    schema
}

/// The reader takes every plain value as its text, so a quoted number is a number too; only its range goes unchecked here.
fn of_scalar(scalar: &Scalar) -> Object<String, Value> {
    object(match scalar {
        Scalar::Whole(least, most) => json!({
            "type": ["integer", "string"], "minimum": least, "maximum": most, "pattern": "^\\+?[0-9]+$",
        }),
        Scalar::Seconds(least, most) => json!({
            "type": ["number", "string"], "minimum": json_number(*least), "maximum": json_number(*most),
            "pattern": "^[+-]?([0-9]+\\.?[0-9]*|\\.[0-9]+)([Ee][+-]?[0-9]+)?$",
        }),
        Scalar::Bytes(least, most) => json!({
            "type": ["integer", "string"], "minimum": least, "maximum": most, "pattern": "^[0-9]+(Ki|Mi|Gi)?$",
        }),
        Scalar::Boolean => json!({ "type": ["boolean", "string"], "pattern": "^(true|false)$" }),
        Scalar::OneOf(names) => json!({ "enum": names }),
        Scalar::QuotedText(text) => of_text(json!("string"), text),
        Scalar::AnyText(text) => of_text(json!(["string", "number", "boolean"]), text),
    })
}

fn of_text(types: Value, text: &Text) -> Value {
    match text.pattern {
        "" => json!({ "type": types }),
        pattern => json!({ "type": types, "pattern": pattern }),
    }
}

/// A value of a table as JSON has it.
fn value_of(scalar: &Scalar, text: &str) -> Value {
    let value = match scalar {
        Scalar::Whole(..) => units::number::<u64>(text).map(Value::from),
        Scalar::Seconds(..) => units::number(text).map(json_number),
        Scalar::Boolean => units::boolean(text).map(Value::from),
        Scalar::Bytes(..) | Scalar::OneOf(_) | Scalar::QuotedText(_) | Scalar::AnyText(_) => None,
    };
    value.unwrap_or_else(|| text.into())
}

/// A whole number is written as one.
fn json_number(number: f64) -> Value {
    let text = number.to_string();
    units::number::<u64>(&text).map_or(number.into(), Value::from)
}

fn object(value: Value) -> Object<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Object::new(),
    }
}
