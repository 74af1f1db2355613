//! Errors of a pull, in words for the person who has to fix it.

#[cfg(test)]
mod kinds;

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};

use http::StatusCode;

use super::digest::Sha256;
use super::index::{INDEX, IndexFault};

#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("REGISTRY_CA_FILE {path}: {problem}")]
    Authority { path: PathBuf, problem: String },
    #[error("{given} is set without {missing}")]
    HalfCredentials { given: &'static str, missing: &'static str },
    #[error("cannot create the registry's HTTP client: {0}")]
    Client(String),
    #[error("cannot reach {server}: {problem}")]
    Unreachable { server: String, problem: String },
    #[error("the registry refuses these credentials (REGISTRY_USER {user}, REGISTRY_PASSWORD) for {object}: {answer}")]
    Refused {
        object: String,
        user: String,
        answer: String,
    },
    #[error(
        "the registry wants credentials for {object}, and REGISTRY_USER and REGISTRY_PASSWORD are not set: {answer}"
    )]
    NoCredentials { object: String, answer: String },
    #[error("{object} is not there: {answer}")]
    Missing { object: String, answer: String },
    #[error("{object}: {answer}")]
    Answer { object: String, answer: String },
    #[error("{object}: the registry redirects to {to}, which is not followed")]
    Redirect { object: String, to: String },
    #[error("{object} broke off: {problem}")]
    BrokeOff { object: String, problem: String },
    #[error("{object}: {fault}")]
    Index { object: String, fault: IndexFault },
    #[error("{object} has more than the {limit} bytes of {setting}")]
    TooLarge {
        object: String,
        limit: u64,
        setting: &'static str,
    },
    #[error("{object} is not what {INDEX} says: expected sha256 {expected}, found {found}; it was deleted")]
    Digest {
        object: String,
        expected: Sha256,
        found: Sha256,
    },
    #[error(
        "{object} has another digest than when version {version} was pulled: versions do not change, give it a new number"
    )]
    Changed { object: String, version: u64 },
    #[error(
        "{path} did not come from the registry and stays as it is: remove it, or give the registry's another number"
    )]
    ByHand { path: PathBuf },
    #[error("{path} was put there or changed by hand and stays as it is: remove it to have the registry's")]
    ConfigByHand { path: PathBuf },
    #[error("{object}: {problem}")]
    Config { object: String, problem: String },
    #[error("another process is pulling into {path}")]
    Busy { path: PathBuf },
    #[error("cannot {doing} {path}: {source}")]
    Files {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("the work on {path} was aborted")]
    GivenUp { path: PathBuf },
}

impl RegistryError {
    /// True if other versions of the model may still be pulled. Otherwise they would fail for the same reason.
    pub(super) fn concerns_one_version(&self) -> bool {
        matches!(
            self,
            Self::Missing { .. }
                | Self::TooLarge { .. }
                | Self::Digest { .. }
                | Self::Changed { .. }
                | Self::ByHand { .. }
        )
    }

    /// A word for the metric.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Authority { .. } | Self::Client(_) => "settings",
            Self::HalfCredentials { .. } | Self::Refused { .. } | Self::NoCredentials { .. } => "credentials",
            Self::Unreachable { .. } => "unreachable",
            Self::Missing { .. } => "missing",
            Self::Answer { .. } | Self::Redirect { .. } => "answer",
            Self::BrokeOff { .. } => "broke_off",
            Self::Index { .. } => "index",
            Self::TooLarge { .. } => "too_large",
            Self::Digest { .. } => "digest",
            Self::Changed { .. } => "changed",
            Self::ByHand { .. } | Self::ConfigByHand { .. } => "by_hand",
            Self::Config { .. } => "config",
            Self::Busy { .. } => "busy",
            Self::Files { .. } | Self::GivenUp { .. } => "files",
        }
    }

    /// Error for an unexpected answer. `user` is the user name that was sent, if any.
    pub(super) fn answered(object: String, status: StatusCode, detail: &str, user: Option<&str>) -> Self {
        let answer = match detail {
            "" => status.to_string(),
            detail => format!("{status} ({detail})"),
        };
        match (status, user) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Some(user)) => Self::Refused {
                object,
                user: user.to_owned(),
                answer,
            },
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, None) => Self::NoCredentials { object, answer },
            (StatusCode::NOT_FOUND | StatusCode::GONE, _) => Self::Missing { object, answer },
            _ => Self::Answer { object, answer },
        }
    }
}

/// For `map_err`: what could not be done with which file.
pub(super) fn files(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RegistryError + use<> {
    let path = path.to_owned();
    move |source| RegistryError::Files { doing, path, source }
}

/// The innermost cause, which says what happened; those around it say in which layers.
pub(super) fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let text = cause.to_string();
    match text.contains("UnknownIssuer") {
        true => format!("{text}: its authority's certificate can be given in REGISTRY_CA_FILE"),
        false => text,
    }
}
