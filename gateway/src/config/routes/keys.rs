//! The keys of a route: the parser, its defaults and limits, and the JSON Schema read this one table.

use shared::config::scalar::SECONDS;
use shared::config::{Key, Map, OneOf, Scalar, Shape};
use shared::cors;

use crate::config::values::{AUTHORITY, PATH};

pub(in crate::config) const ROUTES: Key = Key::new(
    "routes",
    Shape::List(&Shape::Map(&ROUTE), 1),
    "Which request goes where: an exact path beats a prefix, a longer prefix a shorter one; without the key, the routes \
     of the lab",
);

pub(super) const ROUTE: Map = Map {
    keys: &[
        PATH_KEY,
        PREFIX,
        CLUSTER,
        RESPOND,
        REWRITE,
        TIMEOUT,
        PER_TRY_TIMEOUT,
        IDEMPOTENT,
        RETRY_ON,
        REQUIRE_API_KEY,
        CORS,
    ],
    choices: &[MATCH, ACTION],
};
pub(super) const MATCH: OneOf = OneOf {
    first: PATH_KEY,
    second: PREFIX,
};
pub(super) const ACTION: OneOf = OneOf {
    first: CLUSTER,
    second: RESPOND,
};
const PATH_KEY: Key = Key::scalar("path", PATH, "This path only");
const PREFIX: Key = Key::scalar("prefix", PATH, "This path and all below it, by whole segments");
pub(super) const CLUSTER: Key = Key::scalar("cluster", AUTHORITY, "The cluster that the request is forwarded to");
pub(super) const RESPOND: Key = Key::map("respond", &RESPOND_MAP, "An answer of the gateway's own");
pub(super) const REWRITE: Key = Key::scalar(
    "rewrite",
    PATH,
    "What the matched part of the path becomes; without the key the path is left alone",
)
.requires(CLUSTER.name);
pub(super) const TIMEOUT: Key = Key::scalar("timeout", SECONDS, "Instead of request_timeout").requires(CLUSTER.name);
pub(super) const PER_TRY_TIMEOUT: Key = Key::scalar(
    "per_try_timeout",
    SECONDS,
    "The longest wait of one attempt while another endpoint could be asked; not above `timeout`",
)
.requires(CLUSTER.name);
pub(super) const IDEMPOTENT: Key = Key::scalar(
    "idempotent",
    Scalar::Boolean,
    "Whether any method may be sent again after it may have been seen",
)
.default("false")
.requires(CLUSTER.name);
/// nginx names the same four for `proxy_next_upstream`.
pub(super) const RETRY_ON: Key = Key::new(
    "retry_on",
    Shape::List(&Shape::Scalar(Scalar::Whole(500, 599)), 0),
    "Statuses for which an idempotent request is sent again to another endpoint; [] for none",
)
.default("500 502 503 504")
.requires(CLUSTER.name);
pub(super) const REQUIRE_API_KEY: Key = Key::scalar(
    "require_api_key",
    Scalar::Boolean,
    "Whether X-API-Key or Authorization: Bearer must be API_KEY or API_KEY_PREVIOUS",
)
.default("false");

pub(super) const CORS: Key = Key::map(
    "cors",
    &CORS_MAP,
    "Which pages of other origins may use the answers; without the key none, but for what the upstream permits itself",
);
const CORS_MAP: Map = Map::of(&[ORIGINS, METHODS, HEADERS, EXPOSE, MAX_AGE, CREDENTIALS]);
pub(super) const ORIGINS: Key = Key::new(
    "origins",
    Shape::List(&Shape::Scalar(cors::ORIGIN_OR_ANY), 1),
    "Whose pages; `*` alone for all",
)
.required();
pub(super) const METHODS: Key = Key::new(
    "methods",
    Shape::List(&Shape::Scalar(Scalar::OneOf(FORWARDED_METHODS)), 1),
    "Methods that a page may use",
)
.default(cors::DEFAULT_METHODS);
/// CONNECT and TRACE are answered 405, and no page may use them.
const FORWARDED_METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const HEADER_NAME: Scalar = Scalar::any_text("the name of a header", "^[A-Za-z0-9!#$%&'^_`|~.+-]+$");
pub(super) const HEADERS: Key = Key::new(
    "headers",
    Shape::List(&Shape::Scalar(HEADER_NAME), 0),
    "Headers that a page may send, beside those that every page may send",
)
.default(cors::DEFAULT_HEADERS);
pub(super) const EXPOSE: Key = Key::new(
    "expose",
    Shape::List(&Shape::Scalar(HEADER_NAME), 0),
    "Headers of the answer that a page may read, beside those that every page may read",
)
.default(cors::DEFAULT_EXPOSE);
pub(super) const MAX_AGE: Key = Key::scalar(
    "max_age",
    Scalar::Whole(0, 86_400),
    "Seconds for which a browser may remember what a preflight permitted; browsers cap it",
)
.default(cors::DEFAULT_MAX_AGE);
pub(super) const CREDENTIALS: Key = Key::scalar(
    "credentials",
    Scalar::Boolean,
    "Whether pages may send cookies and the browser's own credentials; not with the origin `*`",
)
.default("false");

const RESPOND_MAP: Map = Map::of(&[STATUS, CONTENT_TYPE, BODY]);
pub(super) const STATUS: Key = Key::scalar("status", Scalar::Whole(200, 599), "The answer's status").default("200");
pub(super) const CONTENT_TYPE: Key = Key::scalar(
    "content_type",
    Scalar::any_text("a media type", "^[\\t -~]*$"),
    "What the body is",
)
.default("text/plain");
pub(super) const BODY: Key = Key::scalar("body", Scalar::any_text("text", ""), "The answer's body").default("");
