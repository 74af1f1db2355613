//! The tiers that a cluster's endpoints come from:
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
use crate::config::{Config, Discovery, DnsConfig, KubernetesConfig};

/// Settings and resolver that all followers of clusters share.
pub struct Discoverer {
    dns: DnsConfig,
    kubernetes: KubernetesConfig,
    /// Made for the first cluster that needs it: a fixed list works without DNS.
    resolver: Option<TokioResolver>,
}

/// Starts to follow one cluster, in a task that goes on until it is aborted. Nothing can fail any more.
pub type Follow = Box<dyn FnOnce(Arc<Cluster>) -> JoinHandle<()>>;

impl Discoverer {
    pub fn new(config: &Config) -> Self {
        Self {
            dns: config.dns.clone(),
            kubernetes: config.kubernetes.clone(),
            resolver: None,
        }
    }

    /// Makes what is needed to follow a cluster with this discovery; a fixed list needs nothing.
    pub fn prepare(&mut self, discovery: &Discovery) -> Result<Option<Follow>, dns::DnsError> {
        let service = match discovery {
            // Published when the cluster was made.
            Discovery::Fixed(_) => return Ok(None),
            Discovery::Dns => None,
            Discovery::Kubernetes(service) => Some((self.kubernetes.clone(), service.clone())),
        };
        let (resolver, config) = (self.resolver()?, self.dns.clone());
        Ok(Some(Box::new(|cluster| {
            let by_dns = dns::DnsFollower::new(Arc::clone(&cluster), resolver.clone(), config);
            tokio::task::spawn_local(async move {
                match service {
                    None => by_dns.follow().await,
                    Some((api, service)) => {
                        let follower = kubernetes::SliceFollower::new(cluster, resolver, api, service, by_dns);
                        follower.follow().await
                    }
                };
            })
        })))
    }

    fn resolver(&mut self) -> Result<TokioResolver, dns::DnsError> {
        let resolver = match self.resolver.take() {
            Some(resolver) => resolver,
            None => dns::resolver(&self.dns)?,
        };
        Ok(self.resolver.insert(resolver).clone())
    }
}
