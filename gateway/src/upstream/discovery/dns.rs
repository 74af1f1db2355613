//! DNS: asks at run time, again when the TTL is over, and keeps the last good answer.
//!
//! The resolver is hickory's, because a static binary cannot load glibc's and because only the answer
//! itself tells its TTL. It reads `resolv.conf` as the kubelet writes it: `search` domains and `ndots:5`,
//! so `ml-inference-service` is found in the pod's own namespace, and a name that ends in a dot is
//! absolute and asked for once.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::parse_resolv_conf;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use crate::config::DnsConfig;
use crate::upstream::Cluster;

/// Pause after a failed lookup: doubles from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// One lookup, all its attempts and search domains together.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

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
    // A pod that knows no IPv6 gets an empty AAAA answer, which costs nothing; asking for both finds the
    // endpoints of every cluster.
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
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

/// Follows the cluster's name for ever.
pub async fn follow(cluster: Arc<Cluster>, resolver: TokioResolver, config: DnsConfig) {
    let mut failures = 0_u32;
    loop {
        let asked = Instant::now();
        let pause = match lookup(&cluster, &resolver).await {
            Ok((addresses, ttl)) => {
                if failures > 0 {
                    info!(cluster = %cluster.config.name, "the name resolves again");
                }
                failures = 0;
                cluster.publish(&addresses);
                ttl.clamp(config.min_ttl, config.max_ttl)
            }
            Err(error) => {
                cluster.metrics.dns_failures.inc();
                if failures == 0 {
                    let kept = cluster.endpoints().endpoints.len();
                    warn!(cluster = %cluster.config.name, %error, kept, "the name does not resolve; asking again");
                }
                let pause = FIRST_PAUSE.saturating_mul(1 << failures.min(8)).min(LONGEST_PAUSE);
                failures = failures.saturating_add(1);
                pause
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            // An endpoint did not answer, so the answer may have changed; but no flood of questions.
            () = cluster.look_again.notified() => sleep_until(asked + config.min_ttl.min(pause)).await,
        }
    }
}

async fn lookup(cluster: &Cluster, resolver: &TokioResolver) -> Result<(Vec<SocketAddr>, Duration), String> {
    let authority = &cluster.config.authority;
    let asked = timeout(LOOKUP_TIMEOUT, resolver.lookup_ip(authority.host.as_str()));
    let answer = match asked.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_elapsed) => return Err(format!("no answer within {} s", LOOKUP_TIMEOUT.as_secs())),
    };
    let addresses: Vec<SocketAddr> = answer.iter().map(|ip| SocketAddr::new(ip, authority.port)).collect();
    if addresses.is_empty() {
        return Err("the answer holds no address".to_owned());
    }
    let ttl = answer
        .valid_until()
        .saturating_duration_since(std::time::Instant::now());
    Ok((addresses, ttl))
}
