//! Faults of the pair.

use std::io;

use super::service::ServiceError;
use crate::terminal::{error, print_error, warn};

#[derive(Debug, thiserror::Error)]
pub enum PairError {
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error("port {port} of 127.0.0.1 is already in use, and {user} needs it")]
    PortInUse { port: u16, user: String },
    #[error("the gateway did not take up the change")]
    NotTakenUp { status: String },
    #[error("cannot write the pair's files: {0}")]
    Files(#[from] io::Error),
    #[error("cannot make an HTTP client: {0}")]
    Client(reqwest::Error),
}

impl PairError {
    /// Says what happened, with what there is to be seen of it.
    pub fn report(&self) {
        match self {
            Self::Service(ended) => ended.report(),
            Self::PortInUse { port, .. } => error(self, &[who_has(*port)]),
            Self::NotTakenUp { status } => {
                warn(self);
                print_error(status);
            }
            Self::Files(_) | Self::Client(_) => error(self, &[]),
        }
    }
}

fn who_has(port: u16) -> String {
    format!("find who has it: lsof -nP -iTCP:{port} -sTCP:LISTEN   (or: ss -ltnp 'sport = :{port}')")
}
