//! `discovery:` of a cluster — where its endpoints come from when they are not listed.

use std::fmt;
use std::net::SocketAddr;

use shared::config::Node;

use crate::config::clusters::keys::{DISCOVERY, ENDPOINTS, PORT_NAME};
use crate::config::values::Authority;

/// Source of a cluster's endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discovery {
    /// A list of addresses and weights in the settings.
    Fixed(Vec<(SocketAddr, u32)>),
    Dns,
    /// The EndpointSlices of a Service, and DNS for as long as the API server does not give them.
    Kubernetes(KubernetesService),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesService {
    pub name: String,
    /// Without one the pod's own is meant, as in DNS.
    pub namespace: Option<String>,
    /// Which of its ports; `None` where there is only one.
    pub port_name: Option<String>,
}

impl Discovery {
    /// The tier that the endpoints come from as long as nothing fails.
    pub fn tier(&self) -> Tier {
        match self {
            Self::Fixed(_) => Tier::Fixed,
            Self::Dns => Tier::Dns,
            Self::Kubernetes(_) => Tier::Kubernetes,
        }
    }
}

impl KubernetesService {
    /// The Service that a DNS name stands for: `service`, `service.namespace`, and the latter with `.svc` and the
    /// cluster's domain behind it.
    fn from_host(host: &str) -> Option<Self> {
        let mut labels = host.strip_suffix('.').unwrap_or(host).split('.');
        let name = labels.next().and_then(label)?;
        let namespace = match labels.next() {
            Some(namespace) => Some(label(namespace)?),
            None => None,
        };
        let is_service = labels.next().is_none_or(|third| third == "svc");
        is_service.then_some(Self {
            name,
            namespace,
            port_name: None,
        })
    }
}

/// A name as Kubernetes has them for Services, namespaces and ports (RFC 1123).
fn label(text: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let valid = (1..=63).contains(&text.len()) && text.chars().all(allowed);
    valid.then(|| text.to_owned())
}

impl fmt::Display for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = match self {
            Self::Fixed(endpoints) => {
                let list: Vec<String> = endpoints
                    .iter()
                    .map(|(address, weight)| format!("{address}*{weight}"))
                    .collect();
                return write!(f, "endpoints {}", list.join(","));
            }
            Self::Dns => return f.write_str("by DNS"),
            Self::Kubernetes(service) => service,
        };
        write!(f, "by EndpointSlices of {}", service.name)?;
        if let Some(namespace) = &service.namespace {
            write!(f, " in {namespace}")?;
        }
        if let Some(port_name) = &service.port_name {
            write!(f, " port_name={port_name}")?;
        }
        Ok(())
    }
}

/// Source of a cluster's endpoints at the moment.
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

    pub fn from_u8(number: u8) -> Self {
        Self::ALL[usize::from(number) % Self::ALL.len()]
    }
}

/// The keys `discovery` and `port_name` of the cluster `node`, which has no fixed list.
pub(super) fn parse(node: &Node<'_>, authority: Option<&Authority>) -> Discovery {
    let field = node.field(&DISCOVERY);
    let by_kubernetes = node.find(&DISCOVERY, |text| Some(text == "kubernetes"));
    if field.exists() && node.field(&ENDPOINTS).exists() {
        field.misplaced("cannot stand beside `endpoints`, a fixed list; leave one of the two out");
    }
    let port_name = node.field(&PORT_NAME);
    let named = node.find(&PORT_NAME, label);
    if by_kubernetes != Some(true) {
        if port_name.exists() && (by_kubernetes.is_some() || !field.exists()) {
            port_name.misplaced("needs `discovery: kubernetes`: DNS knows no names of ports");
        }
        return Discovery::Dns;
    }
    let Some(authority) = authority else {
        return Discovery::Dns;
    };
    let Some(service) = KubernetesService::from_host(&authority.host) else {
        let expected = "service, service.namespace or service.namespace.svc.cluster.local";
        field.fault(format!(
            "needs the name of a Service, {expected}; found {:?}",
            authority.host
        ));
        return Discovery::Dns;
    };
    Discovery::Kubernetes(KubernetesService {
        port_name: named,
        ..service
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_and_its_namespace_stand_in_its_dns_name() {
        for (host, name, namespace) in [
            ("ml", "ml", None),
            ("ml.lab", "ml", Some("lab")),
            ("ml.lab.svc", "ml", Some("lab")),
            ("ml.lab.svc.cluster.local", "ml", Some("lab")),
            ("ml.lab.svc.cluster.local.", "ml", Some("lab")),
            ("ml.lab.svc.example.", "ml", Some("lab")),
        ] {
            let service = KubernetesService::from_host(host).expect(host);
            assert_eq!((service.name.as_str(), service.namespace.as_deref()), (name, namespace));
        }
        for no_service in ["a.b.c", "www.example.com", "Ml", "a_b", "a.B"] {
            assert_eq!(KubernetesService::from_host(no_service), None, "{no_service}");
        }
    }
}
