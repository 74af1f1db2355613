//! The gateway's own plain settings: names, defaults, forms and descriptions.

use shared::cli::Program;
use shared::config::scalar::{BYTES, SECONDS};
use shared::config::{Scalar, Setting};
use shared::service_settings;

use super::clusters::keys::CLUSTERS;
use super::routes::keys::ROUTES;
use super::values::SOCKET_ADDRESS;

/// The name of a file or a directory.
const FILE: Scalar = Scalar::any_text("a path", r"[\s\S]");
const NETWORKS: Scalar = Scalar::quoted_text(
    "a comma-separated list of up to 64 addresses and networks, such as 10.0.0.0/8, without bits behind the prefix",
    r"^[0-9A-Fa-f:./,\s]*$",
);

pub(super) const LISTEN_ADDRESS: Setting = Setting::new(
    "LISTEN_ADDRESS",
    "0.0.0.0:8080",
    SOCKET_ADDRESS,
    "where clients connect; a port below 1024 would need a privilege",
);
pub(super) const ADMIN_ADDRESS: Setting = Setting::new(
    "ADMIN_ADDRESS",
    "0.0.0.0:9090",
    SOCKET_ADDRESS,
    "where probes and Prometheus connect: /livez /readyz /metrics /status.json",
);
pub(super) const WORKERS: Setting = Setting::new(
    "WORKERS",
    "0",
    Scalar::Whole(0, 256),
    "worker threads; 0 is one per CPU the pod may use",
);
pub(super) const ACCESS_LOG: Setting =
    Setting::new("ACCESS_LOG", "true", Scalar::Boolean, "one log line a request").live();
pub(super) const CONNECT_TIMEOUT: Setting = Setting::new(
    "CONNECT_TIMEOUT",
    "10",
    SECONDS,
    "longest time spent on connecting to a cluster, over all attempts of one request",
)
.live();
pub(super) const CONNECT_ATTEMPT_TIMEOUT: Setting = Setting::new(
    "CONNECT_ATTEMPT_TIMEOUT",
    "1",
    SECONDS,
    "longest single attempt to connect to an endpoint, within CONNECT_TIMEOUT",
)
.live();
pub(super) const MAX_ATTEMPTS: Setting = Setting::new(
    "MAX_ATTEMPTS",
    "3",
    Scalar::Whole(1, 10),
    "how often one request may be sent, the first time included; only where a resend is safe",
)
.live();
pub(super) const MAX_BODY_BYTES: Setting = Setting::new(
    "MAX_BODY_BYTES",
    "64Mi",
    BYTES,
    "largest request body; larger ones are answered 413",
)
.live();
pub(super) const MAX_IDLE_CONNECTIONS: Setting = Setting::new(
    "MAX_IDLE_CONNECTIONS",
    "256",
    Scalar::Whole(0, 100_000),
    "idle upstream connections kept per endpoint and worker",
)
.live();
pub(super) const IDLE_TIMEOUT: Setting = Setting::new(
    "IDLE_TIMEOUT",
    "30",
    SECONDS,
    "idle upstream connections are closed after this; keep it below the upstream's own keep-alive timeout",
)
.live();
pub(super) const TUNNEL_IDLE_TIMEOUT: Setting = Setting::new(
    "TUNNEL_IDLE_TIMEOUT",
    "3600",
    SECONDS,
    "a WebSocket, or another connection that was upgraded, ends when no byte passes for this long",
)
.live();
pub(super) const TRUSTED_PROXIES: Setting = Setting::new(
    "TRUSTED_PROXIES",
    "",
    NETWORKS,
    "proxies before the gateway whose X-Forwarded-For, X-Forwarded-Proto and the like count; with a list, those of others are dropped",
)
.live();
pub(super) const PROXY_PROTOCOL_FROM: Setting = Setting::new(
    "PROXY_PROTOCOL_FROM",
    "",
    NETWORKS,
    "load balancers whose connections begin with a header of the PROXY protocol, version 1 or 2; no other connection may",
);
pub(super) const DNS_SERVERS: Setting = Setting::new(
    "DNS_SERVERS",
    "",
    Scalar::quoted_text(
        "a comma-separated list of IP addresses with ports",
        r"^[0-9A-Fa-f:.%,\s\[\]]*$",
    ),
    "name servers; empty: those of RESOLV_CONF",
);
pub(super) const RESOLV_CONF: Setting = Setting::new(
    "RESOLV_CONF",
    "/etc/resolv.conf",
    FILE,
    "search domains, ndots and name servers",
);
pub(super) const DNS_MIN_TTL: Setting = Setting::new(
    "DNS_MIN_TTL",
    "1",
    SECONDS,
    "an answer is asked for again no sooner than this, whatever its TTL; never above DNS_MAX_TTL",
);
pub(super) const DNS_MAX_TTL: Setting = Setting::new(
    "DNS_MAX_TTL",
    "5",
    SECONDS,
    "and no later than this: kubeadm's CoreDNS gives 30 s, an age for a replaced pod",
);
pub(super) const KUBERNETES_API: Setting = Setting::new(
    "KUBERNETES_API",
    "",
    Scalar::quoted_text("an http or https URL without a path", "^([Hh][Tt][Tt][Pp][Ss]?://.+)?$"),
    "API server for `discovery: kubernetes`; empty: the next two, as every pod has them",
);
pub(super) const KUBERNETES_SERVICE_HOST: Setting = Setting::new(
    "KUBERNETES_SERVICE_HOST",
    "",
    Scalar::any_text("a host", ""),
    "address of the API server; Kubernetes sets it, outside of a pod it is empty",
);
pub(super) const KUBERNETES_SERVICE_PORT: Setting = Setting::new(
    "KUBERNETES_SERVICE_PORT",
    "443",
    Scalar::Whole(1, 65_535),
    "port of the API server; Kubernetes sets it",
);
pub(super) const SERVICE_ACCOUNT_DIR: Setting = Setting::new(
    "SERVICE_ACCOUNT_DIR",
    "/var/run/secrets/kubernetes.io/serviceaccount",
    FILE,
    "token, ca.crt and namespace of the pod's service account; read anew for every request to the API server",
);
pub(super) const KUBERNETES_WATCH_TIMEOUT: Setting = Setting::new(
    "KUBERNETES_WATCH_TIMEOUT",
    "10",
    Scalar::Whole(1, 290),
    "a watch of EndpointSlices is asked for anew after so many seconds, and given up when it has not ended a quarter later",
);
pub(super) const KUBERNETES_RETRY: Setting = Setting::new(
    "KUBERNETES_RETRY",
    "30",
    SECONDS,
    "longest pause before an API server that fails is asked again; twice this is the longest after a refusal",
);
pub(super) const API_KEY: Setting = Setting::secret(
    "API_KEY",
    "what a route with require_api_key expects in X-API-Key or as Bearer token",
)
.live();
pub(super) const API_KEY_PREVIOUS: Setting = Setting::secret(
    "API_KEY_PREVIOUS",
    "also accepted where API_KEY is, while clients change over to a new one",
)
.live();
pub(super) const JWT_SECRET: Setting = Setting::secret(
    "JWT_SECRET",
    "signing secret for tokens; loaded and kept for the routes that will check them",
);

const OWN: &[Setting] = &[
    LISTEN_ADDRESS,
    ADMIN_ADDRESS,
    WORKERS,
    ACCESS_LOG,
    service_settings::REQUEST_TIMEOUT,
    CONNECT_TIMEOUT,
    CONNECT_ATTEMPT_TIMEOUT,
    MAX_ATTEMPTS,
    MAX_BODY_BYTES,
    MAX_IDLE_CONNECTIONS,
    IDLE_TIMEOUT,
    TUNNEL_IDLE_TIMEOUT,
    TRUSTED_PROXIES,
    PROXY_PROTOCOL_FROM,
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
    API_KEY,
    API_KEY_PREVIOUS,
    JWT_SECRET,
];

/// Every setting, in the order of `--help`.
const SETTINGS: &[Setting] = &service_settings::following::<{ OWN.len() + service_settings::SETTINGS.len() }>(OWN);

pub const PROGRAM: Program = Program {
    name: "gateway",
    version: env!("CARGO_PKG_VERSION"),
    description: "API gateway: routes requests to clusters of replicated services.",
    settings: SETTINGS,
    documents: &[CLUSTERS, ROUTES],
    default_document: include_str!("../../default.yaml"),
    default_file: "/etc/gateway/gateway.yaml",
    default_config_dirs: "/etc/shared-config",
    default_secret_dir: "/etc/secrets/api-credentials",
    file_note: "The file may also hold `clusters` and `routes`; without them the routes of the lab apply:\n\
                /predict, /v1 and /v2 to ml-inference-service:5000, /health and /status answered here.",
};
