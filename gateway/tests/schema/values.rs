//! Values by the tables of settings and keys: those that may stand at a place, and those that may not.

use serde_json::{Value, json};
use shared::config::{Key, Map, Scalar, Shape};

/// A value that may stand behind the key `name`.
pub(crate) fn good(scalar: &Scalar, name: &str) -> Value {
    match scalar {
        Scalar::Whole(least, _) | Scalar::Bytes(least, _) => (*least).into(),
        Scalar::Seconds(..) => 1.into(),
        Scalar::Boolean => true.into(),
        Scalar::OneOf(names) => names[0].into(),
        Scalar::QuotedText(_) | Scalar::AnyText(_) => match name {
            "cluster" | "name" => "a:1",
            "path" | "prefix" | "rewrite" => "/a",
            "log_level" => "info",
            "listen_address" | "address" | "endpoints" => "127.0.0.1:1",
            "admin_address" | "dns_servers" => "[::1]:2",
            "trusted_proxies" | "proxy_protocol_from" => "10.0.0.0/8",
            "origins" => "http://a",
            "kubernetes_api" => "https://kubernetes",
            _ => "a",
        }
        .into(),
    }
}

/// Values that cannot stand where this one should.
pub(crate) fn bad(scalar: &Scalar) -> Vec<Value> {
    let mut bad = vec![json!([]), json!({}), json!(["a"])];
    let more = match scalar {
        Scalar::Whole(least, most) | Scalar::Bytes(least, most) => {
            let below = least.checked_sub(1).map_or(json!(-1), Value::from);
            vec![
                below,
                (most + 1).into(),
                "many".into(),
                json!(1.5),
                true.into(),
                Value::Null,
            ]
        }
        Scalar::Seconds(_, most) => vec![
            (-1).into(),
            json!(most + 1.0),
            "soon".into(),
            "1s".into(),
            false.into(),
            Value::Null,
        ],
        Scalar::Boolean => vec![1.into(), "yes".into(), Value::Null],
        Scalar::OneOf(names) => {
            let upper = names[0].to_uppercase();
            let other_case = if upper == names[0] { upper.to_lowercase() } else { upper };
            vec![other_case.into(), 1.into(), "".into(), Value::Null]
        }
        Scalar::QuotedText(text) if !text.pattern.is_empty() => vec!["\u{e4} b".into(), 1.into(), true.into()],
        Scalar::QuotedText(_) | Scalar::AnyText(_) => Vec::new(),
    };
    bad.extend(more);
    bad
}

/// A value of each kind that may stand at a place, with every key that may be there.
pub(crate) fn complete(shape: &Shape, name: &str) -> Vec<Value> {
    match shape {
        Shape::Scalar(scalar) => vec![good(scalar, name)],
        Shape::List(item, _) => vec![complete(item, name).into()],
        Shape::Map(map) if map.choices.is_empty() => vec![with_keys(map, |_| true)],
        Shape::Map(map) => {
            let is_either = |key: &Key| map.choices.iter().any(|choice| choice.first.name == key.name);
            let is_or = |key: &Key| map.choices.iter().any(|choice| choice.second.name == key.name);
            vec![
                with_keys(map, |key| !is_or(key)),
                with_keys(map, |key| !is_either(key) && key.requires.is_none()),
            ]
        }
        Shape::ScalarOrMap(scalar, map) => vec![good(scalar, name), with_keys(map, |_| true)],
        Shape::MapOf(_, value) => vec![json!({ "a": good(value, name) })],
    }
}

fn with_keys(map: &Map, wanted: impl Fn(&Key) -> bool) -> Value {
    let keys = map.keys.iter().filter(|key| wanted(key));
    let entries = keys.map(|key| (key.name.to_owned(), complete(&key.shape, key.name)[0].clone()));
    Value::Object(entries.collect())
}
