//! The gateway's settings, parsed once into values that cannot be wrong.
//!
//! Plain settings come from every layer; `clusters` and `routes` from the mounted `gateway.yaml`, or from
//! `default.yaml`, which is part of the binary.

mod clusters;
mod discovery;
mod policies;
mod routes;
mod settings;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use shared::config::units::{boolean, bytes, number, seconds};
use shared::config::{Networks, Secret, Settings};
use shared::serve::usable_cpus;
use shared::service_settings::{self, ServiceSettings};

use clusters::keys::CLUSTERS;
use routes::keys::ROUTES;
use settings::*;

pub use clusters::ClusterConfig;
pub use discovery::{Discovery, KubernetesService, Tier};
pub use policies::{EjectionConfig, HealthCheckConfig, Http2Limits, Policy, Protocol, RetryBudgetConfig};
pub use routes::{Action, ForwardConfig, PathMatch, RouteConfig, StaticResponse};
pub use settings::PROGRAM;
pub use values::Authority;

#[derive(Debug, Clone)]
pub struct Config {
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    pub workers: usize,
    /// Whose connections begin with a header of the PROXY protocol.
    pub proxy_protocol_from: Networks,
    pub service: ServiceSettings,
    pub live: LiveSettings,
    pub dns: DnsConfig,
    pub kubernetes: KubernetesConfig,
    /// Held for token checks; nothing reads it yet.
    pub jwt_secret: Option<Secret>,
    pub clusters: Vec<ClusterConfig>,
    pub routes: Vec<RouteConfig>,
    /// Which layer gave the two lists above.
    clusters_from: String,
    routes_from: String,
}

/// The plain settings that new requests read; a change applies without a restart.
#[derive(Debug, Clone)]
pub struct LiveSettings {
    pub access_log: bool,
    pub max_body_bytes: u64,
    pub tunnel_idle_timeout: Duration,
    pub trusted_proxies: Networks,
    pub upstream: UpstreamConfig,
    /// Every key that is accepted.
    pub api_keys: Vec<Secret>,
}

/// Limits that are the same for every cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamConfig {
    pub request_timeout: Duration,
    pub connect_timeout: Duration,
    pub connect_attempt_timeout: Duration,
    pub max_attempts: usize,
    pub max_idle_connections: usize,
    pub idle_timeout: Duration,
    pub max_header_bytes: usize,
}

#[derive(Debug, Clone)]
pub struct DnsConfig {
    /// Empty: those of `resolv_conf`.
    pub servers: Vec<SocketAddr>,
    pub resolv_conf: PathBuf,
    pub min_ttl: Duration,
    pub max_ttl: Duration,
}

/// Address of the API server, and the times of requests to it.
#[derive(Debug, Clone)]
pub struct KubernetesConfig {
    /// `None` outside of a pod.
    pub api: Option<Uri>,
    pub service_account: PathBuf,
    pub watch_timeout: Duration,
    pub retry: Duration,
}

impl KubernetesConfig {
    fn from_settings(settings: &mut Settings) -> Self {
        let named = settings.get(&KUBERNETES_API, |text| match text {
            "" => Some(None),
            url => api_url(url).map(Some),
        });
        let port = settings.get(&KUBERNETES_SERVICE_PORT, number::<u16>);
        let injected = settings.get(&KUBERNETES_SERVICE_HOST, |host| match host {
            "" => Some(None),
            host if host.contains(':') => api_url(&format!("https://[{host}]:{port}")).map(Some),
            host => api_url(&format!("https://{host}:{port}")).map(Some),
        });
        let watch_timeout = settings.get(&KUBERNETES_WATCH_TIMEOUT, number);
        Self {
            api: named.or(injected),
            service_account: settings.get(&SERVICE_ACCOUNT_DIR, file),
            watch_timeout: Duration::from_secs(watch_timeout),
            retry: settings.get(&KUBERNETES_RETRY, seconds),
        }
    }
}

fn api_url(text: &str) -> Option<Uri> {
    let url: Uri = text.parse().ok()?;
    let named = matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty());
    (named && url.path() == "/" && url.query().is_none()).then_some(url)
}

impl Config {
    pub fn from_settings(settings: &mut Settings) -> Self {
        let access_log = settings.get(&ACCESS_LOG, boolean);
        let mut service = ServiceSettings::from_settings(settings);
        service.connections.log_refusals = access_log;
        let max_ttl = settings.get(&DNS_MAX_TTL, seconds);
        let config = Self {
            listen: settings.get(&LISTEN_ADDRESS, number),
            admin: settings.get(&ADMIN_ADDRESS, number),
            workers: match settings.get(&WORKERS, number) {
                0 => usable_cpus(),
                count => count,
            },
            proxy_protocol_from: settings.get(&PROXY_PROTOCOL_FROM, Networks::parse),
            live: LiveSettings {
                access_log,
                max_body_bytes: settings.get(&MAX_BODY_BYTES, bytes),
                tunnel_idle_timeout: settings.get(&TUNNEL_IDLE_TIMEOUT, seconds),
                trusted_proxies: settings.get(&TRUSTED_PROXIES, Networks::parse),
                upstream: UpstreamConfig {
                    request_timeout: settings.get(&service_settings::REQUEST_TIMEOUT, seconds),
                    connect_timeout: settings.get(&CONNECT_TIMEOUT, seconds),
                    connect_attempt_timeout: settings.get(&CONNECT_ATTEMPT_TIMEOUT, seconds),
                    max_attempts: settings.get(&MAX_ATTEMPTS, number),
                    max_idle_connections: settings.get(&MAX_IDLE_CONNECTIONS, number),
                    idle_timeout: settings.get(&IDLE_TIMEOUT, seconds),
                    max_header_bytes: service.connections.head.max_bytes,
                },
                api_keys: [API_KEY, API_KEY_PREVIOUS]
                    .iter()
                    .filter_map(|key| settings.get_secret(key))
                    .collect(),
            },
            service,
            dns: DnsConfig {
                servers: settings.get(&DNS_SERVERS, addresses),
                resolv_conf: settings.get(&RESOLV_CONF, file),
                min_ttl: settings.get(&DNS_MIN_TTL, seconds).min(max_ttl),
                max_ttl,
            },
            kubernetes: KubernetesConfig::from_settings(settings),
            jwt_secret: settings.get_secret(&JWT_SECRET),
            clusters: Vec::new(),
            routes: Vec::new(),
            clusters_from: String::new(),
            routes_from: String::new(),
        };
        config.with_documents(settings)
    }

    fn with_documents(mut self, settings: &mut Settings) -> Self {
        if self.listen == self.admin && self.listen.port() != 0 {
            settings.refuse_value(&ADMIN_ADDRESS, "is the same as LISTEN_ADDRESS");
        }
        let clusters = settings.document(&CLUSTERS);
        self.clusters_from = clusters.origin().to_owned();
        let parsed = clusters::parse(&clusters);
        let mut faults = clusters.take_faults();

        let routes = settings.document(&ROUTES);
        self.routes_from = routes.origin().to_owned();
        self.routes = routes::parse(&routes, &parsed, !self.live.api_keys.is_empty());
        self.clusters = parsed.valid;
        faults.extend(routes.take_faults());
        settings.note(faults);
        self
    }

    /// The parts that are no plain settings, as `--print-config` shows them.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for cluster in &self.clusters {
            text.push_str(&format!("cluster {cluster}  ({})\n", self.clusters_from));
        }
        for route in &self.routes {
            text.push_str(&format!("route {route}  ({})\n", self.routes_from));
        }
        text
    }
}

fn file(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

fn addresses(text: &str) -> Option<Vec<SocketAddr>> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(|item| item.parse().ok()).collect()
}
