//! `clusters:` — the services that requests are forwarded to.

mod cluster;
pub(super) mod keys;
mod parse;

pub use cluster::ClusterConfig;
pub(super) use parse::{Clusters, parse};
