//! The layers of settings, from the outside: which one wins, what is refused, what is never shown.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use proptest::prelude::*;
use shared::config::units::number;
use shared::config::{Key, Layers, Map, Scalar, Setting, SettingErrors, Settings, Shape};
use shared::test_util::Scratch;

const COLOUR: Setting = Setting::new("COLOUR", "green", Scalar::any_text("a colour", ""), "what colour");
const COUNT: Setting = Setting::new("COUNT", "1", Scalar::Whole(1, 9), "how many");
const DEMO_PORT: Setting = Setting::new("DEMO_PORT", "80", Scalar::Whole(1, 65_535), "where");
const TOKEN: Setting = Setting::secret("TOKEN", "the key to it all");
const ROUTES: Key = Key::new("routes", Shape::List(&Shape::Map(&ROUTE), 0), "where to");
const ROUTE: Map = Map::of(&[PREFIX, WEIGHT]);
const PREFIX: Key = Key::scalar("prefix", Scalar::quoted_text("a path", "^/"), "what");
const WEIGHT: Key = Key::scalar("weight", Scalar::Whole(0, 9), "how much");
const TABLE: &[Setting] = &[COLOUR, COUNT, DEMO_PORT, TOKEN];

/// Layers with nothing but the defaults.
fn layers() -> Layers {
    Layers {
        settings: TABLE.to_vec(),
        documents: &[ROUTES],
        default_document: "routes: [{prefix: /default}]",
        default_file: "/nowhere/settings.yaml",
        default_config_dirs: "/nowhere/config",
        default_secret_dir: "/nowhere/secrets",
        file: None,
        variables: BTreeMap::new(),
        file_held: false,
    }
}

fn with_variables(variables: &[(&str, &str)]) -> Layers {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Layers {
        variables: variables.iter().map(owned).collect(),
        ..layers()
    }
}

fn with_file(scratch: &Scratch, text: &str) -> Layers {
    Layers {
        file: Some(scratch.file("settings.yaml", text)),
        ..layers()
    }
}

fn with_secrets(scratch: &Scratch) -> Layers {
    with_variables(&[("SECRET_DIRS", scratch.path().to_str().expect("UTF-8"))])
}

fn colour(settings: &mut Settings) -> String {
    settings.get(&COLOUR, |text| Some(text.to_owned()))
}

fn count(settings: &mut Settings) -> usize {
    settings.get(&COUNT, number)
}

fn token(settings: &mut Settings) -> Option<String> {
    settings.get_secret(&TOKEN).map(|secret| secret.expose().to_owned())
}

fn faults(mut settings: Settings) -> Vec<String> {
    match settings.finish(()) {
        Ok(()) => Vec::new(),
        Err(SettingErrors(faults)) => faults.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn without_any_layer_the_defaults_stand() {
    let mut settings = layers().load();
    assert_eq!(colour(&mut settings), "green");
    assert_eq!(count(&mut settings), 1);
    assert_eq!(token(&mut settings), None);
    assert_eq!(
        settings.print(),
        "COLOUR=green  (default)\nCOUNT=1  (default)\nDEMO_PORT=80  (default)\nTOKEN=  (default)\n"
    );
    assert_eq!(faults(settings), [""; 0]);
}

#[test]
fn each_layer_is_stronger_than_the_one_before() {
    let scratch = Scratch::new("precedence");
    let mut all = with_secrets(&scratch);
    all.file = Some(scratch.file("settings.yaml", "colour: file\ncount: 2\n"));
    scratch.file("TOKEN", "from the secret file");

    let mut settings = all.load();
    assert_eq!(colour(&mut settings), "file");
    assert_eq!(count(&mut settings), 2);

    let mut all = with_secrets(&scratch);
    all.file = Some(scratch.path().join("settings.yaml"));
    all.variables.insert("COUNT".to_owned(), "3".to_owned());
    all.variables
        .insert("TOKEN".to_owned(), "from the environment".to_owned());
    let mut settings = all.load();
    assert_eq!(colour(&mut settings), "file");
    assert_eq!(count(&mut settings), 3);
    assert_eq!(token(&mut settings).as_deref(), Some("from the secret file"));
    assert_eq!(faults(settings), [""; 0]);
}

#[test]
fn a_named_file_is_preferred_in_this_order_flag_variable_default() {
    let scratch = Scratch::new("files");
    let flag = scratch.file("flag.yaml", "colour: flag");
    let variable = scratch.file("variable.yaml", "colour: variable");
    let mut named = with_variables(&[("CONFIG_FILE", variable.to_str().expect("UTF-8"))]);
    let mut settings = named.load();
    assert_eq!(colour(&mut settings), "variable");
    assert_eq!(settings.file(), variable);

    named = with_variables(&[("CONFIG_FILE", variable.to_str().expect("UTF-8"))]);
    named.file = Some(flag);
    assert_eq!(colour(&mut named.load()), "flag");
}

#[test]
fn a_file_that_somebody_named_must_be_there() {
    let missing = Layers {
        file: Some(PathBuf::from("/nowhere/else.yaml")),
        ..layers()
    };
    let faults = faults(missing.load());
    assert_eq!(faults.len(), 1);
    assert!(
        faults[0].starts_with("file /nowhere/else.yaml: cannot be read"),
        "{faults:?}"
    );
}

#[test]
fn a_file_without_settings_changes_nothing() {
    let scratch = Scratch::new("empty");
    for text in ["", "\n\n", "# colour: red\n", "---\n", "---\n# colour: red\n", "{}\n"] {
        let mut settings = with_file(&scratch, text).load();
        assert_eq!(colour(&mut settings), "green");
        assert_eq!(faults(settings), [""; 0], "{text:?}");
    }
}

#[test]
fn what_a_file_may_not_say_is_a_fault_with_its_name() {
    let scratch = Scratch::new("refused");
    let text = "color: red\ntoken: hunter2\ncount: 11\ncolour: [red, green]\n";
    let mut settings = with_file(&scratch, text).load();
    assert_eq!(colour(&mut settings), "green", "the default stands in");
    assert_eq!(count(&mut settings), 1);
    let faults = faults(settings);
    let file = scratch.path().join("settings.yaml").display().to_string();
    assert_eq!(
        faults,
        [
            format!("{file}:1:1: color: unknown setting; known are colour, count, demo_port, routes"),
            format!(
                "{file}:2:1: token: is a secret: give it in a Secret, as a mounted file or an environment variable"
            ),
            format!("{file}:3:8: count: expected a whole number from 1 to 9, found \"11\""),
            format!("{file}:4:1: colour: expected a colour, found a list or a map"),
        ]
    );
}

#[test]
fn a_file_that_is_no_yaml_is_one_fault() {
    let scratch = Scratch::new("broken");
    for text in ["colour: [", "\t- x: {", "just words", "- a\n- b\n"] {
        let faults = faults(with_file(&scratch, text).load());
        assert_eq!(faults.len(), 1, "{text:?} {faults:?}");
        assert!(faults[0].contains("is not valid YAML"), "{faults:?}");
    }
}

#[test]
fn numbers_and_booleans_of_a_file_are_read_as_they_look() {
    let scratch = Scratch::new("scalars");
    for (yaml, text) in [
        ("1.0", "1.0"),
        ("2.5", "2.5"),
        ("30", "30"),
        ("true", "true"),
        ("1.10", "1.10"),
        ("\"1.10\"", "1.10"),
        ("16Mi", "16Mi"),
        ("1e3", "1e3"),
        ("", ""),
    ] {
        let mut settings = with_file(&scratch, &format!("colour: {yaml}")).load();
        assert_eq!(colour(&mut settings), text);
    }
}

#[test]
fn one_line_break_at_the_end_of_a_secret_is_not_part_of_it() {
    let scratch = Scratch::new("newline");
    for (written, read) in [
        ("s3cret", "s3cret"),
        ("s3cret\n", "s3cret"),
        ("s3cret\r\n", "s3cret"),
        ("two\nlines\n\n", "two\nlines\n"),
        (" spaces ", " spaces "),
    ] {
        scratch.file("TOKEN", written);
        let mut settings = with_secrets(&scratch).load();
        assert_eq!(token(&mut settings).as_deref(), Some(read), "{written:?}");
    }
    scratch.file("TOKEN", "\n");
    assert_eq!(
        token(&mut with_secrets(&scratch).load()),
        None,
        "an empty secret is none"
    );
}

/// The kubelet writes a timestamped directory and swaps the link `..data`.
#[test]
fn a_secret_as_the_kubelet_mounts_it_is_found() {
    let scratch = Scratch::new("kubelet");
    let version = scratch.path().join("..2026_01_01");
    std::fs::create_dir(&version).expect("a directory");
    std::fs::write(version.join("TOKEN"), "s3cret\n").expect("a file");
    symlink("..2026_01_01", scratch.path().join("..data")).expect("a link");
    symlink("..data/TOKEN", scratch.path().join("TOKEN")).expect("a link");
    let mut settings = with_secrets(&scratch).load();
    assert_eq!(token(&mut settings).as_deref(), Some("s3cret"));
    assert_eq!(faults(settings), [""; 0]);
}

#[test]
fn a_secret_directory_gives_only_secrets() {
    let scratch = Scratch::new("only");
    scratch.file("COLOUR", "red");
    scratch.file("token", "wrong case");
    let mut settings = with_secrets(&scratch).load();
    assert_eq!(colour(&mut settings), "green");
    assert_eq!(token(&mut settings), None);
}

#[test]
fn of_several_secret_directories_the_last_one_wins() {
    let (first, second) = (Scratch::new("first"), Scratch::new("second"));
    first.file("TOKEN", "first");
    second.file("TOKEN", "second");
    let both = format!("{}:{}", first.path().display(), second.path().display());
    let mut settings = with_variables(&[("SECRET_DIRS", &both)]).load();
    assert_eq!(token(&mut settings).as_deref(), Some("second"));
}

#[test]
fn a_secret_that_cannot_be_one_is_a_fault_that_does_not_show_it() {
    let scratch = Scratch::new("unreadable");
    for content in [&b"hunter2\xff"[..], &[b'x'; 100_000]] {
        scratch.file("TOKEN", content);
        let faults = faults(with_secrets(&scratch).load());
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains("TOKEN"), "{faults:?}");
        assert!(!faults[0].contains("hunter2"), "{faults:?}");
    }
}

#[test]
fn a_secret_directory_that_somebody_named_must_be_there() {
    let settings = with_variables(&[("SECRET_DIRS", "/nowhere/a::/nowhere/b")]).load();
    assert_eq!(
        faults(settings),
        [
            "SECRET_DIRS (environment): /nowhere/a is not a directory",
            "SECRET_DIRS (environment): /nowhere/b is not a directory"
        ]
    );
}

#[test]
fn only_exact_names_are_read_from_the_environment() {
    let mut settings = with_variables(&[
        ("colour", "red"),
        ("DEMO_COLOUR", "red"),
        ("COLOUR_SERVICE_HOST", "10.0.0.1"),
        ("COUNT_PORT", "tcp://10.0.0.1:80"),
        ("DEMO_PORT", "tcp://10.0.0.1:80"),
    ])
    .load();
    assert_eq!(colour(&mut settings), "green");
    assert_eq!(count(&mut settings), 1);
    assert_eq!(settings.get(&DEMO_PORT, number::<u16>), 80);
    assert_eq!(faults(settings), [""; 0]);
}

#[test]
fn an_empty_variable_is_a_value_and_not_an_absence() {
    let mut settings = with_variables(&[("COUNT", "")]).load();
    count(&mut settings);
    assert_eq!(
        faults(settings),
        ["COUNT (environment): expected a whole number from 1 to 9, found \"\""]
    );
}

#[test]
fn a_document_of_the_file_replaces_the_default_one() {
    let scratch = Scratch::new("documents");
    let prefix = |settings: &Settings| {
        let items = settings.document(&ROUTES).items(&ROUTES);
        items
            .first()
            .and_then(|item| item.find(&PREFIX, |text| Some(text.to_owned())))
    };
    assert_eq!(prefix(&layers().load()).as_deref(), Some("/default"));
    let settings = with_file(&scratch, "routes: [{prefix: /mine}]").load();
    assert_eq!(prefix(&settings).as_deref(), Some("/mine"));
    assert!(settings.document(&ROUTES).origin().starts_with("file "));
}

#[test]
fn faults_inside_a_document_carry_their_path() {
    let scratch = Scratch::new("paths");
    let text = "routes:\n  - prefix: /a\n    weight: heavy\n  - prefx: /b\n";
    let mut settings = with_file(&scratch, text).load();
    let routes = settings.document(&ROUTES);
    for item in routes.items(&ROUTES) {
        item.expect(&ROUTE);
        let _noted = item.find(&WEIGHT, number::<u32>);
    }
    let noted = routes.take_faults();
    settings.note(noted);
    let file = scratch.path().join("settings.yaml").display().to_string();
    assert_eq!(
        faults(settings),
        [
            format!("{file}:3:13: routes[0].weight: expected a whole number from 0 to 9, found \"heavy\""),
            format!("{file}:4:5: routes[1].prefx: unknown key; known are prefix, weight"),
        ]
    );
}

proptest! {
    #[test]
    fn no_text_of_the_environment_breaks_the_start_or_shows_a_secret(text in "\\PC*", secret in "[a-zA-Z0-9]{12,40}") {
        let mut settings = with_variables(&[("COUNT", &text), ("COLOUR", &text), ("TOKEN", &secret)]).load();
        count(&mut settings);
        prop_assert_eq!(colour(&mut settings), text.clone());
        prop_assert_eq!(token(&mut settings), Some(secret.clone()));
        prop_assume!(!text.contains(&secret));
        prop_assert!(!settings.print().contains(&secret));
        prop_assert!(!faults(settings).concat().contains(&secret));
    }
}
