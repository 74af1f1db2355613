//! Where a cluster's endpoints come from, in tiers:
//!
//! ```text
//! fixed        the list in gateway.yaml, published when the cluster is made
//! dns          the cluster's name, asked for again and again: a Service's address, or its pods where it is headless
//! kubernetes   the EndpointSlices of the Service of that name: its pods and how they are
//!              └─ dns, while the API server does not give them
//! ```
//!
//! All of it runs on the control thread for as long as the settings name the cluster; workers only read what is
//! published.

pub mod dns;
pub mod kubernetes;

use std::sync::Arc;

use hickory_resolver::TokioResolver;
use tokio::task::JoinHandle;

use super::cluster::Cluster;
use crate::config::{ClusterConfig, Config, Discovery, DnsConfig, KubernetesConfig};

/// Finds out where clusters are.
pub struct Discoverer {
    dns: DnsConfig,
    kubernetes: KubernetesConfig,
    /// Made for the first cluster that needs it: a fixed list works without DNS.
    resolver: Option<TokioResolver>,
}

impl Discoverer {
    pub fn new(config: &Config) -> Self {
        Self {
            dns: config.dns.clone(),
            kubernetes: config.kubernetes.clone(),
            resolver: None,
        }
    }

    /// Sees to what is needed to follow such a cluster.
    pub fn prepare(&mut self, config: &ClusterConfig) -> Result<(), dns::DnsError> {
        if config.endpoints.is_none() && self.resolver.is_none() {
            self.resolver = Some(dns::resolver(&self.dns)?);
        }
        Ok(())
    }

    /// Follows a cluster that was prepared for and has no fixed list, until the task is aborted.
    pub fn follow(&self, cluster: &Arc<Cluster>) -> Option<JoinHandle<()>> {
        if cluster.config.endpoints.is_some() {
            return None;
        }
        let resolver = self.resolver.clone().expect("the cluster was prepared for");
        let by_dns = dns::Follower {
            cluster: Arc::clone(cluster),
            resolver,
            config: self.dns.clone(),
        };
        Some(match &cluster.config.discovery {
            Discovery::Dns => tokio::task::spawn_local(async move {
                by_dns.follow().await;
            }),
            Discovery::Kubernetes(service) => {
                let follower = kubernetes::Follower::new(self.kubernetes.clone(), service.clone(), by_dns);
                tokio::task::spawn_local(async move {
                    follower.follow().await;
                })
            }
        })
    }
}
