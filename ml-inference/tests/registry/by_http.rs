//! A registry that is a web server: what it may ask for, how it may fail, and that a pull goes on where it broke off.

use std::sync::Arc;
use std::time::Duration;

use ml_inference::registry::{PullState, RegistrySettings, Sha256};
use shared::config::Secret;
use shared::test_util::{DEADLINE, Scratch, TlsFront, eventually};

use crate::follower::{AllVersions, Follower, put, settings, with_credentials};
use crate::server::{Access, PASSWORD, Registry, Shelf, Tags, USER, basic, bytes};

#[tokio::test]
async fn a_model_is_pulled_and_what_is_new_follows() {
    let registry = Registry::start(Shelf::with(
        "models/iris",
        &[
            ("1/model.onnx", b"one"),
            ("1/data/w.bin", b"weights"),
            ("config.yaml", b"a: 1\n"),
        ],
    ))
    .await;
    let follower = Follower::start(settings(&registry.url("models/iris/")));
    follower.current().await;
    assert_eq!(follower.read("1/model.onnx").as_deref(), Some(&b"one"[..]));
    assert_eq!(follower.read("1/data/w.bin").as_deref(), Some(&b"weights"[..]));
    assert_eq!(follower.read("config.yaml").as_deref(), Some(&b"a: 1\n"[..]));

    registry.shelf().publish(
        "models/iris",
        &[
            ("1/model.onnx", b"one"),
            ("1/data/w.bin", b"weights"),
            ("2/model.onnx", b"two"),
            ("config.yaml", b"a: 2\n"),
        ],
    );
    follower.has("2/model.onnx", b"two").await;
    follower.has("config.yaml", b"a: 2\n").await;
    follower.current().await;
    assert_eq!(
        registry.asked_for("/1/model.onnx").len(),
        1,
        "what is there is not pulled again"
    );
    let last = registry.asked_for("/SHA256SUMS").pop().expect("was asked");
    assert_eq!(last.status, 304, "an index that did not change is not sent again");
}

#[tokio::test]
async fn credentials_are_sent_and_wrong_ones_are_told() {
    let mut shelf = Shelf::with("iris", &[("1/model.onnx", b"one")]);
    shelf.access = Access::Basic { password: PASSWORD };
    let registry = Registry::start(shelf).await;
    let open = settings(&registry.url("iris"));

    let follower = Follower::start(open.clone());
    let problem = follower.problem("401").await;
    assert!(problem.contains("wants credentials for"), "{problem}");
    assert!(
        problem.contains("REGISTRY_USER and REGISTRY_PASSWORD are not set"),
        "{problem}"
    );

    follower
        .settings
        .send_replace(with_credentials(open.clone(), USER, "wrong"));
    let problem = follower.problem("refuses these credentials").await;
    assert!(
        problem.contains("(REGISTRY_USER reader, REGISTRY_PASSWORD)"),
        "{problem}"
    );
    assert!(problem.contains("/iris/SHA256SUMS: 401"), "{problem}");
    assert!(!problem.contains("wrong"), "{problem}");

    follower.settings.send_replace(RegistrySettings {
        password: None,
        ..with_credentials(open.clone(), USER, "")
    });
    let problem = follower.problem("is set without").await;
    assert_eq!(problem, "REGISTRY_USER is set without REGISTRY_PASSWORD");

    follower.settings.send_replace(with_credentials(open, USER, PASSWORD));
    follower.has("1/model.onnx", b"one").await;
    follower.current().await;
}

#[tokio::test]
async fn a_password_that_changes_is_used_from_then_on() {
    let mut shelf = Shelf::with("iris", &[("1/model.onnx", b"one")]);
    shelf.access = Access::Basic { password: PASSWORD };
    let registry = Registry::start(shelf).await;
    let open = settings(&registry.url("iris"));
    let follower = Follower::start(with_credentials(open.clone(), USER, PASSWORD));
    follower.has("1/model.onnx", b"one").await;

    {
        let mut shelf = registry.shelf();
        shelf.access = Access::Basic { password: "swordfish" };
        shelf.publish("iris", &[("1/model.onnx", b"one"), ("2/model.onnx", b"two")]);
    }
    follower.problem("refuses these credentials").await;
    assert_eq!(
        follower.read("1/model.onnx").as_deref(),
        Some(&b"one"[..]),
        "what is there stays"
    );
    // A long pause would end with the new password.
    follower
        .settings
        .send_replace(with_credentials(open, USER, "swordfish"));
    follower.has("2/model.onnx", b"two").await;
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let registry = Registry::start(Shelf::with(
        "iris",
        &[("1/model.onnx", b"one"), ("2/model.onnx", b"two")],
    ))
    .await;
    let follower = Follower::start(settings(&registry.url("rose")));
    let problem = follower.problem("404").await;
    assert_eq!(
        problem,
        format!("{} is not there: 404 Not Found", registry.url("rose/SHA256SUMS"))
    );

    registry.shelf().files.remove("/iris/2/model.onnx");
    let follower = Follower::start(settings(&registry.url("iris")));
    let problem = follower.problem("404").await;
    assert!(problem.contains("/iris/2/model.onnx is not there"), "{problem}");
    follower.has_versions(&["1"]).await;
}

#[tokio::test]
async fn a_server_that_is_down_is_waited_for_and_what_is_there_stays() {
    let registry = Registry::start(Shelf::with("iris", &[("1/model.onnx", b"one")])).await;
    let url = registry.url("iris");
    let down = registry.down();
    let follower = Follower::start(settings(&url));
    let problem = follower.problem("cannot reach").await;
    assert!(
        problem.contains(&format!("http://{}: Connection refused", down.address)),
        "{problem}"
    );

    let registry = down.up().await;
    follower.has("1/model.onnx", b"one").await;
    follower.current().await;
    let down = registry.down();
    follower.problem("Connection refused").await;
    assert_eq!(follower.read("1/model.onnx").as_deref(), Some(&b"one"[..]));
    let registry = down.up().await;
    registry
        .shelf()
        .publish("iris", &[("1/model.onnx", b"one"), ("2/model.onnx", b"two")]);
    follower.has("2/model.onnx", b"two").await;
}

/// More than one batch, and more than the sockets hold.
const LARGE: usize = 9 << 20;
const CUT: usize = 5 << 20;

/// Pulls a large file that breaks off once; what was asked for it.
async fn broken_off_once(change: impl FnOnce(&mut Shelf)) -> (Registry, Vec<(Option<String>, u16)>) {
    let large = bytes(LARGE);
    let mut shelf = Shelf::with("iris", &[("1/model.onnx", &large)]);
    shelf.cut_once = Some(CUT);
    change(&mut shelf);
    let registry = Registry::start(shelf).await;
    let follower = Follower::start(settings(&registry.url("iris")));
    follower.has("1/model.onnx", &large).await;
    let asked = registry.asked_for("/1/model.onnx");
    let asked = asked.into_iter().map(|asked| (asked.range, asked.status)).collect();
    (registry, asked)
}

#[tokio::test]
async fn a_pull_goes_on_where_it_broke_off() {
    for tags in [Tags::Strong, Tags::Weak, Tags::None] {
        let (_registry, asked) = broken_off_once(|shelf| shelf.tags = tags).await;
        assert_eq!(asked, [(None, 200), (Some(format!("bytes={CUT}-")), 206)], "{tags:?}");
    }
}

#[tokio::test]
async fn a_server_without_ranges_is_read_from_the_start() {
    let (_registry, asked) = broken_off_once(|shelf| shelf.ignores_ranges = true).await;
    assert_eq!(asked, [(None, 200), (Some(format!("bytes={CUT}-")), 200)]);
}

#[tokio::test]
async fn an_object_that_changed_meanwhile_is_not_spliced() {
    let (before, after) = (vec![7; LARGE], bytes(LARGE));
    let mut shelf = Shelf::with("iris", &[("1/model.onnx", &after)]);
    shelf.files.insert("/iris/1/model.onnx".to_owned(), before);
    shelf.cut_once = Some(CUT);
    let registry = Registry::start(shelf).await;
    let follower = Follower::start(RegistrySettings {
        interval: Duration::from_secs(3600),
        ..settings(&registry.url("iris"))
    });
    follower.problem("broke off").await;
    registry
        .shelf()
        .files
        .insert("/iris/1/model.onnx".to_owned(), after.clone());
    follower.has("1/model.onnx", &after).await;
    let statuses: Vec<u16> = registry
        .asked_for("/1/model.onnx")
        .iter()
        .map(|asked| asked.status)
        .collect();
    assert_eq!(
        statuses,
        [200, 200],
        "If-Range made the server send the whole of the new one"
    );
}

#[tokio::test]
async fn a_process_that_ended_in_the_middle_goes_on_in_the_next() {
    let large = bytes(LARGE);
    let mut shelf = Shelf::with("iris", &[("1/model.onnx", &large)]);
    shelf.stall_after = Some(CUT);
    let registry = Registry::start(shelf).await;
    let open = settings(&registry.url("iris"));
    let follower = Follower::start(open.clone());
    let on_disk = || {
        let parts = std::fs::read_dir(follower.model().join(".registry/parts"))
            .into_iter()
            .flatten()
            .flatten();
        parts
            .filter_map(|part| part.metadata().ok())
            .map(|part| part.len())
            .max()
    };
    eventually("most of it is on the disk", DEADLINE, async || {
        on_disk().is_some_and(|length| length >= 4 << 20)
    })
    .await;
    let progress = follower
        .wait_for("in progress", |status| status.progress.is_some())
        .await
        .progress;
    let progress = progress.expect("is there");
    assert_eq!(
        (progress.file.as_str(), progress.size),
        ("1/model.onnx", Some(LARGE as u64))
    );
    let scratch = follower.end().await;

    registry.shelf().stall_after = None;
    let follower = Follower::start_in(scratch, open, Arc::new(AllVersions));
    follower.has("1/model.onnx", &large).await;
    let asked = registry.asked_for("/1/model.onnx");
    let range = asked[1]
        .range
        .as_deref()
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
    let start: usize = range.and_then(|start| start.parse().ok()).expect("from somewhere on");
    assert!(start >= 4 << 20, "{start}");
    assert_eq!(asked[1].status, 206);
    assert!(
        follower.metrics.bytes.get() < (LARGE - start + 1024) as u64,
        "the rest alone was sent"
    );
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up() {
    let mut shelf = Shelf::with("iris", &[("1/model.onnx", &bytes(LARGE))]);
    shelf.stall_after = Some(CUT);
    let registry = Registry::start(shelf).await;
    let follower = Follower::start(RegistrySettings {
        timeout: Duration::from_millis(200),
        ..settings(&registry.url("iris"))
    });
    let problem = follower.problem("broke off").await;
    assert!(problem.contains("/iris/1/model.onnx broke off: "), "{problem}");
    registry.shelf().stall_after = None;
    follower.has("1/model.onnx", &bytes(LARGE)).await;
}

#[tokio::test]
async fn a_lie_about_a_digest_is_told_and_read_once() {
    let mut shelf = Shelf::with("iris", &[("1/model.onnx", b"one"), ("2/model.onnx", b"two")]);
    shelf.files.insert("/iris/2/model.onnx".to_owned(), b"2wo".to_vec());
    let registry = Registry::start(shelf).await;
    let follower = Follower::start(settings(&registry.url("iris")));
    let problem = follower.problem("SHA256SUMS").await;
    let expected = format!(
        "{} is not what SHA256SUMS says: expected sha256 {}, found {}; it was deleted",
        registry.url("iris/2/model.onnx"),
        Sha256::of(b"two"),
        Sha256::of(b"2wo"),
    );
    assert_eq!(problem, expected);
    follower.has_versions(&["1"]).await;
    eventually("it is asked for again", DEADLINE, async || {
        registry.asked_for("/2/model.onnx").len() > 2
    })
    .await;
    let again = registry.asked_for("/2/model.onnx").pop().expect("was asked");
    assert_eq!(again.status, 304, "the same wrong object is not sent again");

    registry
        .shelf()
        .files
        .insert("/iris/2/model.onnx".to_owned(), b"two".to_vec());
    follower.has("2/model.onnx", b"two").await;
    follower.current().await;
}

#[tokio::test]
async fn a_file_over_the_limit_is_not_read() {
    for hides_length in [false, true] {
        let mut shelf = Shelf::with("iris", &[("1/model.onnx", &bytes(LARGE))]);
        shelf.hides_length = hides_length;
        let registry = Registry::start(shelf).await;
        let follower = Follower::start(RegistrySettings {
            largest_file: 1 << 20,
            ..settings(&registry.url("iris"))
        });
        let problem = follower.problem("MAX_MODEL_BYTES").await;
        assert!(
            problem.contains("/iris/1/model.onnx has more than the 1048576 bytes of"),
            "{problem}"
        );
        let parts = std::fs::read_dir(follower.model().join(".registry/parts")).expect("is there");
        for part in parts.flatten() {
            let length = part.metadata().expect("is there").len();
            assert!(length <= 2 << 20, "{length} bytes on the disk");
        }
    }
}

#[tokio::test]
async fn an_index_that_leads_out_of_the_directory_is_refused_whole() {
    let registry = Registry::start(Shelf::default()).await;
    let evil = format!("{0}  1/model.onnx\n{0}  1/../../../evil\n", "5".repeat(64));
    registry
        .shelf()
        .files
        .insert("/iris/SHA256SUMS".to_owned(), evil.into_bytes());
    let follower = Follower::start(settings(&registry.url("iris")));
    let problem = follower.problem("SHA256SUMS").await;
    assert!(
        problem.ends_with("/iris/SHA256SUMS: line 2: \"1/../../../evil\": has a part \".\" or \"..\""),
        "{problem}"
    );
    follower.has_versions(&[]).await;
    let asked = registry.shelf().asked.clone();
    assert!(asked.iter().all(|asked| asked.path == "/iris/SHA256SUMS"), "{asked:?}");

    registry
        .shelf()
        .files
        .insert("/iris/SHA256SUMS".to_owned(), b"<html>Please log in</html>\n".to_vec());
    follower.problem("line 1: expected 64 hexadecimal digits").await;
    registry
        .shelf()
        .files
        .insert("/iris/SHA256SUMS".to_owned(), bytes(5 << 20));
    follower.problem("has more than the 4194304 bytes").await;
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_it_is_given() {
    let registry = Registry::start(Shelf::with("iris", &[("1/model.onnx", b"one")])).await;
    let tls = TlsFront::start(registry.address).await;
    let scratch = Scratch::new("authority");
    let untrusting = settings(&format!("https://{}/iris", tls.address));
    let follower = Follower::start(untrusting.clone());
    let problem = follower.problem("UnknownIssuer").await;
    assert!(
        problem.ends_with("its authority's certificate can be given in REGISTRY_CA_FILE"),
        "{problem}"
    );

    let trusting = |path: &str| RegistrySettings {
        ca_file: Some(scratch.path().join(path)),
        ..untrusting.clone()
    };
    put(scratch.path(), "empty.pem", "");
    follower.settings.send_replace(trusting("empty.pem"));
    follower.problem("empty.pem: holds no certificate").await;
    follower.settings.send_replace(trusting("missing.pem"));
    follower.problem("missing.pem: No such file").await;
    put(scratch.path(), "ca.pem", &tls.ca);
    follower.settings.send_replace(trusting("ca.pem"));
    follower.has("1/model.onnx", b"one").await;
}

#[tokio::test]
async fn a_redirect_is_followed_without_the_credentials() {
    let mut shelf = Shelf::with("iris", &[("1/model.onnx", b"one")]);
    let storage = Registry::start(std::mem::take(&mut shelf)).await;
    shelf.redirect = Some(format!("http://{}", storage.address));
    let front = Registry::start(shelf).await;
    let follower = Follower::start(with_credentials(settings(&front.url("iris")), USER, PASSWORD));
    follower.has("1/model.onnx", b"one").await;
    let shown = front.asked_for("").pop().and_then(|asked| asked.authorization);
    assert_eq!(shown, Some(basic(USER, PASSWORD)));
    assert!(storage.asked_for("").iter().all(|asked| asked.authorization.is_none()));
}

#[tokio::test]
async fn a_redirect_in_a_circle_or_out_of_tls_is_told() {
    let registry = Registry::start(Shelf::with("iris", &[("1/model.onnx", b"one")])).await;
    let follower = Follower::start(settings(&registry.url("iris")));
    follower.has("1/model.onnx", b"one").await;
    registry.shelf().redirect = Some(format!("http://{}", registry.address));
    let problem = follower.problem("redirects to").await;
    assert!(
        problem.ends_with("/iris/SHA256SUMS, which is not followed"),
        "{problem}"
    );

    let tls = TlsFront::start(registry.address).await;
    let scratch = Scratch::new("authority");
    let follower = Follower::start(RegistrySettings {
        ca_file: Some(scratch.file("ca.pem", &tls.ca)),
        ..settings(&format!("https://{}/iris", tls.address))
    });
    let problem = follower.problem("redirects to").await;
    assert!(
        problem.contains(&format!("redirects to http://{}", registry.address)),
        "{problem}"
    );
}

#[tokio::test]
async fn without_an_interval_it_is_asked_until_it_has_answered_once() {
    let registry = Registry::start(Shelf::with("iris", &[("1/model.onnx", b"one")])).await;
    let once = RegistrySettings {
        interval: Duration::ZERO,
        ..settings(&registry.url("iris"))
    };
    let down = registry.down();
    let follower = Follower::start(once.clone());
    follower.problem("Connection refused").await;
    let registry = down.up().await;
    follower
        .wait_for("current", |status| status.state == PullState::Current)
        .await;
    let asked = registry.shelf().asked.len();
    // New settings are a reason to look again, as is nothing else.
    follower.settings.send_replace(RegistrySettings {
        password: Some(Secret::new("p")),
        user: Some(Secret::new("u")),
        ..once
    });
    eventually("it looks again", DEADLINE, async || {
        registry.shelf().asked.len() > asked
    })
    .await;
    assert_eq!(registry.shelf().asked.len(), asked + 1);
}
