//! Documents at random, mostly right and at the edges of what is: both say the same of them.

use gateway::config::PROGRAM;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use shared::config::{Map, Scalar, Shape};

use crate::agreement::{as_text, disagreements};
use crate::values::good;

/// Everything good, and at the edges of its range.
fn any_good(scalar: Scalar, name: &'static str) -> BoxedStrategy<Value> {
    match scalar {
        Scalar::Whole(least, most) => {
            let number = prop_oneof![least..=most, Just(least), Just(most)];
            prop_oneof![
                number.clone().prop_map(Value::from),
                number.prop_map(|number| number.to_string().into())
            ]
            .boxed()
        }
        Scalar::Seconds(least, most) => {
            let number = prop_oneof![least..=most, Just(least), Just(most)];
            prop_oneof![
                number.clone().prop_map(Value::from),
                number.prop_map(|number| number.to_string().into())
            ]
            .boxed()
        }
        Scalar::Bytes(least, most) => {
            let texts = ["64Ki", "65536", "1Mi"].map(Value::from);
            prop_oneof![(least..=most).prop_map(Value::from), select(texts.to_vec())].boxed()
        }
        Scalar::Boolean => select(vec![json!(true), json!(false), "true".into(), "false".into()]).boxed(),
        Scalar::OneOf(names) => select(names).prop_map(Value::from).boxed(),
        Scalar::QuotedText(_) | Scalar::AnyText(_) => {
            prop_oneof![3 => Just(good(&scalar, name)), 1 => any_text()].boxed()
        }
    }
}

/// Texts that are nearly something, and some that are.
fn any_text() -> impl Strategy<Value = Value> {
    let texts = [
        "",
        "a",
        "-1",
        "5",
        "0",
        "1.5",
        "1e3",
        "+7",
        "99999999999999999999",
        "64Ki",
        "5s",
        "true",
        "True",
        "null",
        "~",
        "b:2",
        "a.b.:65535",
        "a:0",
        "a:70000",
        "a:+1",
        "a..b:1",
        "/",
        "/a/b/",
        "/a//b",
        "/a/../b",
        "/.",
        "/..a",
        "/%2e",
        "/a?b",
        "/a b",
        "127.0.0.1:80",
        "300.0.0.1:80",
        "[::1]:80",
        "[fe80::1%2]:80",
        "127.0.0.1:80,[::1]:53",
        "http://a",
        "HTTPS://a:1",
        "https://a/b",
        "*",
        "http://a:80",
        "a://[::1]:5",
        "http://",
        "json",
        "INFO",
        "Warning",
        "a\nb",
        "\t",
        "text/plain; charset=utf-8",
        "\u{e4}",
        "x-1",
        "X",
        "a_b",
        "# no comment",
        ": x",
    ];
    prop_oneof![
        select(texts.to_vec()).prop_map(Value::from),
        "[ -~]{0,8}".prop_map(Value::from),
        "[/.a%?]{1,6}".prop_map(Value::from),
        "[a-c.:0-9-]{1,6}".prop_map(Value::from),
    ]
}

/// What may be of the wrong kind anywhere.
fn anything() -> impl Strategy<Value = Value> {
    let others = [
        json!(null),
        json!(true),
        json!([]),
        json!({}),
        json!([1]),
        json!(["a"]),
        json!({"a": 1}),
        json!([null]),
        json!(-1),
        json!(0),
        json!(0.0005),
        json!(1.0),
        json!(2.5),
        json!(70000),
        json!(1_000_000_000_000_u64),
    ];
    prop_oneof![any_text(), select(others.to_vec()), any::<i32>().prop_map(Value::from)]
}

/// Mostly what may stand there.
fn any_value(shape: Shape, name: &'static str) -> BoxedStrategy<Value> {
    let fitting = match shape {
        Shape::Scalar(scalar) => any_good(scalar, name),
        Shape::List(item, _) => prop::collection::vec(any_value(*item, name), 0..3)
            .prop_map(Value::from)
            .boxed(),
        Shape::Map(map) => any_map(map),
        Shape::ScalarOrMap(scalar, map) => prop_oneof![any_good(scalar, name), any_map(map)].boxed(),
        Shape::MapOf(_, value) => any_good(value, name).prop_map(|value| json!({ "a": value })).boxed(),
    };
    prop_oneof![30 => fitting, 1 => anything()].boxed()
}

fn any_map(map: &'static Map) -> BoxedStrategy<Value> {
    let keys: Vec<_> = map
        .keys
        .iter()
        .map(|key| {
            let often = if key.required { 0.97 } else { 0.3 };
            prop::option::weighted(often, any_value(key.shape, key.name))
                .prop_map(|value| value.map(|value| (key.name.to_owned(), value)))
        })
        .collect();
    let unknown = prop::option::weighted(0.03, ("[a-z_]{1,12}", anything()));
    (keys, unknown)
        .prop_map(|(keys, unknown)| Value::Object(keys.into_iter().chain([unknown]).flatten().collect()))
        .boxed()
}

fn any_document() -> impl Strategy<Value = Value> {
    let documents = PROGRAM.documents.iter().map(|key| {
        prop::option::weighted(0.8, any_value(key.shape, key.name))
            .prop_map(|value| Some((key.name.to_owned(), value?)))
            .boxed()
    });
    let settings = PROGRAM
        .settings
        .iter()
        .filter(|setting| !setting.secret)
        .map(|setting| {
            let (key, name): (String, &'static str) = (setting.key(), Box::leak(setting.key().into_boxed_str()));
            let value = prop_oneof![20 => any_good(setting.scalar, name), 1 => anything()];
            prop::option::weighted(0.1, value)
                .prop_map(move |value| Some((key.clone(), value?)))
                .boxed()
        });
    let entries: Vec<_> = documents.chain(settings).collect();
    let unknown = prop::option::weighted(0.03, ("[a-z_]{1,12}", anything()));
    (entries, unknown)
        .prop_map(|(entries, unknown)| Value::Object(entries.into_iter().chain([unknown]).flatten().collect()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn schema_and_parser_agree(document in any_document()) {
        let text = as_text(&document);
        let disagreements = disagreements(&document, &text);
        prop_assert!(disagreements.is_empty(), "{text}\n{}", disagreements.join("\n"));
    }
}
