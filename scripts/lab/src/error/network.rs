//! Reasons for which a network namespace cannot be made.

use std::io;

use crate::terminal::error;

#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("this needs Linux's network namespaces")]
    NotLinux,
    #[error("{0} is missing")]
    NoTool(&'static str),
    #[error("a network namespace cannot be made here ({0})")]
    NoNamespace(String),
    #[error("addresses cannot be translated here")]
    NoTranslation,
    #[error("new connections cannot be led to other gateways: see above")]
    NoRoute,
    #[error("cannot run {program}: {error}")]
    Run { program: String, error: io::Error },
}

impl NetworkError {
    /// Gives true when a tool or a permission is missing, as opposed to a failure.
    pub fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::NotLinux | Self::NoTool(_) | Self::NoNamespace(_) | Self::NoTranslation
        )
    }

    pub fn report(&self) {
        let advice: &[String] = match self {
            Self::NotLinux => &["on a cluster it needs none: leave out --local".to_owned()],
            Self::NoTool(_) => &["get it with: apt-get install util-linux iproute2 iptables".to_owned()],
            Self::NoNamespace(_) => &["as root it may: sudo scripts/rolling-update.sh …".to_owned()],
            Self::NoTranslation => &["see above; the kernel needs the modules iptable_nat or nft_nat".to_owned()],
            Self::NoRoute | Self::Run { .. } => &[],
        };
        error(self, advice);
    }
}
