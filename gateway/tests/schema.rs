//! The JSON Schema of gateway.yaml and the parser say the same: what the one refuses, the other refuses at the same place,
//! but for the exceptions that are listed here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use gateway::config::{Config, PROGRAM};
use jsonschema::Validator;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map as Object, Value, json};
use shared::config::{Key, Map, Scalar, Setting, SettingError, Shape};
use shared::reload::Reloader;
use shared::test_util::Scratch;
use yaml_rust2::{Yaml, YamlLoader};

static SCHEMA: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(&PROGRAM.schema()).expect("JSON"));
static VALIDATOR: LazyLock<Validator> =
    LazyLock::new(|| jsonschema::draft202012::new(&SCHEMA).expect("a schema that compiles"));

/// What the parser alone refuses, by a part of what it says: each needs a look at several places.
const OF_SEVERAL_PLACES: &[&str] = &[
    "expected one of the clusters",
    "is there twice",
    "another route already has",
    "is only for `protocol: h2c`",
    "cannot stand beside `endpoints`",
    "needs `discovery: kubernetes`",
    "needs the name of a Service",
    "is above timeout",
    "is below first_penalty",
    "is the same as LISTEN_ADDRESS",
    "stands alone",
    "beside the origin `*`",
];
/// Texts of which the schema knows only the form: ports above 65535, lengths, octets above 255 and so on.
const OF_LOOSE_FORM: &[&str] = &[
    "name",
    "cluster",
    "address",
    "endpoints",
    "origins",
    "listen_address",
    "admin_address",
    "dns_servers",
    "trusted_proxies",
    "proxy_protocol_from",
    "kubernetes_api",
    "kubernetes_service_host",
];
/// Texts that may look like numbers. A schema has no pattern for those.
const WORDS: &[&str] = &["port_name", "environment", "pod_name", "kubernetes_service_host"];

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// What the parser says of a file that holds `text`.
fn faults_of(text: &str) -> Vec<SettingError> {
    let scratch = Scratch::new("schema");
    let file = scratch.file("gateway.yaml", text);
    let variables = BTreeMap::from([("API_KEY".to_owned(), "a key".to_owned())]);
    let (parsed, _reloader) = Reloader::start(PROGRAM.layers(Some(file), variables), Config::from_settings);
    parsed.err().map_or(Vec::new(), |faults| faults.0)
}

/// What the schema says of `document`, as JSON pointers.
fn refused_by_schema(document: &Value) -> Vec<String> {
    let errors = VALIDATOR.iter_errors(document);
    errors.map(|error| error.instance_path().to_string()).collect()
}

/// The place of a fault, such as `routes[1].prefix`, as a JSON pointer.
fn pointer(fault: &SettingError) -> String {
    format!("/{}", fault.setting.replace(['.', '['], "/").replace(']', ""))
}

fn is_of_several_places(fault: &SettingError) -> bool {
    OF_SEVERAL_PLACES.iter().any(|part| fault.problem.contains(part))
}

/// Whether the parser alone can know of `fault`.
fn is_exception(fault: &SettingError, document: &Value) -> bool {
    let problem = &fault.problem;
    if is_of_several_places(fault) {
        return true;
    }
    let pointer = pointer(fault);
    let is_one_of = |names: &[&str]| pointer.split('/').any(|part| names.contains(&part));
    match document.pointer(&pointer) {
        // The range of a number that is written as a text.
        Some(Value::String(text)) if text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => {
            ["expected a whole number", "expected seconds", "expected bytes"]
                .iter()
                .any(|start| problem.starts_with(start))
                || is_one_of(OF_LOOSE_FORM)
        }
        Some(Value::String(_)) => is_one_of(OF_LOOSE_FORM),
        // To a schema 1.0 is a whole number.
        Some(Value::Number(number)) => {
            number.as_f64().is_some_and(|number| number.fract() == 0.0) && number.is_f64() || is_one_of(WORDS)
        }
        Some(Value::Bool(_)) => is_one_of(WORDS),
        _ => false,
    }
}

/// Whether one place is the other, or inside of it.
fn is_at(place: &str, other: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    within(place, other) || within(other, place)
}

/// Where schema and parser disagree about `document`, of which `text` is the YAML.
fn disagreements(document: &Value, text: &str) -> Vec<String> {
    let (refused, faults) = (refused_by_schema(document), faults_of(text));
    let pointers: Vec<String> = faults.iter().map(pointer).collect();
    // A route is not told of its cluster's faulty name again; the schema looks at each place by itself.
    let names_faulty_cluster = |place: &str| {
        let of_clusters = |fault: &String| fault.starts_with("/clusters");
        place.starts_with("/routes/") && place.ends_with("/cluster") && pointers.iter().any(of_clusters)
    };
    let schema_alone = refused
        .iter()
        .filter(|place| !pointers.iter().any(|fault| is_at(place, fault)) && !names_faulty_cluster(place));
    let mut all: Vec<String> = schema_alone
        .map(|place| format!("only the schema refuses {place:?}"))
        .collect();
    for fault in &faults {
        let is_refused = refused.iter().any(|place| is_at(place, &pointer(fault)));
        if !is_refused && !is_exception(fault, document) {
            all.push(format!("only the parser refuses: {fault}"));
        }
    }
    all
}

/// JSON is YAML.
fn as_text(document: &Value) -> String {
    format!("{document:#}")
}

#[test]
fn what_is_shipped_is_what_the_program_prints() {
    let shipped = std::fs::read_to_string(repository().join("deploy/gateway.schema.json")).expect("it is shipped");
    let gateway = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .arg("--print-schema")
        .output();
    let printed = gateway.expect("it runs").stdout;
    assert!(
        shipped.as_bytes() == printed,
        "run: cargo run --bin gateway -- --print-schema > deploy/gateway.schema.json"
    );
}

#[test]
fn it_is_a_schema_by_its_metaschema() {
    jsonschema::draft202012::meta::validate(&SCHEMA).expect("valid");
    // Another look, by somebody else's rules: every key says what it is for.
    let mut places = vec![&*SCHEMA];
    while let Some(place) = places.pop() {
        for (name, property) in place["properties"].as_object().into_iter().flatten() {
            let about = property["description"].as_str().unwrap_or_default();
            assert!(about.len() > 10 && about.ends_with('.'), "{name}: {about:?}");
            places.push(property);
        }
        places.extend(place.get("items"));
        places.extend(place["anyOf"].as_array().into_iter().flatten());
    }
}

/// Every gateway.yaml in the repository, by where it stands.
fn files() -> Vec<(String, String)> {
    let read =
        |path: &Path| std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut files = vec![(
        "default.yaml".to_owned(),
        read(&repository().join("gateway/default.yaml")),
    )];
    for path in manifests(&repository().join("deploy")) {
        for object in YamlLoader::load_from_str(&read(&path)).expect("YAML") {
            if let Some(text) = object["data"]["gateway.yaml"].as_str() {
                files.push((path.display().to_string(), text.to_owned()));
            }
        }
    }
    for path in [
        "README.md",
        "gateway/docs/gateway-yaml.md",
        "deploy/README.md",
        "deploy/lab/README.md",
        "deploy/lab6/README.md",
        "deploy/lesson01/README.md",
        "scripts/README.md",
    ] {
        let text = read(&repository().join(path));
        let blocks = text
            .split("```yaml\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next());
        let ours = blocks.filter(|block| block.contains("clusters:") || block.contains("routes:"));
        files.extend(ours.map(|block| (path.to_owned(), block.to_owned())));
    }
    // What the local pair's gateway gets: an endpoint stands where scripts/lab puts its own, and no routes follow.
    let path = "scripts/lab/src/pair/gateway.yaml.template";
    let document = read(&repository().join(path)).replace("ENDPOINTS", "\"127.0.0.1:5001\"");
    files.push((path.to_owned(), document.replace("MORE", "")));
    files
}

fn manifests(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("readable").path();
        // Of a chart: no YAML before helm has rendered them.
        if path.ends_with("templates") {
            continue;
        }
        if path.is_dir() {
            found.extend(manifests(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    found
}

fn as_json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Hash(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| (key.as_str().expect("a text").to_owned(), as_json(value)));
            Value::Object(entries.collect())
        }
        Yaml::Array(items) => items.iter().map(as_json).collect(),
        Yaml::Boolean(value) => (*value).into(),
        Yaml::Integer(number) => (*number).into(),
        Yaml::Real(_) => yaml.as_f64().into(),
        Yaml::String(text) => text.as_str().into(),
        _ => Value::Null,
    }
}

#[test]
fn every_file_of_the_repository_is_valid() {
    let files = files();
    for place in [
        "default.yaml",
        "base/gateway-configmap",
        "step-03",
        "step-07",
        "gateway-yaml.md",
        "gateway.yaml.template",
    ] {
        assert!(files.iter().any(|(path, _)| path.contains(place)), "{place} has one");
    }
    for (place, text) in files {
        let document = as_json(&YamlLoader::load_from_str(&text).expect("YAML")[0]);
        assert_eq!(refused_by_schema(&document), [""; 0], "{place}");
        assert_eq!(disagreements(&document, &text), [""; 0], "{place}");
    }
}

/// A value that may stand behind the key `name`.
fn good(scalar: &Scalar, name: &str) -> Value {
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
fn bad(scalar: &Scalar) -> Vec<Value> {
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
fn complete(shape: &Shape, name: &str) -> Vec<Value> {
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
