//! The demonstrations with the real services, on this machine: they end in the number of requests that failed, which is 0. They run
//! alone (.config/nextest.toml), so that no other test's work is measured.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::{binary, is_left_out, repository};
use shared::test_util::{Finished, Process, Scratch};

/// Each takes about ten seconds, the gateways' updates half a minute.
const PATIENCE: Duration = Duration::from_secs(180);
fn binaries() -> PathBuf {
    let gateway = binary("gateway");
    gateway.parent().expect("a binary lies in a directory").to_owned()
}

/// Runs a script on ports that no other test takes: the gateway's is `port`.
async fn run(port: u16, script: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Finished {
    let reports = Scratch::new("demos");
    let mut command = Command::new(repository().join("scripts").join(script));
    command
        .args(["--local", "--bin-dir"])
        .arg(binaries())
        .args(["--port", &port.to_string(), "--ml-port", &(port + 20).to_string()])
        .args(arguments)
        .env("LAB", binary("lab"))
        .env("LOAD_TEST", binary("load-test"))
        .env("LOAD_REPORTS", reports.path())
        .env("NO_COLOR", "1")
        .envs(variables.iter().copied());
    let mut process = Process::spawn(command).expect("the script starts");
    process.wait_exit(PATIENCE).await
}

/// The number of failed requests, and of all.
#[track_caller]
fn verdict(finished: &Finished) -> (u64, u64) {
    let last = finished.stdout.lines().last().unwrap_or_default();
    let numbers = last
        .strip_prefix("failed requests: ")
        .and_then(|rest| rest.split_once(" of "));
    let (failed, all) = numbers.unwrap_or_else(|| panic!("no verdict: {finished:?}"));
    (failed.parse().expect("a number"), all.parse().expect("a number"))
}

#[track_caller]
fn expect_no_loss(finished: &Finished) {
    assert_eq!(finished.code, 0, "{}{}", finished.stdout, finished.stderr);
    let (failed, all) = verdict(finished);
    assert!(failed == 0 && all > 0, "{}{}", finished.stdout, finished.stderr);
}

#[track_caller]
fn expect_said(finished: &Finished, texts: &[&str]) {
    for text in texts {
        assert!(
            finished.stdout.contains(text),
            "{text}: {}{}",
            finished.stdout,
            finished.stderr
        );
    }
}

#[tokio::test]
async fn no_request_fails_while_replicas_are_replaced_by_another_version() {
    let finished = run(31700, "rolling-update.sh", &[], &[]).await;
    expect_no_loss(&finished);
    expect_said(
        &finished,
        &[
            "now every answer is of version 2.0",
            "now every answer is of version 1.0",
        ],
    );
}

#[tokio::test]
async fn no_request_fails_while_replicas_come_and_go() {
    let finished = run(31730, "scale.sh", &[], &[]).await;
    expect_no_loss(&finished);
    expect_said(&finished, &["6 replicas answer", "2 replicas answer"]);
}

#[tokio::test]
async fn no_request_fails_while_replicas_end_die_and_freeze() {
    let finished = run(31760, "kill.sh", &[], &[]).await;
    expect_no_loss(&finished);
    expect_said(&finished, &["ml-inference-3 is frozen", "it goes on"]);
}

#[tokio::test]
async fn no_request_fails_while_settings_change() {
    let finished = run(31790, "reload.sh", &[], &[]).await;
    expect_no_loss(&finished);
    expect_said(&finished, &["refused: \"", "a key that is gone is answered 401"]);
}

/// Gives true when no network namespace with iptables can be had.
fn no_network() -> bool {
    let try_out = |command: &str| {
        let trial = Command::new("unshare")
            .args(["--net"])
            .args(command.split_whitespace())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        trial.is_ok_and(|status| status.success())
    };
    let had = try_out("ip link set lo up") && try_out("iptables -t nat -L");
    is_left_out(!had, "no network namespace with iptables can be had")
}

#[tokio::test]
async fn no_request_fails_on_kept_or_new_connections_while_gateways_and_replicas_are_replaced() {
    if no_network() {
        return;
    }
    let finished = run(31820, "rolling-update.sh", &["--both"], &[]).await;
    expect_no_loss(&finished);
    expect_said(
        &finished,
        &[
            "api-gateway-6 has taken the place of api-gateway-4",
            "a connection for each request",
        ],
    );
}

#[tokio::test]
async fn without_a_drain_window_of_the_gateway_requests_are_lost_and_it_says_so() {
    if no_network() {
        return;
    }
    let finished = run(31850, "rolling-update.sh", &["--gateway"], &[("DRAIN_WINDOW", "0")]).await;
    assert_eq!(finished.code, 1, "{}{}", finished.stdout, finished.stderr);
    expect_said(&finished, &["Connection refused"]);
    assert!(verdict(&finished).0 > 0, "{}{}", finished.stdout, finished.stderr);
}
