//! Rollouts: waited for until every new pod is ready and every old one gone.

use std::time::Duration;

use tokio::time::Instant;

use super::error::ClusterError;
use super::kubectl::{Kubectl, KubectlError};
use crate::environment::seconds;
use crate::terminal::print_error;
use crate::wait::within;

/// The time that `rollout status` waits before the pods are checked for an image that cannot be had.
const LOOK: Duration = Duration::from_secs(5);
/// The pods' grace period, 30 s, and some slack.
const GONE_SECONDS: (&str, f64) = ("GONE_SECONDS", 45.0);

/// Reasons of a waiting container whose image cannot be had.
const NO_IMAGE: [&str; 4] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
];

pub(super) async fn finished(kubectl: &Kubectl, deployment: &str, patience: Duration) -> Result<(), ClusterError> {
    let deadline = Instant::now() + patience;
    let target = format!("deployment/{deployment}");
    let look = format!("{}s", patience.min(LOOK).as_secs());
    loop {
        let status = kubectl
            .watch(&["rollout", "status", &target, "--timeout", &look])
            .await?;
        if status.succeeded {
            return Ok(());
        }
        let mut image = None;
        // Any other failure would come again at once.
        if status.stderr.contains("timed out") {
            image = missing_image(kubectl, deployment).await?;
            if image.is_none() && Instant::now() < deadline {
                continue;
            }
        }
        print_error(format_args!("{}\n", status.stderr));
        show_pods(kubectl, deployment).await;
        let deployment = deployment.to_owned();
        return Err(match image {
            Some(image) => ClusterError::NoImage { image },
            None => ClusterError::NotRolledOut {
                deployment,
                within: patience,
            },
        });
    }
}

async fn show_pods(kubectl: &Kubectl, deployment: &str) {
    // The rollout's own failure is what is said in the end.
    let _shown = kubectl
        .aside()
        .run(&["get", "pods", "-l", &format!("app={deployment}")])
        .await;
}

/// The image that a pod waits for and that cannot be had.
async fn missing_image(kubectl: &Kubectl, deployment: &str) -> Result<Option<String>, KubectlError> {
    let containers =
        "jsonpath={range .items[*].status.containerStatuses[*]}{.image}{\" \"}{.state.waiting.reason}{\"\\n\"}{end}";
    let app = format!("app={deployment}");
    let listed = kubectl.read(&["get", "pods", "-l", &app, "-o", containers]).await?;
    let missing = listed.lines().find_map(|line| {
        let (image, reason) = line.split_once(' ')?;
        NO_IMAGE.contains(&reason).then(|| image.to_owned())
    });
    Ok(missing)
}

pub(super) async fn old_pods_gone(kubectl: &Kubectl, deployment: &str) -> Result<(), ClusterError> {
    let patience = seconds(GONE_SECONDS);
    if within(patience, async || {
        leaving(kubectl, deployment).await.is_ok_and(|pods| pods.is_empty())
    })
    .await
    {
        return Ok(());
    }
    let pods = leaving(kubectl, deployment).await?;
    Err(ClusterError::StillTerminating { pods, within: patience })
}

/// The pods of a deployment that are terminating.
async fn leaving(kubectl: &Kubectl, deployment: &str) -> Result<String, KubectlError> {
    let terminating = "jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}";
    let app = format!("app={deployment}");
    kubectl.read(&["get", "pods", "-l", &app, "-o", terminating]).await
}
