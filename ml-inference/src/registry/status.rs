//! How the pulling goes: for the status page, and for who waits for the first model.

use std::time::SystemTime;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PullStatus {
    pub state: PullState,
    /// Why the last pull failed, until one succeeds.
    pub problem: Option<String>,
    /// When all that is wanted was last known to be there.
    pub last_success: Option<SystemTime>,
    /// The file that is being pulled.
    pub progress: Option<DownloadProgress>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PullState {
    #[default]
    Starting,
    Pulling,
    /// All that is wanted is there.
    Current,
    /// The last pull failed, and the next one is waited for.
    Failing,
}

impl PullState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Pulling => "pulling",
            Self::Current => "current",
            Self::Failing => "failing",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownloadProgress {
    /// As the index calls it.
    pub file: String,
    pub bytes: u64,
    /// Where the registry says it.
    pub size: Option<u64>,
}
