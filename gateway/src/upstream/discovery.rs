//! Where a cluster's endpoints come from, in tiers:
//!
//! ```text
//! fixed        the list in gateway.yaml, published when the cluster is made
//! dns          the cluster's name, asked for again and again: a Service's address, or its pods where it is headless
//! kubernetes   the EndpointSlices of the Service of that name: its pods and how they are
//!              └─ dns, while the API server does not give them
//! ```
//!
//! All of it runs on the control thread for as long as the gateway does; workers only read what is published.

pub mod dns;
pub mod kubernetes;

use std::sync::Arc;

use super::Cluster;
use crate::config::{Config, Discovery};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Tier {
    Fixed,
    Dns,
    Kubernetes,
}

impl Tier {
    pub const ALL: [Self; 3] = [Self::Fixed, Self::Dns, Self::Kubernetes];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Dns => "dns",
            Self::Kubernetes => "kubernetes",
        }
    }

    pub(super) fn from_u8(number: u8) -> Self {
        Self::ALL[usize::from(number) % Self::ALL.len()]
    }
}

/// Follows every cluster that has no fixed list.
pub fn start(config: &Config, clusters: &[Arc<Cluster>]) -> Result<(), dns::DnsError> {
    let discovered: Vec<&Arc<Cluster>> = clusters
        .iter()
        .filter(|cluster| cluster.config.endpoints.is_none())
        .collect();
    if discovered.is_empty() {
        return Ok(());
    }
    let resolver = dns::resolver(&config.dns)?;
    for cluster in discovered {
        let by_dns = dns::Follower {
            cluster: Arc::clone(cluster),
            resolver: resolver.clone(),
            config: config.dns.clone(),
        };
        match &cluster.config.discovery {
            Discovery::Dns => tokio::task::spawn_local(async move { by_dns.follow().await }),
            Discovery::Kubernetes(service) => {
                let follower = kubernetes::Follower::new(config.kubernetes.clone(), service.clone(), by_dns);
                tokio::task::spawn_local(async move { follower.follow().await })
            }
        };
    }
    Ok(())
}
