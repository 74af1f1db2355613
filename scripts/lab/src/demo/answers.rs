//! Pods and versions that answer, as a client sees them.

use std::time::Duration;

use crate::error::StepError;
use crate::probe::Probe;
use crate::terminal::note;
use crate::wait::within;

const PODS_WITHIN: Duration = Duration::from_secs(20);
/// Answers that are looked at for the pods that give them, and for the versions that they have.
const LOOKS_FOR_PODS: usize = 40;
const LOOKS_FOR_VERSIONS: usize = 30;

async fn pods_seen(probe: &Probe, url: &str) -> usize {
    probe.headers(url, "x-served-by", LOOKS_FOR_PODS).await.len()
}

/// Waits until so many pods answer.
pub(crate) async fn everyone_answers(probe: &Probe, url: &str, pods: usize) -> Result<(), StepError> {
    if !within(PODS_WITHIN, async || pods_seen(probe, url).await == pods).await {
        let seen = pods_seen(probe, url).await;
        return Err(StepError::Replicas { seen, expected: pods });
    }
    note(format_args!("{pods} replicas answer"));
    Ok(())
}

/// The versions in some answers, one after the other.
pub(crate) async fn versions_now(probe: &Probe, url: &str) -> String {
    probe
        .headers(url, "x-model-version", LOOKS_FOR_VERSIONS)
        .await
        .join(" ")
}

/// Fails unless everyone answers with this version now.
pub(crate) async fn expect_version(probe: &Probe, url: &str, version: &str) -> Result<(), StepError> {
    let seen = versions_now(probe, url).await;
    if seen != version {
        let expected = version.to_owned();
        return Err(StepError::Versions { expected, seen });
    }
    note(format_args!("now every answer is of version {version}"));
    Ok(())
}
