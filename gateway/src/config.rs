//! The gateway's settings, parsed once into values that cannot be wrong.
//!
//! Plain settings come from every layer; `clusters` and `routes` from the mounted `gateway.yaml`, or from
//! `default.yaml`, which is part of the binary.

mod clusters;
mod discovery;
mod policies;
mod routes;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use shared::cli::Program;
use shared::config::scalar::{BYTES, SECONDS};
use shared::config::units::{boolean, bytes, name, number, seconds};
use shared::config::{Scalar, Secret, Setting, Settings};
use shared::lifecycle::{self, DrainTimes};
use shared::reload::RELOAD_INTERVAL;
use shared::serve::{self, ConnectionLimits, usable_cpus};
use shared::service_settings;
use shared::telemetry::logging::{self, Logging};

use clusters::keys::CLUSTERS;
use routes::ROUTES;
use values::SOCKET_ADDRESS;

pub use clusters::ClusterConfig;
pub use discovery::{Discovery, KubernetesService, Tier};
pub use policies::{EjectionConfig, HealthCheckConfig, Http2Limits, Policy, Protocol, RetryBudgetConfig};
pub use routes::{Action, ForwardConfig, PathMatch, RouteConfig, StaticResponse};
pub use values::Authority;

/// The name of a file or a directory.
const FILE: Scalar = Scalar::word("a path", r"[\s\S]");

const LISTEN_ADDRESS: Setting = Setting::new(
    "LISTEN_ADDRESS",
    "0.0.0.0:8080",
    SOCKET_ADDRESS,
    "where clients connect; a port below 1024 would need a privilege",
);
const ADMIN_ADDRESS: Setting = Setting::new(
    "ADMIN_ADDRESS",
    "0.0.0.0:9090",
    SOCKET_ADDRESS,
    "where probes and Prometheus connect: /livez /readyz /metrics /status.json",
);
const WORKERS: Setting = Setting::new(
    "WORKERS",
    "0",
    Scalar::Whole(0, 256),
    "worker threads; 0 is one per CPU the pod may use",
);
const ACCESS_LOG: Setting = Setting::new("ACCESS_LOG", "true", Scalar::Boolean, "one log line a request").live();
const CONNECT_TIMEOUT: Setting = Setting::new(
    "CONNECT_TIMEOUT",
    "10",
    SECONDS,
    "longest time spent on connecting to a cluster, over all attempts of one request",
)
.live();
const CONNECT_ATTEMPT_TIMEOUT: Setting = Setting::new(
    "CONNECT_ATTEMPT_TIMEOUT",
    "1",
    SECONDS,
    "longest single attempt to connect to an endpoint, within CONNECT_TIMEOUT",
)
.live();
const MAX_ATTEMPTS: Setting = Setting::new(
    "MAX_ATTEMPTS",
    "3",
    Scalar::Whole(1, 10),
    "how often one request may be sent, the first time included; only where a resend is safe",
)
.live();
const MAX_BODY_BYTES: Setting = Setting::new(
    "MAX_BODY_BYTES",
    "64Mi",
    BYTES,
    "largest request body; larger ones are answered 413",
)
.live();
const MAX_IDLE_CONNECTIONS: Setting = Setting::new(
    "MAX_IDLE_CONNECTIONS",
    "256",
    Scalar::Whole(0, 100_000),
    "idle upstream connections kept per endpoint and worker",
)
.live();
const IDLE_TIMEOUT: Setting = Setting::new(
    "IDLE_TIMEOUT",
    "30",
    SECONDS,
    "idle upstream connections are closed after this; keep it below the upstream's own keep-alive timeout",
)
.live();
const TUNNEL_IDLE_TIMEOUT: Setting = Setting::new(
    "TUNNEL_IDLE_TIMEOUT",
    "3600",
    SECONDS,
    "a WebSocket, or another connection that was upgraded, ends when no byte passes for this long",
)
.live();
const DNS_SERVERS: Setting = Setting::new(
    "DNS_SERVERS",
    "",
    Scalar::text(
        "a comma-separated list of IP addresses with ports",
        r"^[0-9A-Fa-f:.%,\s\[\]]*$",
    ),
    "name servers; empty: those of RESOLV_CONF",
);
const RESOLV_CONF: Setting = Setting::new(
    "RESOLV_CONF",
    "/etc/resolv.conf",
    FILE,
    "search domains, ndots and name servers",
);
const DNS_MIN_TTL: Setting = Setting::new(
    "DNS_MIN_TTL",
    "1",
    SECONDS,
    "an answer is asked for again no sooner than this, whatever its TTL; never above DNS_MAX_TTL",
);
const DNS_MAX_TTL: Setting = Setting::new(
    "DNS_MAX_TTL",
    "5",
    SECONDS,
    "and no later than this: kubeadm's CoreDNS gives 30 s, an age for a replaced pod",
);
const KUBERNETES_API: Setting = Setting::new(
    "KUBERNETES_API",
    "",
    Scalar::text("an http or https URL without a path", "^([Hh][Tt][Tt][Pp][Ss]?://.+)?$"),
    "API server for `discovery: kubernetes`; empty: the next two, as every pod has them",
);
const KUBERNETES_SERVICE_HOST: Setting = Setting::new(
    "KUBERNETES_SERVICE_HOST",
    "",
    Scalar::word("a host", ""),
    "address of the API server; Kubernetes sets it, outside of a pod it is empty",
);
const KUBERNETES_SERVICE_PORT: Setting = Setting::new(
    "KUBERNETES_SERVICE_PORT",
    "443",
    Scalar::Whole(1, 65_535),
    "port of the API server; Kubernetes sets it",
);
const SERVICE_ACCOUNT_DIR: Setting = Setting::new(
    "SERVICE_ACCOUNT_DIR",
    "/var/run/secrets/kubernetes.io/serviceaccount",
    FILE,
    "token, ca.crt and namespace of the pod's service account; read anew for every request to the API server",
);
const KUBERNETES_WATCH_TIMEOUT: Setting = Setting::new(
    "KUBERNETES_WATCH_TIMEOUT",
    "60",
    Scalar::Whole(1, 290),
    "a watch of EndpointSlices is asked for anew after so many seconds, and given up when it is silent for a quarter longer",
);
const KUBERNETES_RETRY: Setting = Setting::new(
    "KUBERNETES_RETRY",
    "30",
    SECONDS,
    "longest pause before an API server that fails is asked again; one that refused is asked after once to twice this",
);
const API_KEY: Setting = Setting::secret(
    "API_KEY",
    "what a route with require_api_key expects in X-API-Key or as Bearer token",
)
.live();
const API_KEY_PREVIOUS: Setting = Setting::secret(
    "API_KEY_PREVIOUS",
    "also accepted where API_KEY is, while clients change over to a new one",
)
.live();
const JWT_SECRET: Setting = Setting::secret(
    "JWT_SECRET",
    "signing secret for tokens; loaded and kept for the routes that will check them",
);

const SETTINGS: &[Setting] = &[
    LISTEN_ADDRESS,
    ADMIN_ADDRESS,
    WORKERS,
    service_settings::ENVIRONMENT,
    service_settings::POD_NAME,
    logging::LOG_LEVEL,
    logging::LOG_FORMAT,
    ACCESS_LOG,
    service_settings::REQUEST_TIMEOUT,
    CONNECT_TIMEOUT,
    CONNECT_ATTEMPT_TIMEOUT,
    MAX_ATTEMPTS,
    serve::KEEPALIVE_TIMEOUT,
    serve::MAX_CONNECTIONS,
    serve::HEADER_TIMEOUT,
    serve::SEND_TIMEOUT,
    serve::MAX_HEADER_BYTES,
    serve::MAX_REQUEST_LINE_BYTES,
    serve::MAX_HEADER_LINE_BYTES,
    serve::MAX_HEADERS,
    serve::HTTP2_MAX_STREAMS,
    serve::HTTP2_STREAM_WINDOW_BYTES,
    serve::HTTP2_CONNECTION_WINDOW_BYTES,
    serve::HTTP2_PING_INTERVAL,
    serve::HTTP2_PING_TIMEOUT,
    MAX_BODY_BYTES,
    MAX_IDLE_CONNECTIONS,
    IDLE_TIMEOUT,
    TUNNEL_IDLE_TIMEOUT,
    DNS_SERVERS,
    RESOLV_CONF,
    DNS_MIN_TTL,
    DNS_MAX_TTL,
    KUBERNETES_API,
    KUBERNETES_SERVICE_HOST,
    KUBERNETES_SERVICE_PORT,
    SERVICE_ACCOUNT_DIR,
    KUBERNETES_WATCH_TIMEOUT,
    KUBERNETES_RETRY,
    lifecycle::DRAIN_WINDOW,
    lifecycle::DRAIN_TIMEOUT,
    RELOAD_INTERVAL,
    API_KEY,
    API_KEY_PREVIOUS,
    JWT_SECRET,
];

pub const PROGRAM: Program = Program {
    name: "gateway",
    version: env!("CARGO_PKG_VERSION"),
    about: "API gateway: routes requests to clusters of replicated services.",
    settings: SETTINGS,
    documents: &[CLUSTERS, ROUTES],
    default_document: include_str!("../default.yaml"),
    default_file: "/etc/gateway/gateway.yaml",
    default_config_dirs: "/etc/shared-config",
    default_secret_dir: "/etc/secrets/api-credentials",
    file_note: "The file may also hold `clusters` and `routes`; without them the routes of the lab apply:\n\
                /predict, /v1 and /v2 to ml-inference-service:5000, /health and /status answered here.",
};

#[derive(Debug, Clone)]
pub struct Config {
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    pub workers: usize,
    pub environment: String,
    pub pod_name: String,
    pub logging: Logging,
    pub connections: ConnectionLimits,
    pub drain: DrainTimes,
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
        let connections = ConnectionLimits {
            log_refusals: access_log,
            ..ConnectionLimits::from_settings(settings)
        };
        let max_ttl = settings.get(&DNS_MAX_TTL, seconds);
        let config = Self {
            listen: settings.get(&LISTEN_ADDRESS, number),
            admin: settings.get(&ADMIN_ADDRESS, number),
            workers: match settings.get(&WORKERS, number) {
                0 => usable_cpus(),
                count => count,
            },
            environment: settings.get(&service_settings::ENVIRONMENT, |text| name(text, 63)),
            pod_name: service_settings::pod_name(settings),
            logging: Logging::from_settings(settings),
            connections,
            drain: DrainTimes {
                window: settings.get(&lifecycle::DRAIN_WINDOW, seconds),
                timeout: settings.get(&lifecycle::DRAIN_TIMEOUT, seconds),
            },
            live: LiveSettings {
                access_log,
                max_body_bytes: settings.get(&MAX_BODY_BYTES, bytes),
                tunnel_idle_timeout: settings.get(&TUNNEL_IDLE_TIMEOUT, seconds),
                upstream: UpstreamConfig {
                    request_timeout: settings.get(&service_settings::REQUEST_TIMEOUT, seconds),
                    connect_timeout: settings.get(&CONNECT_TIMEOUT, seconds),
                    connect_attempt_timeout: settings.get(&CONNECT_ATTEMPT_TIMEOUT, seconds),
                    max_attempts: settings.get(&MAX_ATTEMPTS, number),
                    max_idle_connections: settings.get(&MAX_IDLE_CONNECTIONS, number),
                    idle_timeout: settings.get(&IDLE_TIMEOUT, seconds),
                    max_header_bytes: connections.head.max_bytes,
                },
                api_keys: [API_KEY, API_KEY_PREVIOUS]
                    .iter()
                    .filter_map(|key| settings.get_secret(key))
                    .collect(),
            },
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
        self.clusters = clusters::parse(&clusters);
        let mut faults = clusters.take_faults();

        let routes = settings.document(&ROUTES);
        self.routes_from = routes.origin().to_owned();
        self.routes = routes::parse(&routes, &self.clusters, !self.live.api_keys.is_empty());
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
