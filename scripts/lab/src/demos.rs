//! The demonstrations, each on this machine and on a cluster.

pub(crate) mod hpa;
pub(crate) mod kill;
pub(crate) mod reload;
pub(crate) mod rolling_update;
pub(crate) mod scale;
