//! SettingErrors of the mounted file say where they are: line and column of the value, of the key, or of what should hold it.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use shared::config::units::number;
use shared::config::{Key, Layers, Map, Scalar, Setting, SettingErrors, Settings, Shape, YamlFile};
use shared::test_util::Scratch;

const COUNT: Setting = Setting::new("COUNT", "1", Scalar::Whole(1, 9), "how many");
const TOKEN: Setting = Setting::secret("TOKEN", "the key to it all");

/// A route has a `path`, a number `weight` and perhaps a map `check` of an `interval`.
const ROUTES: Key = Key::new("routes", Shape::List(&Shape::Map(&ROUTE), 0), "where to");
const ROUTE: Map = Map::of(&[PATH, WEIGHT, CHECK]);
const PATH: Key = Key::scalar("path", Scalar::quoted_text("a path", "^/"), "what").required();
const WEIGHT: Key = Key::scalar("weight", NUMBER, "how much");
const CHECK: Key = Key::map("check", &Map::of(&[INTERVAL]), "whether it is well");
const INTERVAL: Key = Key::scalar("interval", NUMBER, "how often");
const NUMBER: Scalar = Scalar::Whole(0, 99);

fn layers(scratch: &Scratch, text: impl AsRef<[u8]>) -> Layers {
    Layers {
        settings: vec![COUNT, TOKEN],
        documents: &[ROUTES],
        default_document: "routes: [{ path: /default }]",
        default_file: "/nowhere/settings.yaml",
        default_config_dirs: "/nowhere/config",
        default_secret_dir: "/nowhere/secrets",
        file: Some(scratch.file("settings.yaml", text)),
        file_held: false,
        variables: BTreeMap::new(),
    }
}

/// Reads the file as a service would.
fn read(settings: &mut Settings) {
    settings.get(&COUNT, number::<u32>);
    let routes = settings.document(&ROUTES);
    for route in routes.items(&ROUTES) {
        if !route.expect(&ROUTE) {
            continue;
        }
        route.find(&PATH, |text| Some(text.to_owned()));
        route.find(&WEIGHT, number::<u32>);
        route.map(&CHECK).find(&INTERVAL, number::<u32>);
    }
    let noted = routes.take_faults();
    settings.note(noted);
}

/// Every fault of `text`, without the file's name.
fn faults_of(text: impl AsRef<[u8]>) -> Vec<String> {
    let scratch = Scratch::new("positions");
    let mut settings = layers(&scratch, text).load();
    read(&mut settings);
    let Err(SettingErrors(faults)) = settings.finish(()) else {
        return Vec::new();
    };
    let file = format!("{}:", scratch.path().join("settings.yaml").display());
    let without_file = |line: String| line.strip_prefix(&file).map_or(line.clone(), str::to_owned);
    faults.iter().map(|fault| without_file(fault.to_string())).collect()
}

#[test]
fn each_fault_says_where_it_is() {
    let mut wrong = Vec::new();
    for (text, expected) in [
        // A value, plain and quoted, after a comment and with characters of several bytes before it.
        ("# how many\ncount: many\n", &["2:8: count: expected a whole"][..]),
        ("count:    'ten'", &["1:11: count: expected a whole"]),
        ("{ \"count\":   ten }", &["1:14: count: expected a whole"]),
        ("count: # behind\n  ten\n", &["2:3: count: expected a whole"]),
        (
            "routes: [{ path: /ü, weight: x }]",
            &["1:30: routes[0].weight: expected a whole number"],
        ),
        (
            "count: 11\r\nroutes:\r\n- path: /a\r\n  weight: x\r\n",
            &["1:8: count", "4:11: routes[0].weight"],
        ),
        // A key that does not belong there.
        ("count: 2\ncolour: red\n", &["2:1: colour: unknown setting"]),
        ("token: hunter2\n", &["1:1: token: is a secret"]),
        (
            "routes:\n  - path: /a\n    size: 3\n",
            &["3:5: routes[0].size: unknown key"],
        ),
        (
            "routes: [{ path: /a, size: { a: 1 } }]",
            &["1:22: routes[0].size: unknown key"],
        ),
        // What is missing: the map that should hold it.
        (
            "routes:\n  - path: /a\n  - weight: 1\n",
            &["3:5: routes[1].path: is missing"],
        ),
        ("routes:\n  -\n    weight: 1\n", &["3:5: routes[0].path: is missing"]),
        ("routes:\n  - { weight: 1 }\n", &["2:5: routes[0].path: is missing"]),
        (
            "routes:\n  - path:\n",
            &["2:5: routes[0].path: expected a path, found nothing"],
        ),
        // A list or a map where a plain value should be, and the other way round.
        (
            "count: [1, 2]\n",
            &["1:1: count: expected a whole number from 1 to 9, found a list"],
        ),
        (
            "count:\n  a: 1\n",
            &["1:1: count: expected a whole number from 1 to 9, found a list"],
        ),
        (
            "count: 1\nroutes:\n  a: 1\n",
            &["2:1: routes: expected a list, found a map"],
        ),
        ("routes:\n", &["1:1: routes: expected a list, found nothing"]),
        ("routes: many\n", &["1:9: routes: expected a list"]),
        ("routes:\n  - /a\n", &["2:5: routes[0]: expected a map"]),
        ("routes:\n  - [a]\n", &["2:5: routes[0]: expected a map"]),
        (
            "routes:\n- path: /a\n  check:\n    interval: soon\n    every: 1\n  weight: []\n",
            &[
                "4:15: routes[0].check.interval",
                "5:5: routes[0].check.every",
                "6:3: routes[0].weight",
            ],
        ),
        (
            "routes:\n- path: /a\n  check:\n",
            &["3:3: routes[0].check: expected a map with keys among interval, found nothing"],
        ),
        // Keys that are there twice, at every depth, and whatever they look like; the other faults are told as well.
        ("count: 1\ncount: 2\n", &["2:1: count: is there twice; first in line 1"]),
        (
            "routes:\n  - path: /a\n    weight: x\n    'path': /b\ncolour: red\n",
            &[
                "3:13: routes[0].weight",
                "4:5: routes[0].path: is there twice; first in line 2",
                "5:1: colour",
            ],
        ),
        // Aliases: what is wrong inside of one is told where it is used.
        (
            "routes:\n  - &one { path: /a, weight: x }\n  - *one\n",
            &["2:30: routes[0].weight", "3:5: routes[1].weight"],
        ),
        // No YAML, or more than settings are.
        ("count: 1\nroutes: [", &["3:1: is not valid YAML: "]),
        (
            "count: 1\n\troutes: []\n",
            &["1:8: is not valid YAML: while scanning a plain scalar, found a tab"],
        ),
        ("count: 'open\n", &["1:8: is not valid YAML: "]),
        ("- a\n- b\n", &["1:1: is not valid YAML: expected a map"]),
        ("just words\n", &["1:1: is not valid YAML: expected a map"]),
        (
            "count: 1\n---\ncount: 2\n",
            &["2:1: is not valid YAML: a second document"],
        ),
        ("count: 1\n[a]: b\n", &["2:1: is not valid YAML: a key must be"]),
        ("routes: &all [*all]\n", &["1:15: is not valid YAML: the alias repeats"]),
        ("routes: [*none]\n", &["1:10: is not valid YAML: "]),
    ] {
        let faults = faults_of(text);
        let as_expected = faults.len() == expected.len()
            && faults
                .iter()
                .zip(expected)
                .all(|(fault, start)| fault.starts_with(start));
        if !as_expected {
            wrong.push(format!("{text:?}\n{faults:#?}\nexpected {expected:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_byte_order_mark_is_skipped() {
    assert_eq!(faults_of("\u{feff}count: 1\nroutes: [{ path: /a }]\n"), [""; 0]);
    let faults = faults_of("\u{feff}count: x\n");
    assert!(faults[0].starts_with("1:8: count: "), "{faults:?}");
}

/// YAML 1.2.2, sections 5.1 and 5.2. The parser itself ends at a NUL, and the rest of the file would not count.
#[test]
fn what_is_no_text_of_yaml_is_refused_with_its_place() {
    let utf_16 = |bytes: fn(u16) -> [u8; 2], mark: &str| -> Vec<u8> {
        format!("{mark}count: 1\n").encode_utf16().flat_map(bytes).collect()
    };
    let nul = "the character U+0000 (NUL) is not allowed; if the file is UTF-16, save it as UTF-8";
    for (content, expected) in [
        (
            b"count: 1\nro\0utes: []\n".to_vec(),
            format!("2:3: is not valid YAML: {nul}"),
        ),
        (
            b"count: 1\r\n# \x07\n".to_vec(),
            "2:3: is not valid YAML: the character U+0007".to_owned(),
        ),
        (
            b"count: 1\rroutes: \"\x1b\"".to_vec(),
            "2:10: is not valid YAML: the character U+001B".to_owned(),
        ),
        (
            b"routes: [{ path: /\xc3\xa4\x01 }]".to_vec(),
            "1:20: is not valid YAML: the character U+0001".to_owned(),
        ),
        (
            "routes: [{ path: /\u{9b} }]".into(),
            "1:18: is not valid YAML: the character U+009B".to_owned(),
        ),
        (
            "routes: []\n\u{feff}count: 1".into(),
            "2:1: is not valid YAML: the character U+FEFF".to_owned(),
        ),
        (
            b"count: 1\nroutes: \xff".to_vec(),
            "2:9: is not valid YAML: the byte 0xff is not UTF-8".to_owned(),
        ),
        (
            utf_16(u16::to_le_bytes, "\u{feff}"),
            "1:1: is not valid YAML: the file is UTF-16; save it as UTF-8".to_owned(),
        ),
        (
            utf_16(u16::to_be_bytes, "\u{feff}"),
            "1:1: is not valid YAML: the file is UTF-16; save it as UTF-8".to_owned(),
        ),
        (utf_16(u16::to_le_bytes, ""), format!("1:2: is not valid YAML: {nul}")),
        (utf_16(u16::to_be_bytes, ""), format!("1:1: is not valid YAML: {nul}")),
    ] {
        let faults = faults_of(&content);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with(&expected), "{faults:?}\nexpected {expected}");
    }
    // In quotes YAML allows what JSON does, and what an escape stands for is no control character of the file.
    let quoted = "routes: [{ path: \"/\u{7f}\u{9b}\" }, { path: \"/\\u0001\" }]\n\t# \u{85}\u{a0}\n";
    assert_eq!(faults_of(quoted), [""; 0]);
}

#[test]
fn a_file_of_its_own_is_held_to_the_same_characters() {
    let read = |content: &[u8]| {
        let file = YamlFile::read(content, Path::new("iris/config.yaml"));
        file.take(|root| root.list(&ROUTES).len())
    };
    assert_eq!(
        read(b"\xef\xbb\xbfroutes: [{ path: /a }]").expect("a mark is skipped"),
        1
    );
    let faults = read(b"routes: []\n\0").expect_err("a NUL").to_string();
    assert!(
        faults.contains("iris/config.yaml:2:1: is not valid YAML: the character U+0000"),
        "{faults}"
    );
}

#[test]
fn depth_and_size_are_bounded() {
    let deep = format!("routes: {}{}", "[".repeat(100), "]".repeat(100));
    let faults = faults_of(&deep);
    assert!(faults[0].contains("nested deeper than 32 levels"), "{faults:?}");

    let mut bomb = "routes:\n  - &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = format!("*a{}", level - 1);
        bomb.push_str(&format!("  - &a{level} [{}]\n", [below.as_str(); 10].join(", ")));
    }
    let faults = faults_of(&bomb);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("more than 200000 values"), "{faults:?}");
}

/// What stands behind a key of a route, in one of the ways to write it.
#[derive(Debug, Clone)]
struct Written {
    blank_lines: usize,
    spaces: usize,
    is_flow: bool,
    quoted: bool,
}

fn written() -> impl Strategy<Value = Written> {
    (0..3_usize, 1..5_usize, any::<bool>(), any::<bool>()).prop_map(|(blank_lines, spaces, is_flow, quoted)| Written {
        blank_lines,
        spaces,
        is_flow,
        quoted,
    })
}

/// A file of these routes in which the weight at `wrong` is none, and where that stands.
fn file_of(routes: &[Written], wrong: usize) -> (String, String) {
    let mut text = "# a file\nroutes:\n".to_owned();
    let mut expected = String::new();
    for (at, route) in routes.iter().enumerate() {
        text.push_str(&"\n# between\n".repeat(route.blank_lines));
        let gap = " ".repeat(route.spaces);
        let weight = match (at == wrong, route.quoted) {
            (true, true) => "\"none\"",
            (true, false) => "none",
            (false, true) => "\"5\"",
            (false, false) => "5",
        };
        let before = match route.is_flow {
            true => format!("  -{gap}{{ path: /{at}, weight:{gap}"),
            false => format!("  - path: /{at}\n    weight:{gap}"),
        };
        text.push_str(&before);
        if at == wrong {
            let line = text.matches('\n').count() + 1;
            let column = text.len() - text.rfind('\n').map_or(0, |end| end + 1) + 1;
            expected = format!("{line}:{column}: routes[{at}].weight: expected a whole number");
        }
        text.push_str(weight);
        text.push_str(if route.is_flow { " }\n" } else { "\n" });
    }
    (text, expected)
}

proptest! {
    #[test]
    fn a_fault_anywhere_is_told_where_it_is(
        (routes, wrong) in prop::collection::vec(written(), 1..12).prop_flat_map(|routes| {
            let count = routes.len();
            (Just(routes), 0..count)
        })
    ) {
        let (text, expected) = file_of(&routes, wrong);
        let faults = faults_of(&text);
        prop_assert_eq!(faults.len(), 1, "{}\n{:?}", text, faults);
        prop_assert!(faults[0].starts_with(&expected), "{text}\n{faults:?}\nexpected {expected}");
    }

    #[test]
    fn no_text_breaks_the_reader(text in "[-a-c\\[\\]{}:,&*!|>'\"#%?~ \n\t]{0,60}") {
        faults_of(&text);
    }
}
