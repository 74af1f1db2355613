//! The errors that end a command: how each is said, and the exit status that it means.

mod autoscaling;
mod network;
mod step;

use std::io;

use crate::arguments::UsageError;
use crate::binaries::BinaryError;
use crate::cluster::{ClusterError, KubectlError};
use crate::load::LoadError;
use crate::pair::{PairError, ServiceError};
use crate::terminal;

pub use autoscaling::{AutoscalingError, Where};
pub use network::NetworkError;
pub use step::StepError;

/// Exit statuses, the same in every script.
const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_UNAVAILABLE: u8 = 3;
const EXIT_INTERRUPTED: u8 = 130;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Usage(#[from] UsageError),
    #[error(transparent)]
    Binary(#[from] BinaryError),
    #[error(transparent)]
    Pair(#[from] PairError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Step(#[from] StepError),
    #[error(transparent)]
    Autoscaling(#[from] AutoscalingError),
    #[error("cannot {what}: {error}")]
    System { what: &'static str, error: io::Error },
    #[error("interrupted")]
    Interrupted,
    /// The load's verdict, which is on the terminal already.
    #[error("requests failed")]
    Requests { status: i32 },
    /// A failure that is on the terminal already.
    #[error("failed")]
    Reported,
}

impl From<ServiceError> for Error {
    fn from(error: ServiceError) -> Self {
        Self::Pair(error.into())
    }
}

impl From<KubectlError> for Error {
    fn from(error: KubectlError) -> Self {
        Self::Cluster(error.into())
    }
}

impl Error {
    pub fn exit_status(&self) -> u8 {
        match self {
            _ if self.is_usage() => EXIT_USAGE,
            Self::Binary(BinaryError::NoCargo | BinaryError::Missing(_) | BinaryError::NoLoadTest(_)) => {
                EXIT_UNAVAILABLE
            }
            Self::Cluster(error) if error.is_absence() => EXIT_UNAVAILABLE,
            Self::Network(error) if error.is_absence() => EXIT_UNAVAILABLE,
            Self::Autoscaling(error) if error.is_absence() => EXIT_UNAVAILABLE,
            Self::Requests { status } => u8::try_from(*status).unwrap_or(EXIT_FAILED),
            Self::Interrupted => EXIT_INTERRUPTED,
            _ => EXIT_FAILED,
        }
    }

    /// Gives true when the command line is wrong.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Usage(_) | Self::Binary(BinaryError::NoDirectory(_)))
    }

    /// Says on the terminal what happened and what to do about it.
    pub fn report(&self) {
        match self {
            Self::Binary(BinaryError::NoCargo) => {
                let advice = "install Rust from https://rustup.rs, then open a new terminal";
                terminal::error(self, &[advice.to_owned()]);
            }
            Self::Pair(error) => error.report(),
            Self::Cluster(error) => error.report(),
            Self::Network(error) => error.report(),
            Self::Step(error) => error.report(),
            Self::Autoscaling(error) => error.report(),
            Self::Interrupted | Self::Requests { .. } | Self::Reported => {}
            Self::Usage(_) | Self::Binary(_) | Self::Load(_) | Self::System { .. } => terminal::error(self, &[]),
        }
    }
}
