//! A registry that is a bucket, behind a server that checks signatures.

use ml_inference::registry::RegistrySettings;
use reqwest::Url;
use shared::test_util::{Scratch, TlsFront};

use crate::follower::{Follower, settings, with_credentials};
use crate::server::{Access, PASSWORD, Registry, Shelf, USER, bytes};

fn bucket(endpoint: &str) -> RegistrySettings {
    RegistrySettings {
        s3_endpoint: Some(Url::parse(endpoint).expect("a URL")),
        ..settings("s3://models/team-a/iris")
    }
}

#[tokio::test]
async fn a_model_is_pulled_with_signed_requests() {
    let mut shelf = Shelf::with(
        "models/team-a/iris",
        &[("1/model.onnx", b"one"), ("config.yaml", b"a: 1\n")],
    );
    shelf.access = Access::S3 { secret: PASSWORD };
    let registry = Registry::start(shelf).await;
    let follower = Follower::start(with_credentials(bucket(&registry.url("")), USER, PASSWORD));
    follower.has("1/model.onnx", b"one").await;
    follower.has("config.yaml", b"a: 1\n").await;
    follower.current().await;
    let last = registry.asked_for("/SHA256SUMS").pop().expect("was asked");
    assert_eq!(last.status, 304);

    let new = [("1/model.onnx", &b"one"[..]), ("2/model.onnx", &b"two"[..])];
    registry.shelf().publish("models/team-a/iris", &new);
    follower.has("2/model.onnx", b"two").await;
}

#[tokio::test]
async fn refusals_tell_what_s3_said() {
    let mut shelf = Shelf::with("models/team-a/iris", &[("1/model.onnx", b"one")]);
    shelf.access = Access::S3 { secret: PASSWORD };
    let registry = Registry::start(shelf).await;
    let open = bucket(&registry.url(""));
    let follower = Follower::start(open.clone());
    let problem = follower.problem("AccessDenied").await;
    assert!(
        problem.starts_with("the registry wants credentials for s3://models/team-a/iris/SHA256SUMS"),
        "{problem}"
    );
    follower
        .settings
        .send_replace(with_credentials(open.clone(), USER, "wrong"));
    let problem = follower.problem("SignatureDoesNotMatch").await;
    assert!(
        problem.contains("refuses these credentials (REGISTRY_USER reader"),
        "{problem}"
    );
    follower
        .settings
        .send_replace(with_credentials(open.clone(), "stranger", PASSWORD));
    follower.problem("InvalidAccessKeyId").await;
    registry.shelf().files.clear();
    follower
        .settings
        .send_replace(with_credentials(open.clone(), USER, PASSWORD));
    let problem = follower.problem("NoSuchKey").await;
    assert!(
        problem.starts_with("s3://models/team-a/iris/SHA256SUMS is not there: 404"),
        "{problem}"
    );
    let down = registry.down();
    let problem = follower.problem("cannot reach").await;
    assert_eq!(
        problem,
        format!(
            "cannot reach http://{}: Connection refused (os error 111)",
            down.address
        )
    );
}

#[tokio::test]
async fn an_open_bucket_needs_no_credentials() {
    let registry = Registry::start(Shelf::with("models/team-a/iris", &[("1/model.onnx", b"one")])).await;
    let follower = Follower::start(bucket(&registry.url("")));
    follower.has("1/model.onnx", b"one").await;
    assert!(registry.asked_for("").iter().all(|asked| asked.authorization.is_none()));
}

const LARGE: usize = 9 << 20;
const CUT: usize = 5 << 20;

#[tokio::test]
async fn a_pull_goes_on_where_it_broke_off() {
    let large = bytes(LARGE);
    let mut shelf = Shelf::with("models/team-a/iris", &[("1/model.onnx", &large)]);
    shelf.access = Access::S3 { secret: PASSWORD };
    shelf.cut_once = Some(CUT);
    let registry = Registry::start(shelf).await;
    let follower = Follower::start(with_credentials(bucket(&registry.url("")), USER, PASSWORD));
    follower.has("1/model.onnx", &large).await;
    let asked = registry.asked_for("/1/model.onnx");
    let asked: Vec<_> = asked.into_iter().map(|asked| (asked.range, asked.status)).collect();
    assert_eq!(asked, [(None, 200), (Some(format!("bytes={CUT}-")), 206)]);
}

#[tokio::test]
async fn an_object_that_changed_meanwhile_is_not_spliced() {
    let after = bytes(LARGE);
    let mut shelf = Shelf::with("models/team-a/iris", &[("1/model.onnx", &after)]);
    shelf
        .files
        .insert("/models/team-a/iris/1/model.onnx".to_owned(), vec![7; LARGE]);
    shelf.cut_once = Some(CUT);
    let registry = Registry::start(shelf).await;
    let follower = Follower::start(RegistrySettings {
        interval: std::time::Duration::from_secs(3600),
        ..bucket(&registry.url(""))
    });
    follower.problem("broke off").await;
    registry
        .shelf()
        .files
        .insert("/models/team-a/iris/1/model.onnx".to_owned(), after.clone());
    follower.has("1/model.onnx", &after).await;
    let statuses: Vec<u16> = registry
        .asked_for("/1/model.onnx")
        .iter()
        .map(|asked| asked.status)
        .collect();
    assert_eq!(statuses, [200, 412, 200]);
}

#[tokio::test]
async fn the_endpoint_may_have_a_private_authority() {
    let mut shelf = Shelf::with("models/team-a/iris", &[("1/model.onnx", b"one")]);
    shelf.access = Access::S3 { secret: PASSWORD };
    let registry = Registry::start(shelf).await;
    let tls = TlsFront::start(registry.address).await;
    let scratch = Scratch::new("authority");
    let untrusting = with_credentials(bucket(&format!("https://{}", tls.address)), USER, PASSWORD);
    let follower = Follower::start(untrusting.clone());
    follower.problem("UnknownIssuer").await;
    follower.settings.send_replace(RegistrySettings {
        ca_file: Some(scratch.file("ca.pem", &tls.ca)),
        ..untrusting
    });
    follower.has("1/model.onnx", b"one").await;
}

#[tokio::test]
async fn a_redirect_is_no_place_to_take_a_signature_to() {
    let mut shelf = Shelf::with("models/team-a/iris", &[("1/model.onnx", b"one")]);
    shelf.redirect = Some("http://127.0.0.1:1".to_owned());
    let registry = Registry::start(shelf).await;
    let follower = Follower::start(with_credentials(bucket(&registry.url("")), USER, PASSWORD));
    follower.problem("s3://models/team-a/iris/SHA256SUMS: 302 Found").await;
}
