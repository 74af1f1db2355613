//! Settings that change under a running process, from the outside.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use proptest::prelude::*;
use shared::config::units::number;
use shared::config::{Changes, Key, Layers, Map, Scalar, Setting, SettingErrors, Settings, Shape};
use shared::reload::{RELOAD_INTERVAL, Reloader};
use shared::test_util::{Mount, Scratch};

const COLOUR: Setting = Setting::new("COLOUR", "green", Scalar::any_text("a colour", ""), "what colour").live();
const COUNT: Setting = Setting::new("COUNT", "1", Scalar::Whole(1, 9), "how many");
const TOKEN: Setting = Setting::secret("TOKEN", "the key to it all").live();

const ROUTES: Key = Key::new("routes", Shape::List(&Shape::Map(&Map::of(&[])), 0), "where to");

#[derive(Debug, Clone, PartialEq, Eq)]
struct Values {
    colour: String,
    count: usize,
    token: String,
}

fn parse(settings: &mut Settings) -> Values {
    Values {
        colour: settings.get(&COLOUR, |text| Some(text.to_owned())),
        count: settings.get(&COUNT, number),
        token: settings
            .get_secret(&TOKEN)
            .map_or(String::new(), |token| token.expose().to_owned()),
    }
}

fn layers(variables: &[(&str, &Path)]) -> Layers {
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    Layers {
        settings: vec![COLOUR, COUNT, TOKEN, RELOAD_INTERVAL],
        documents: &[ROUTES],
        default_document: "routes: [{prefix: /default}]",
        default_file: "/nowhere/settings.yaml",
        default_config_dirs: "/nowhere/config",
        default_secret_dir: "/nowhere/secrets",
        file: None,
        variables: variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), path(value)))
            .collect(),
        file_held: false,
    }
}

fn start(layers: Layers) -> (Values, Reloader<Values>) {
    let (values, reloader) = Reloader::start(layers, parse);
    (values.expect("valid settings"), reloader)
}

/// What two looks give, of which the first must not give anything.
fn after_two_looks(reloader: &mut Reloader<Values>) -> Option<Result<(Values, Changes), SettingErrors>> {
    assert!(reloader.look().is_none(), "what was seen once does not count yet");
    let looked = reloader.look();
    looked.map(|looked| looked.map(|reload| (reload.settings, reload.changes)))
}

#[test]
fn a_change_counts_when_two_looks_see_it_and_names_what_changed() {
    let scratch = Scratch::new("reload");
    let file = scratch.file("settings.yaml", "colour: red");
    let (values, mut reloader) = start(layers(&[("CONFIG_FILE", &file)]));
    assert_eq!(values.colour, "red");
    assert!(after_two_looks(&mut reloader).is_none(), "nothing changed");

    scratch.file("settings.yaml", "colour: blue\ncount: 3\nroutes: []");
    let (values, changes) = after_two_looks(&mut reloader).expect("a change").expect("valid");
    assert_eq!((values.colour.as_str(), values.count), ("blue", 3));
    assert_eq!(changes.live, ["COLOUR", "routes"]);
    assert_eq!(changes.at_restart, ["COUNT"]);
    assert!(after_two_looks(&mut reloader).is_none(), "it counts once");
}

#[test]
fn a_change_of_comments_changes_nothing() {
    let scratch = Scratch::new("reload");
    let file = scratch.file("settings.yaml", "colour: red\nroutes: [{}, {}]\n");
    let (_, mut reloader) = start(layers(&[("CONFIG_FILE", &file)]));
    scratch.file(
        "settings.yaml",
        "# as before\nroutes:\n  - {}\n  - {}\ncolour: \"red\"\n",
    );
    let (values, changes) = after_two_looks(&mut reloader).expect("a change").expect("valid");
    assert_eq!(values.colour, "red");
    assert!(changes.is_empty(), "{changes:?}");
}

#[test]
fn what_is_taken_back_waits_for_no_restart() {
    let scratch = Scratch::new("reload");
    let file = scratch.file("settings.yaml", "count: 1");
    let (_, mut reloader) = start(layers(&[("CONFIG_FILE", &file)]));
    for (text, waiting) in [
        ("count: 2", &["COUNT"][..]),
        ("count: 3", &["COUNT"]),
        ("count: 3\ncolour: red", &["COUNT"]),
        ("count: 1\ncolour: red", &[]),
    ] {
        scratch.file("settings.yaml", text);
        assert!(reloader.look().is_none(), "what was seen once does not count yet");
        let reload = reloader.look().expect("a change").expect("valid");
        assert!(!reload.changes.is_empty(), "{text}");
        assert_eq!(reload.at_restart, waiting, "{text}");
    }
}

#[test]
fn a_file_that_goes_on_changing_is_left_alone() {
    let scratch = Scratch::new("reload");
    let file = scratch.file("settings.yaml", "colour: red");
    let (_, mut reloader) = start(layers(&[("CONFIG_FILE", &file)]));
    for length in 1..5 {
        scratch.file("settings.yaml", &"colour: green"[..8 + length]);
        assert!(reloader.look().is_none(), "half a word");
    }
    scratch.file("settings.yaml", "colour: green");
    let (values, _) = after_two_looks(&mut reloader).expect("a change").expect("valid");
    assert_eq!(values.colour, "green");
}

#[test]
fn a_broken_file_is_refused_once_and_the_next_good_one_counts() {
    let scratch = Scratch::new("reload");
    let file = scratch.file("settings.yaml", "colour: red");
    let (_, mut reloader) = start(layers(&[("CONFIG_FILE", &file)]));
    for (text, problem) in [
        ("count: many", "settings.yaml:1:8: count: expected"),
        ("colour: [", "is not valid YAML"),
        ("color: red", "unknown setting"),
    ] {
        scratch.file("settings.yaml", text);
        let faults = after_two_looks(&mut reloader).expect("a change").expect_err("refused");
        assert!(faults.in_one_line().contains(problem), "{faults}");
        assert!(after_two_looks(&mut reloader).is_none(), "it is refused once");
    }
    std::fs::remove_file(&file).expect("it is there");
    let faults = after_two_looks(&mut reloader).expect("a change").expect_err("refused");
    assert!(faults.in_one_line().contains("cannot be read"), "{faults}");

    scratch.file("settings.yaml", "colour: blue");
    let (_, changes) = after_two_looks(&mut reloader).expect("a change").expect("valid");
    assert_eq!(
        changes.live,
        ["COLOUR"],
        "compared with what holds, not with what was refused"
    );
}

/// The default file may be missing, but not once it held: the defaults would open what it closed.
#[test]
fn a_file_that_vanishes_or_falls_silent_is_refused() {
    let scratch = Scratch::new("reload");
    let file = scratch.path().join("settings.yaml");
    let default_file: &'static str = Box::leak(file.to_str().expect("UTF-8").to_owned().into_boxed_str());
    let layers = Layers {
        default_file,
        ..layers(&[])
    };
    let (values, mut reloader) = start(layers);
    assert_eq!(values.colour, "green", "there is none yet");
    scratch.file("settings.yaml", "colour: red");
    let (values, _) = after_two_looks(&mut reloader).expect("a change").expect("valid");
    assert_eq!(values.colour, "red");
    for text in ["", "# colour: red\n"] {
        scratch.file("settings.yaml", text);
        let faults = after_two_looks(&mut reloader).expect("a change").expect_err("refused");
        assert!(faults.in_one_line().contains("says nothing any more"), "{faults}");
    }
    std::fs::remove_file(&file).expect("it is there");
    let faults = after_two_looks(&mut reloader).expect("a change").expect_err("refused");
    assert!(faults.in_one_line().contains("cannot be read"), "{faults}");
    scratch.file("settings.yaml", "colour: blue");
    let (values, _) = after_two_looks(&mut reloader).expect("a change").expect("valid");
    assert_eq!(values.colour, "blue");
}

#[test]
fn a_mounted_directory_outranks_the_environment_which_stays_what_it_was() {
    let mut mount = Mount::new(
        "reload",
        &[("COLOUR", "red\n"), ("OTHER", "not ours"), ("TOKEN", "no place for it")],
    );
    let mut layers = layers(&[("CONFIG_DIRS", mount.path())]);
    layers.variables.insert("COLOUR".to_owned(), "grey".to_owned());
    layers.variables.insert("COUNT".to_owned(), "2".to_owned());
    let (values, mut reloader) = start(layers);
    let expected = |colour: &str| Values {
        colour: colour.to_owned(),
        count: 2,
        token: String::new(),
    };
    assert_eq!(values, expected("red"));
    let printed = reloader.current().print();
    assert!(
        printed.contains(&format!("COLOUR=red  (file {}", mount.path().display())),
        "{printed}"
    );
    assert!(printed.contains("COUNT=2  (environment)"), "{printed}");

    mount.publish(&[("COLOUR", "blue")]);
    let (values, _) = after_two_looks(&mut reloader).expect("a change").expect("valid");
    assert_eq!(values, expected("blue"));
    mount.publish(&[("OTHER", "2")]);
    let (values, _) = after_two_looks(&mut reloader).expect("a change").expect("valid");
    assert_eq!(values, expected("grey"), "without the key, the variable counts");
    mount.publish(&[("OTHER", "3")]);
    assert!(after_two_looks(&mut reloader).is_none(), "another program's key");
}

#[test]
fn a_secret_that_is_replaced_is_read_again_and_never_printed() {
    let mut mount = Mount::new("reload", &[("TOKEN", "first"), ("COLOUR", "not a secret")]);
    let (values, mut reloader) = start(layers(&[("SECRET_DIRS", mount.path())]));
    assert_eq!((values.token.as_str(), values.colour.as_str()), ("first", "green"));
    mount.publish(&[("TOKEN", "second")]);
    let (values, changes) = after_two_looks(&mut reloader).expect("a change").expect("valid");
    assert_eq!(
        (values.token.as_str(), changes.live.as_slice()),
        ("second", &["TOKEN"][..])
    );
    assert!(!reloader.current().print().contains("second"));
}

/// Looks while another thread replaces all files again and again: two keys of one version always agree.
#[test]
fn no_look_sees_half_of_a_swap() {
    let mut mount = Mount::new("reload", &[("COLOUR", "0-1"), ("COUNT", "1")]);
    let (_, mut reloader) = start(layers(&[("CONFIG_DIRS", mount.path())]));
    let (looks, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let mut taken = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0..2000 {
                let count = (turn % 9 + 1).to_string();
                mount.publish(&[("COLOUR", &format!("{turn}-{count}")), ("COUNT", &count)]);
                // Now and then it rests for as long as a change takes to count.
                let rested = looks.load(Ordering::SeqCst) + 3;
                while turn % 20 == 0 && looks.load(Ordering::SeqCst) < rested {
                    std::thread::yield_now();
                }
            }
            done.store(true, Ordering::SeqCst);
        });
        while !done.load(Ordering::SeqCst) {
            // A swap in the middle of a look may show a key as missing; then the look is not steady.
            if let Some(Ok(reload)) = reloader.look() {
                let Values { colour, count, .. } = reload.settings;
                assert!(
                    colour.ends_with(&format!("-{count}")),
                    "{colour} and {count} are of two versions"
                );
                taken += 1;
            }
            looks.fetch_add(1, Ordering::SeqCst);
        }
    });
    assert!(taken >= 100, "{taken} of the hundred rests were seen");
}

proptest! {
    /// However files change between looks, what holds is what a new start would see, one look later at the latest.
    #[test]
    fn what_holds_is_what_a_start_would_see(versions in prop::collection::vec((1..9_usize, any::<bool>()), 1..12)) {
        let scratch = Scratch::new("reload");
        let file = scratch.file("settings.yaml", "count: 1");
        let (mut holds, mut reloader) = start(layers(&[("CONFIG_FILE", &file)]));
        for (count, valid) in versions {
            scratch.file("settings.yaml", format!("count: {count}{}", if valid { "" } else { "x" }));
            for _ in 0..2 {
                if let Some(Ok(reload)) = reloader.look() {
                    holds = reload.settings;
                }
            }
            let (started, _) = Reloader::start(layers(&[("CONFIG_FILE", &file)]), parse);
            if let Ok(started) = started {
                prop_assert_eq!(&holds, &started);
            } else {
                prop_assert!(!valid);
            }
        }
    }
}

#[test]
fn the_interval_is_a_setting() {
    let variables = BTreeMap::from([("RELOAD_INTERVAL".to_owned(), "soon".to_owned())]);
    let layers = Layers {
        variables,
        ..layers(&[])
    };
    let (values, _) = Reloader::start(layers, parse);
    let faults = values.expect_err("refused");
    assert!(
        faults.in_one_line().contains("RELOAD_INTERVAL (environment): expected"),
        "{faults}"
    );
}
