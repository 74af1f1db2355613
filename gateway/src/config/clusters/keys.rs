//! The keys of a cluster: the parser, its defaults and limits, and the JSON Schema read this one table.

use shared::config::scalar::{SECONDS, SECONDS_OR_ZERO};
use shared::config::{Key, Map, Scalar, Shape};

use crate::config::policies::{Policy, Protocol};
use crate::config::values::{AUTHORITY, PATH, SOCKET_ADDRESS};

pub(in crate::config) const CLUSTERS: Key = Key::new(
    "clusters",
    Shape::List(&Shape::Map(&CLUSTER), 0),
    "The services that requests are forwarded to; without the key, ml-inference-service:5000",
);

const PORT_NAME_FORM: Scalar =
    Scalar::any_text("a port's name: lower-case letters, digits and '-'", "^[a-z0-9-]{1,63}$");

pub(super) const CLUSTER: Map = Map::of(&[
    NAME,
    PROTOCOL,
    HTTP2,
    DISCOVERY,
    PORT_NAME,
    ENDPOINTS,
    BALANCER,
    SLOW_START,
    MAX_CONCURRENCY,
    MAX_QUEUE,
    EJECTION,
    RETRY_BUDGET,
    HEALTH_CHECK,
    MAX_CONNECTION_AGE,
    MAX_CONNECTION_REQUESTS,
    SERVICE_CONNECTIONS,
]);
pub(super) const NAME: Key = Key::scalar(
    "name",
    AUTHORITY,
    "Name in DNS and port of a service, and the cluster's name in logs and metrics; a name that ends in a dot is absolute",
)
.required();
pub(super) const PROTOCOL: Key = Key::scalar(
    "protocol",
    Scalar::OneOf(Protocol::NAMES),
    "What the endpoints speak; h2c is HTTP/2 without TLS and without asking first, as gRPC needs it",
)
.default(Protocol::Http1.name());
pub(in crate::config) const DISCOVERY: Key = Key::scalar(
    "discovery",
    Scalar::OneOf(&["dns", "kubernetes"]),
    "How the endpoints are found; kubernetes follows the EndpointSlices of the Service that `name` stands for",
)
.default("dns");
pub(in crate::config) const PORT_NAME: Key = Key::scalar(
    "port_name",
    PORT_NAME_FORM,
    "Which port of the Service, where it has several; only with `discovery: kubernetes`",
);
pub(in crate::config) const ENDPOINTS: Key = Key::new(
    "endpoints",
    Shape::List(&Shape::ScalarOrMap(SOCKET_ADDRESS, &ENDPOINT), 1),
    "A fixed list instead of discovery: addresses, or maps of an address and its weight",
);
pub(super) const BALANCER: Key = Key::scalar(
    "balancer",
    Scalar::OneOf(Policy::NAMES),
    "Which endpoint gets a request: the one expected to answer sooner of two, the one with fewer in hand of two, or the \
     next in turn",
)
.default(Policy::PeakEwma.name());
pub(super) const SLOW_START: Key = Key::scalar(
    "slow_start",
    SECONDS_OR_ZERO,
    "How long a new endpoint takes to get its full share",
)
.default("0");
/// Envoy's default, as the next.
pub(super) const MAX_CONCURRENCY: Key = Key::scalar(
    "max_concurrency",
    Scalar::Whole(1, 100_000),
    "Requests that one endpoint may have in hand at a time",
)
.default("1024");
pub(super) const MAX_QUEUE: Key = Key::scalar(
    "max_queue",
    Scalar::Whole(0, 100_000),
    "Requests that may wait for a place at an endpoint, over all workers",
)
.default("1024");
/// A connection to a Service's address reaches one pod for as long as it lives. Closing it after this time lets new pods
/// get their share.
pub(super) const MAX_CONNECTION_AGE: Key = Key::scalar(
    "max_connection_age",
    SECONDS,
    "An upstream connection is closed after this; one to a ClusterIP reaches one pod while it lives",
)
.default("30");
pub(super) const MAX_CONNECTION_REQUESTS: Key = Key::scalar(
    "max_connection_requests",
    Scalar::Whole(1, 1_000_000_000),
    "An upstream connection is closed after so many requests",
)
.default("10000");
/// So that even a few requests are spread over the Service's pods.
pub(super) const SERVICE_CONNECTIONS: Key = Key::scalar(
    "service_connections",
    Scalar::Whole(1, 64),
    "Connections used in turn where DNS gives one address, per worker",
)
.default("4");

pub(super) const HTTP2: Key = Key::map(
    "http2",
    &HTTP2_MAP,
    "Limits of HTTP/2 connections; only with `protocol: h2c`",
);
const HTTP2_MAP: Map = Map::of(&[MAX_STREAMS, MAX_CONNECTIONS]);
/// The default of gRPC servers.
pub(super) const MAX_STREAMS: Key = Key::scalar(
    "max_streams",
    Scalar::Whole(1, 10_000),
    "Requests on a connection before another is opened; the upstream may allow fewer",
)
.default("100");
pub(super) const MAX_CONNECTIONS: Key = Key::scalar(
    "max_connections",
    Scalar::Whole(1, 64),
    "Connections to one endpoint, per worker; more requests than they allow share the least used",
)
.default("4");

pub(super) const ENDPOINT: Map = Map::of(&[ADDRESS, WEIGHT]);
pub(super) const ADDRESS: Key = Key::scalar("address", SOCKET_ADDRESS, "Where the endpoint listens").required();
pub(super) const WEIGHT: Key = Key::scalar(
    "weight",
    Scalar::Whole(1, 1000),
    "The endpoint's share of the requests, beside the others' weights",
)
.default("1");

/// linkerd's thresholds: they work with two to eight pods, where Envoy's, which compare endpoints, do not.
pub(super) const EJECTION: Key = Key::map(
    "ejection",
    &EJECTION_MAP,
    "When an endpoint that fails gets no requests for a while",
);
const EJECTION_MAP: Map = Map::of(&[
    CONSECUTIVE_FAILURES,
    SUCCESS_PERCENT,
    MINIMUM_REQUESTS,
    FIRST_PENALTY,
    LONGEST_PENALTY,
]);
pub(super) const CONSECUTIVE_FAILURES: Key = Key::scalar(
    "consecutive_failures",
    Scalar::Whole(1, 1000),
    "After so many failures in a row",
)
.default("7");
pub(super) const SUCCESS_PERCENT: Key = Key::scalar(
    "success_percent",
    Scalar::Whole(0, 100),
    "When fewer percent succeed over 10 seconds",
)
.default("80");
pub(super) const MINIMUM_REQUESTS: Key = Key::scalar(
    "minimum_requests",
    Scalar::Whole(1, 1_000_000),
    "Requests of these 10 seconds below which `success_percent` does not count",
)
.default("5");
pub(super) const FIRST_PENALTY: Key = Key::scalar(
    "first_penalty",
    SECONDS,
    "How long, the first time; up to half as much longer by chance, then doubling",
)
.default("1");
pub(super) const LONGEST_PENALTY: Key = Key::scalar(
    "longest_penalty",
    SECONDS,
    "How long at most; not below `first_penalty`",
)
.default("60");

pub(super) const RETRY_BUDGET: Key = Key::map(
    "retry_budget",
    &RETRY_BUDGET_MAP,
    "How many requests may be sent a second time, per worker",
);
const RETRY_BUDGET_MAP: Map = Map::of(&[PERCENT, PER_SECOND]);
pub(super) const PERCENT: Key = Key::scalar(
    "percent",
    Scalar::Whole(0, 100),
    "Of the requests of the last 10 seconds",
)
.default("20");
pub(super) const PER_SECOND: Key =
    Key::scalar("per_second", Scalar::Whole(0, 1000), "And so many a second besides").default("10");

pub(super) const HEALTH_CHECK: Key = Key::map(
    "health_check",
    &HEALTH_CHECK_MAP,
    "Asks each endpoint from time to time; without the key none is asked",
);
const HEALTH_CHECK_MAP: Map = Map::of(&[CHECK_PATH, INTERVAL, TIMEOUT, UNHEALTHY_AFTER, HEALTHY_AFTER]);
pub(super) const CHECK_PATH: Key = Key::scalar("path", PATH, "What is asked for by GET; 2xx is well").required();
pub(super) const INTERVAL: Key = Key::scalar("interval", SECONDS, "How often").default("2");
pub(super) const TIMEOUT: Key = Key::scalar("timeout", SECONDS, "How long an answer may take").default("1");
pub(super) const UNHEALTHY_AFTER: Key = Key::scalar(
    "unhealthy_after",
    Scalar::Whole(1, 100),
    "Failed checks in a row that take an endpoint out",
)
.default("2");
pub(super) const HEALTHY_AFTER: Key = Key::scalar(
    "healthy_after",
    Scalar::Whole(1, 100),
    "Passed checks in a row that bring it back",
)
.default("1");
