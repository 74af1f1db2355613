//! What becomes of the model's directory: versions that appear whole, stay what they are and go, and what others put there.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ml_inference::registry::{Policy, RegistrySettings, Sha256};
use shared::test_util::{DEADLINE, Scratch, eventually};

use crate::follower::{AllVersions, Follower, put, settings};
use crate::server::{Registry, Shelf, index};

/// A registry that is a directory.
struct Folder {
    scratch: Scratch,
}

impl Folder {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let folder = Self {
            scratch: Scratch::new("folder"),
        };
        folder.publish(files);
        folder
    }

    /// The index comes last, by one rename, as it should.
    fn publish(&self, files: &[(&str, &[u8])]) {
        for (path, bytes) in files {
            put(self.path(), path, bytes);
        }
        put(self.path(), "new", index(files));
        fs::rename(self.path().join("new"), self.path().join("SHA256SUMS")).expect("renames");
    }

    fn path(&self) -> &Path {
        self.scratch.path()
    }

    fn url(&self) -> String {
        format!("file://{}", self.path().display())
    }
}

const ONE: (&str, &[u8]) = ("1/model.onnx", b"one");
const TWO: (&str, &[u8]) = ("2/model.onnx", b"two");
const THREE: (&str, &[u8]) = ("3/model.onnx", b"three");

#[tokio::test]
async fn a_version_appears_whole_and_says_what_it_is_made_of() {
    let files = [ONE, ("1/data/w.bin", &[7; 300_000]), ("1/same.bin", b"one")];
    let folder = Folder::new(&files);
    let follower = Follower::start(settings(&folder.url()));
    // Looks as often as it can for a version that is not whole.
    let model = follower.model();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let looks = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            if model.join("1").exists() {
                assert_eq!(fs::read(model.join("1/model.onnx")).expect("is there"), b"one");
                assert_eq!(fs::read(model.join("1/same.bin")).expect("is there"), b"one");
                assert_eq!(fs::read(model.join("1/data/w.bin")).expect("is there"), [7; 300_000]);
                assert!(model.join("1/SHA256SUMS").exists());
            }
        }
    });
    follower.current().await;
    stop.store(true, Ordering::Relaxed);
    looks.join().expect("never saw half of it");
    let sums = follower.read("1/SHA256SUMS").expect("is there");
    let listed = index(&[
        ("data/w.bin", &[7; 300_000]),
        ("model.onnx", b"one"),
        ("same.bin", b"one"),
    ]);
    assert_eq!(String::from_utf8(sums).expect("is text"), listed);
    let left = fs::read_dir(follower.model().join(".registry/parts")).expect("is there");
    assert_eq!(left.count(), 0, "nothing is left of the pull");
}

#[tokio::test]
async fn a_version_with_leading_zeros_is_pulled_by_its_number() {
    let files: [(&str, &[u8]); 2] = [("00000123/model.onnx", b"one"), ("00000123/w.bin", b"two")];
    let folder = Folder::new(&files);
    let follower = Follower::start(settings(&folder.url()));
    follower.current().await;
    follower.has_versions(&["123"]).await;
    assert_eq!(follower.read("123/w.bin").as_deref(), Some(&b"two"[..]));

    let files = [files[0], files[1], ("0123/model.onnx", b"one")];
    folder.publish(&files);
    follower.problem("00000123 and 0123 are both version 123").await;
}

#[tokio::test]
async fn a_version_that_somebody_put_there_with_leading_zeros_is_not_pulled_beside_it() {
    let folder = Folder::new(&[ONE]);
    let follower = Follower::start(settings(&folder.url()));
    follower.current().await;
    put(&follower.model(), "002/model.onnx", b"by hand");
    folder.publish(&[ONE, TWO]);
    follower.problem("iris/002").await;
    follower.has_versions(&["002", "1"]).await;
}

#[tokio::test]
async fn a_version_that_changed_at_the_registry_is_refused() {
    let folder = Folder::new(&[ONE]);
    let follower = Follower::start(settings(&folder.url()));
    follower.has(ONE.0, ONE.1).await;
    folder.publish(&[(ONE.0, b"another"), TWO]);
    let problem = follower.problem("1/model.onnx").await;
    assert_eq!(
        problem,
        "1/model.onnx has another digest than when version 1 was pulled: versions do not change, give it a new number"
    );
    follower.has(TWO.0, TWO.1).await;
    assert_eq!(follower.read(ONE.0).as_deref(), Some(ONE.1), "it stays what it was");
    folder.publish(&[ONE, TWO]);
    follower.current().await;
}

#[tokio::test]
async fn what_the_registry_has_no_more_is_removed_when_the_rest_is_there() {
    let folder = Folder::new(&[ONE, TWO, ("config.yaml", b"a: 1\n")]);
    let follower = Follower::start(settings(&folder.url()));
    follower.current().await;
    // Version 3 is not to be had yet, so version 1 stays for the time being.
    put(folder.path(), "SHA256SUMS", index(&[TWO, THREE]));
    follower.problem("/3/model.onnx is not there").await;
    follower.has_versions(&["1", "2"]).await;
    assert_eq!(follower.read("config.yaml").as_deref(), Some(&b"a: 1\n"[..]));
    put(folder.path(), THREE.0, THREE.1);
    follower.has_versions(&["2", "3"]).await;
    eventually("the configuration is gone too", DEADLINE, async || {
        follower.read("config.yaml").is_none()
    })
    .await;

    // A list of nothing is a mistake and no order.
    put(folder.path(), "SHA256SUMS", "");
    follower.problem("lists no version").await;
    follower.has_versions(&["2", "3"]).await;
}

#[tokio::test]
async fn a_new_configuration_waits_for_the_versions_that_it_may_name() {
    let folder = Folder::new(&[ONE, ("config.yaml", b"a: 1\n")]);
    let follower = Follower::start(settings(&folder.url()));
    follower.current().await;
    folder.publish(&[ONE, TWO, ("config.yaml", b"a: 2\n")]);
    follower.current().await;
    assert_eq!(follower.read("config.yaml").as_deref(), Some(&b"a: 2\n"[..]));
    put(folder.path(), "config.yaml", "a: 3\n");
    put(
        folder.path(),
        "SHA256SUMS",
        index(&[ONE, TWO, THREE, ("config.yaml", b"a: 3\n")]),
    );
    follower.problem("/3/model.onnx is not there").await;
    assert_eq!(follower.read("config.yaml").as_deref(), Some(&b"a: 2\n"[..]));
    put(folder.path(), THREE.0, THREE.1);
    follower.has("config.yaml", b"a: 3\n").await;
    assert_eq!(follower.read(THREE.0).as_deref(), Some(THREE.1));
}

#[tokio::test]
async fn what_was_put_there_by_hand_is_not_touched() {
    let folder = Folder::new(&[ONE, ("config.yaml", b"a: 1\n")]);
    let scratch = Scratch::new("models");
    let by_hand = scratch.path().join("iris");
    put(&by_hand, "1/model.onnx", "mine");
    put(&by_hand, "7/model.onnx", "mine too");
    put(&by_hand, "config.yaml", "mine: 1\n");
    let follower = Follower::start_in(scratch, settings(&folder.url()), Arc::new(AllVersions));
    let problem = follower.problem("config.yaml").await;
    assert!(
        problem.contains("put there or changed by hand and stays as it is"),
        "{problem}"
    );
    fs::remove_file(by_hand.join("config.yaml")).expect("is there");
    let problem = follower.problem("/iris/1 did not come from the registry").await;
    assert!(
        problem.contains("remove it, or give the registry's another number"),
        "{problem}"
    );
    assert_eq!(follower.read("1/model.onnx").as_deref(), Some(&b"mine"[..]));
    fs::remove_dir_all(by_hand.join("1")).expect("is there");
    follower.has(ONE.0, ONE.1).await;
    follower.current().await;
    assert_eq!(follower.read("7/model.onnx").as_deref(), Some(&b"mine too"[..]));
    follower.put("config.yaml", "mine: 2\n");
    folder.publish(&[ONE, ("config.yaml", b"a: 2\n")]);
    follower.problem("config.yaml").await;
    assert_eq!(follower.read("config.yaml").as_deref(), Some(&b"mine: 2\n"[..]));
}

#[tokio::test]
async fn a_version_that_lost_a_file_is_pulled_again() {
    let folder = Folder::new(&[ONE, ("1/data/w.bin", b"weights")]);
    let follower = Follower::start(settings(&folder.url()));
    follower.current().await;
    fs::remove_file(follower.model().join("1/data/w.bin")).expect("is there");
    follower.has("1/data/w.bin", b"weights").await;
    follower.current().await;
    fs::remove_dir_all(follower.model()).expect("is there");
    follower.has("1/data/w.bin", b"weights").await;
}

/// The latest of them; the rest may go when the test says so. `bad` cannot stand.
#[derive(Default)]
struct Latest {
    may_remove: AtomicBool,
    /// What it was told was withdrawn, each time.
    withdrawn: Mutex<Vec<Option<BTreeSet<u64>>>>,
}

impl Latest {
    fn withdrawn(&self) -> Option<BTreeSet<u64>> {
        self.withdrawn
            .lock()
            .expect("no test panicked")
            .last()
            .cloned()
            .flatten()
    }
}

impl Policy for Latest {
    fn wanted(&self, offered: &[u64], config: Option<&str>) -> Result<Vec<u64>, String> {
        match config {
            Some("bad\n") => Err("line 1: expected a map".to_owned()),
            _ => Ok(offered.last().copied().into_iter().collect()),
        }
    }

    fn may_remove(&self, _version: u64) -> bool {
        self.may_remove.load(Ordering::Relaxed)
    }

    fn pulled(&self, withdrawn: Option<&BTreeSet<u64>>) -> bool {
        self.withdrawn
            .lock()
            .expect("no test panicked")
            .push(withdrawn.cloned());
        true
    }
}

#[tokio::test]
async fn the_policy_says_what_is_pulled_and_what_may_go() {
    let folder = Folder::new(&[ONE, TWO]);
    let policy = Arc::new(Latest::default());
    let follower = Follower::start_in(Scratch::new("models"), settings(&folder.url()), policy.clone());
    follower.current().await;
    follower.has_versions(&["2"]).await;
    folder.publish(&[ONE, TWO, THREE]);
    follower.has(THREE.0, THREE.1).await;
    follower.current().await;
    follower.has_versions(&["2", "3"]).await;
    policy.may_remove.store(true, Ordering::Relaxed);
    follower.has_versions(&["3"]).await;
    folder.publish(&[ONE, TWO, THREE, ("4/model.onnx", b"four"), ("config.yaml", b"bad\n")]);
    let problem = follower.problem("config.yaml").await;
    assert!(problem.ends_with("/config.yaml: line 1: expected a map"), "{problem}");
    follower.has_versions(&["3"]).await;
}

#[tokio::test]
async fn so_many_that_are_not_wanted_stay_as_the_setting_says() {
    let files: Vec<(String, String)> = (1..=5)
        .map(|number| (format!("{number}/m"), format!("{number}")))
        .collect();
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(path, bytes)| (path.as_str(), bytes.as_bytes()))
        .collect();
    let folder = Folder::new(&files[..1]);
    let policy = Arc::new(Latest::default());
    let keeping = |keep_versions| RegistrySettings {
        keep_versions,
        ..settings(&folder.url())
    };
    let follower = Follower::start_in(Scratch::new("models"), keeping(2), policy.clone());
    for count in 1..=5 {
        folder.publish(&files[..count]);
        follower.has(files[count - 1].0, files[count - 1].1).await;
    }
    follower.put("9/model.onnx", "by hand");
    follower.current().await;
    follower.has_versions(&["1", "2", "3", "4", "5", "9"]).await;
    policy.may_remove.store(true, Ordering::Relaxed);
    follower.has_versions(&["3", "4", "5", "9"]).await;
    follower.current().await;
    follower.has_versions(&["3", "4", "5", "9"]).await;

    follower.settings.send_replace(keeping(0));
    follower.has_versions(&["5", "9"]).await;
}

#[tokio::test]
async fn the_repository_hears_what_is_withdrawn_once_the_rest_is_there() {
    let folder = Folder::new(&[ONE, TWO]);
    let policy = Arc::new(Latest::default());
    let follower = Follower::start_in(Scratch::new("models"), settings(&folder.url()), policy.clone());
    follower.has(TWO.0, TWO.1).await;
    put(folder.path(), "SHA256SUMS", index(&[ONE, THREE]));
    follower.problem("/3/model.onnx is not there").await;
    assert_eq!(
        policy.withdrawn(),
        Some(BTreeSet::new()),
        "it is not known yet what comes instead"
    );
    put(folder.path(), "SHA256SUMS", index(&[ONE]));
    follower.has(ONE.0, ONE.1).await;
    eventually("it has heard", DEADLINE, async || {
        policy.withdrawn() == Some(BTreeSet::from([2]))
    })
    .await;
    follower.current().await;
    follower.has_versions(&["1", "2"]).await;
    let told = policy.withdrawn.lock().expect("no test panicked").len();
    follower.current().await;
    assert_eq!(
        policy.withdrawn.lock().expect("no test panicked").len(),
        told,
        "nothing is told twice"
    );
    policy.may_remove.store(true, Ordering::Relaxed);
    follower.has_versions(&["1"]).await;
    eventually("it is withdrawn no more", DEADLINE, async || {
        policy.withdrawn() == Some(BTreeSet::new())
    })
    .await;
}

#[tokio::test]
async fn two_processes_do_not_pull_into_one_directory_at_once() {
    let folder = Folder::new(&[ONE]);
    let scratch = Scratch::new("models");
    let work = scratch.path().join("iris/.registry");
    fs::create_dir_all(&work).expect("makes directories");
    let other = fs::File::create(work.join("lock")).expect("writes");
    other.lock().expect("nobody has it");
    let follower = Follower::start_in(scratch, settings(&folder.url()), Arc::new(AllVersions));
    follower.problem("another process is pulling into").await;
    drop(other);
    follower.has(ONE.0, ONE.1).await;
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_named() {
    let folder = Folder::new(&[ONE]);
    let scratch = Scratch::new("models");
    // A file where the directory should be: root, who may run this test, is not kept from writing by permissions.
    put(scratch.path(), "iris", "a file");
    let follower = Follower::start_in(scratch, settings(&folder.url()), Arc::new(AllVersions));
    let problem = follower.problem("cannot make").await;
    assert!(problem.contains("/iris/.registry/parts: Not a directory"), "{problem}");

    let scratch = Scratch::new("models");
    fs::create_dir(scratch.path().join("iris")).expect("is new");
    fs::set_permissions(scratch.path().join("iris"), fs::Permissions::from_mode(0o500)).expect("is ours");
    let keeps_us_out = fs::write(scratch.path().join("iris/probe"), "").is_err();
    let follower = Follower::start_in(scratch, settings(&folder.url()), Arc::new(AllVersions));
    if keeps_us_out {
        follower.problem("/iris/.registry/parts: Permission denied").await;
    } else {
        follower.has(ONE.0, ONE.1).await;
    }
    fs::set_permissions(follower.model(), fs::Permissions::from_mode(0o700)).expect("is ours");
}

#[tokio::test]
async fn a_full_disk_is_told_and_what_fits_later_is_pulled() {
    let registry = Registry::start(Shelf::with("iris", &[ONE])).await;
    let scratch = Scratch::new("models");
    let parts = scratch.path().join("iris/.registry/parts");
    fs::create_dir_all(&parts).expect("makes directories");
    // The one file of a Linux machine that never has room, in the place of what is written first.
    let first = parts.join(format!("{}.etag", Sha256::of(ONE.1)));
    symlink("/dev/full", &first).expect("links");
    let follower = Follower::start_in(scratch, settings(&registry.url("iris")), Arc::new(AllVersions));
    let problem = follower.problem("No space left on device").await;
    assert!(problem.starts_with("cannot write "), "{problem}");
    fs::remove_file(first).expect("is there");
    follower.has(ONE.0, ONE.1).await;
}

#[tokio::test]
async fn the_readmes_line_makes_an_index() {
    const LINE: &str = "find * -type f ! -name SHA256SUMS -exec sha256sum {} + > SHA256SUMS";
    let page = include_str!("../../docs/registry.md");
    assert!(page.contains(&format!("$ {LINE}\n")), "the page says something else");
    let scratch = Scratch::new("folder");
    for (path, bytes) in [ONE, TWO, ("2/data/w.bin", b"weights"), ("config.yaml", b"a: 1\n")] {
        put(scratch.path(), path, bytes);
    }
    let made = Command::new("sh")
        .args(["-c", LINE])
        .current_dir(scratch.path())
        .status();
    assert!(made.expect("a shell").success());
    let follower = Follower::start(settings(&format!("file://{}", scratch.path().display())));
    follower.current().await;
    follower.has_versions(&["1", "2"]).await;
    assert_eq!(follower.read("2/data/w.bin").as_deref(), Some(&b"weights"[..]));
    assert_eq!(follower.read("config.yaml").as_deref(), Some(&b"a: 1\n"[..]));
}
