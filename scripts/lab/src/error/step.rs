//! Faults of the pair in a demonstration, and states of the cluster in which one cannot begin.

use crate::terminal::{error, warn};

#[derive(Debug, thiserror::Error)]
pub enum StepError {
    #[error("{seen} replicas answer instead of {expected}")]
    Replicas { seen: usize, expected: usize },
    #[error("expected answers of version {expected} only, got: {}", if seen.is_empty() { "none" } else { seen })]
    Versions { expected: String, seen: String },
    #[error("the gateway does not say that it refuses the file")]
    NotRefused,
    #[error("both keys should be accepted, but they are answered {old} and {new}")]
    Keys { old: String, new: String },
    #[error("a key that is gone is answered {0} instead of 401")]
    KeyStays(String),
    #[error("not every gateway pod has logged \"{text}\" within {seconds} s")]
    NotEverywhere { text: &'static str, seconds: u64 },

    #[error("the autoscaler {autoscaler} looks after ml-inference in namespace {namespace} and would scale it back")]
    Autoscaled { autoscaler: String, namespace: String },
    #[error("LOG_LEVEL is debug already in namespace {namespace}")]
    DebugAlready { namespace: String },
    #[error("{deployment} already runs {image}: there is nothing to update to")]
    AlreadyRuns {
        deployment: &'static str,
        image: String,
        option: &'static str,
        /// The command that goes back to the first image.
        back: String,
    },
    #[error("the answers of {url} name no version (x-model-version)")]
    NoVersion { url: String },
    #[error("several versions answer already: {0}")]
    SeveralVersions(String),
    #[error("cannot write a file: {0}")]
    File(#[from] std::io::Error),
}

impl StepError {
    pub fn report(&self) {
        match self.advice() {
            Some(advice) => error(self, &[advice]),
            None => warn(self),
        }
    }

    /// Advice, for a demonstration that cannot begin.
    fn advice(&self) -> Option<String> {
        match self {
            Self::Autoscaled { .. } => Some("scripts/hpa.sh shows it at work".to_owned()),
            Self::DebugAlready { .. } => Some("choose an overlay with another: --overlay base".to_owned()),
            Self::AlreadyRuns { option, back, .. } => {
                Some(format!("name another image with {option}, or go back first: {back}"))
            }
            Self::NoVersion { .. } => Some("is it the path of ml-inference?".to_owned()),
            Self::SeveralVersions(_) => {
                Some("wait until an earlier rollout is over and no pod is Terminating".to_owned())
            }
            _ => None,
        }
    }
}
