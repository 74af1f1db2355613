//! DNS: asks at run time, again when the TTL is over, and keeps the last good answer.
//!
//! The resolver is hickory's, because a static binary cannot load glibc's and because only the answer
//! itself tells its TTL. It reads `resolv.conf` as the kubelet writes it: `search` domains and `ndots:5`,
//! so `ml-inference-service` is found in the pod's own namespace, and a name that ends in a dot is
//! absolute and asked for once.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use shared::backoff::Backoff;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use crate::config::DnsConfig;
use crate::upstream::cluster::Cluster;
use crate::upstream::endpoint_set::AddressKind;

/// Pause after a failed lookup: doubles from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// One lookup, all its attempts and search domains together.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the second address family once the first has answered.
const SECOND_FAMILY_TIMEOUT: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    #[error("cannot read {path}: {source}")]
    ResolvConf { path: String, source: io::Error },
    #[error("{path} is not usable: {source}")]
    Invalid { path: String, source: NetError },
    #[error("cannot build the resolver: {0}")]
    Build(NetError),
}

/// The resolver all clusters use.
pub fn resolver(config: &DnsConfig) -> Result<TokioResolver, DnsError> {
    let path = config.resolv_conf.display().to_string();
    let (mut servers, mut options) = match std::fs::read(&config.resolv_conf) {
        Ok(text) => parse_resolv_conf(text).map_err(|source| DnsError::Invalid { path, source })?,
        // Named servers make the file a convenience.
        Err(_) if !config.servers.is_empty() => (ResolverConfig::default(), ResolverOpts::default()),
        Err(source) => return Err(DnsError::ResolvConf { path, source }),
    };
    if !config.servers.is_empty() {
        let (domain, search, _) = servers.into_parts();
        let named = config.servers.iter().map(|address| name_server(*address)).collect();
        servers = ResolverConfig::from_parts(domain, search, named);
    }
    // The TTL is followed here: a cache in between would hand out old answers, and keep "no such name"
    // long after the Service was created.
    options.cache_size = 0;
    let mut builder = TokioResolver::builder_with_config(servers, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build().map_err(DnsError::Build)
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let with_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![with_port(ConnectionConfig::udp()), with_port(ConnectionConfig::tcp())];
    NameServerConfig::new(address.ip(), true, connections)
}

/// Follows the name of one cluster.
pub struct DnsFollower {
    cluster: Arc<Cluster>,
    resolver: TokioResolver,
    config: DnsConfig,
}

impl DnsFollower {
    pub fn new(cluster: Arc<Cluster>, resolver: TokioResolver, config: DnsConfig) -> Self {
        Self {
            cluster,
            resolver,
            config,
        }
    }

    /// For ever, or until it is dropped.
    pub async fn follow(&self) -> Infallible {
        let Self {
            cluster,
            resolver,
            config,
        } = self;
        let mut backoff = Backoff::new(FIRST_PAUSE);
        // What DNS itself said last: the cluster's set may be another tier's.
        let mut known = Vec::new();
        loop {
            let asked = Instant::now();
            let pause = match lookup(cluster, resolver, &known).await {
                Ok((addresses, ttl)) => {
                    if backoff.reset() > 0 {
                        info!(cluster = %cluster.config.name, "name resolves again");
                    }
                    cluster.publish(&addresses, kind_of(&addresses));
                    known = addresses;
                    ttl.clamp(config.min_ttl, config.max_ttl)
                }
                Err(error) => {
                    cluster.metrics.dns_failures.inc();
                    if backoff.failures() == 0 {
                        let kept = cluster.endpoints().endpoints.len();
                        warn!(cluster = %cluster.config.name, %error, kept, "name does not resolve; retrying");
                    }
                    cluster.mark_resolved();
                    backoff.pause(LONGEST_PAUSE)
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                // An endpoint did not answer, so the answer may have changed; but no flood of questions.
                () = cluster.refresh.notified() => sleep_until(asked + config.min_ttl.min(pause)).await,
            }
        }
    }
}

/// A name with one address is most likely a Service with a ClusterIP; a headless one has its pods'.
fn kind_of(addresses: &[SocketAddr]) -> AddressKind {
    match addresses {
        [_] => AddressKind::Service,
        _ => AddressKind::Pod,
    }
}

/// Answer for the name in one address family.
enum Family {
    Known {
        /// The name that the search list led to.
        name: Name,
        addresses: Vec<IpAddr>,
        ttl: Duration,
    },
    /// The server says that there is nothing.
    Empty(String),
    /// No answer: what was known before still holds.
    Failed(String),
}

/// Queries IPv4 first, and IPv6 under the very name that was found: the two may not come from different
/// search domains, and a server that mishandles one kind of question must not hold up the other's answer.
async fn lookup(
    cluster: &Cluster,
    resolver: &TokioResolver,
    known: &[SocketAddr],
) -> Result<(Vec<SocketAddr>, Duration), String> {
    let host = cluster.config.authority.host.as_str();
    let asked = Name::from_str_relaxed(host).map_err(|error| error.to_string())?;
    let v4 = ask(resolver, asked.clone(), RecordType::A, LOOKUP_TIMEOUT).await;
    let v6 = match &v4 {
        Family::Known { name, .. } => ask(resolver, name.clone(), RecordType::AAAA, SECOND_FAMILY_TIMEOUT).await,
        Family::Empty(_) | Family::Failed(_) => ask(resolver, asked, RecordType::AAAA, LOOKUP_TIMEOUT).await,
    };
    if let (Family::Empty(error) | Family::Failed(error), Family::Empty(_) | Family::Failed(_)) = (&v4, &v6) {
        return Err(error.clone());
    }
    let before = |is_v4: bool| {
        let known = known.iter().map(SocketAddr::ip);
        known.filter(move |ip| ip.is_ipv4() == is_v4).collect::<Vec<IpAddr>>()
    };
    let mut addresses = Vec::new();
    let mut shortest: Option<Duration> = None;
    for (family, is_v4) in [(v4, true), (v6, false)] {
        match family {
            Family::Known {
                addresses: known, ttl, ..
            } => {
                addresses.extend(known);
                shortest = Some(shortest.map_or(ttl, |shortest| shortest.min(ttl)));
            }
            Family::Failed(_) => addresses.extend(before(is_v4)),
            Family::Empty(_) => {}
        }
    }
    let port = cluster.config.authority.port;
    let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
    Ok((addresses, shortest.unwrap_or_default()))
}

async fn ask(resolver: &TokioResolver, name: Name, record_type: RecordType, patience: Duration) -> Family {
    let answer = match timeout(patience, resolver.lookup(name, record_type)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) if error.is_no_records_found() => return Family::Empty(error.to_string()),
        Ok(Err(error)) => return Family::Failed(error.to_string()),
        Err(_elapsed) => return Family::Failed(format!("no answer within {} s", patience.as_secs_f64())),
    };
    // A CNAME stands among the answers too; only addresses count.
    let addresses: Vec<IpAddr> = answer
        .answers()
        .iter()
        .filter_map(|record| record.data.ip_addr())
        .collect();
    if addresses.is_empty() {
        return Family::Empty("the answer holds no address".to_owned());
    }
    Family::Known {
        // Found names are absolute: the second question is not searched for again.
        name: absolute(answer.query().name()),
        ttl: answer
            .valid_until()
            .saturating_duration_since(std::time::Instant::now()),
        addresses,
    }
}

fn absolute(name: &Name) -> Name {
    let mut name = name.clone();
    name.set_fqdn(true);
    name
}
