//! `routes:` — which request goes where.

use std::fmt;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use shared::config::Node;
use shared::config::units::{MILLIS_OR_SECONDS, boolean, seconds};

use super::ClusterConfig;

const KEYS: &[&str] = &[
    "path",
    "prefix",
    "cluster",
    "rewrite",
    "timeout",
    "per_try_timeout",
    "idempotent",
    "retry_on",
    "require_api_key",
    "respond",
];
const RESPOND_KEYS: &[&str] = &["status", "content_type", "body"];
/// nginx names the same four for `proxy_next_upstream`.
const RETRY_ON: [StatusCode; 4] = [
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];
pub(super) const PATH_EXPECTS: &str = "an absolute path of visible ASCII without '?', '#', '%', '//' or dot segments";

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// This path and nothing else.
    Exact(String),
    /// This path and what lies below it, by whole segments. Without a trailing slash; `/` is the empty text.
    Prefix(String),
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "path {path}"),
            Self::Prefix(prefix) if prefix.is_empty() => f.write_str("prefix /"),
            Self::Prefix(prefix) => write!(f, "prefix {prefix}"),
        }
    }
}

#[derive(Debug, Clone)]
pub enum Action {
    Forward {
        /// Index into the clusters.
        cluster: usize,
        /// What the matched part of the path becomes; `None` leaves the path alone.
        rewrite: Option<String>,
        timeout: Option<Duration>,
        /// How long one attempt may take where another is possible.
        per_try_timeout: Option<Duration>,
        /// Any method may be sent again after it may have been seen.
        idempotent: bool,
        /// Answers that an idempotent request is sent again for.
        retry_on: Vec<StatusCode>,
    },
    Respond(StaticResponse),
}

#[derive(Debug, Clone)]
pub struct StaticResponse {
    pub status: StatusCode,
    pub content_type: HeaderValue,
    pub body: String,
}

#[derive(Debug, Clone)]
pub struct RouteConfig {
    pub matches: PathMatch,
    pub action: Action,
    pub require_api_key: bool,
}

impl RouteConfig {
    /// The route's label in metrics and logs: its path as written.
    pub fn name(&self) -> &str {
        match &self.matches {
            PathMatch::Prefix(prefix) if prefix.is_empty() => "/",
            PathMatch::Exact(path) | PathMatch::Prefix(path) => path,
        }
    }

    /// The route on one line.
    pub fn describe(&self, clusters: &[ClusterConfig]) -> String {
        let action = match &self.action {
            Action::Respond(response) => format!("respond {}", response.status.as_u16()),
            Action::Forward {
                cluster,
                rewrite,
                timeout,
                per_try_timeout,
                idempotent,
                retry_on,
            } => {
                let statuses: Vec<&str> = retry_on.iter().map(StatusCode::as_str).collect();
                let (name, statuses) = (&clusters[*cluster].name, statuses.join(","));
                let mut action = format!("to {name} idempotent={idempotent} retry_on={statuses}");
                if let Some(rewrite) = rewrite {
                    action.push_str(&format!(" rewrite={rewrite}"));
                }
                if let Some(timeout) = timeout {
                    action.push_str(&format!(" timeout={}", timeout.as_secs_f64()));
                }
                if let Some(timeout) = per_try_timeout {
                    action.push_str(&format!(" per_try_timeout={}", timeout.as_secs_f64()));
                }
                action
            }
        };
        format!("{} {action} require_api_key={}", self.matches, self.require_api_key)
    }
}

pub(super) fn parse(node: &Node<'_>, clusters: &[ClusterConfig]) -> Vec<RouteConfig> {
    let mut routes: Vec<RouteConfig> = Vec::new();
    for item in node.items() {
        let Some(route) = parse_route(&item, clusters) else {
            continue;
        };
        if routes.iter().any(|other| other.matches == route.matches) {
            item.fault(format!("another route already has {}", route.matches));
            continue;
        }
        routes.push(route);
    }
    routes
}

fn parse_route(node: &Node<'_>, clusters: &[ClusterConfig]) -> Option<RouteConfig> {
    if !node.expect_keys(KEYS) {
        return None;
    }
    let matches = parse_match(node);
    let action = parse_action(node, clusters);
    let require_api_key = node.field("require_api_key").parse("true or false", boolean);
    Some(RouteConfig {
        matches: matches?,
        action: action?,
        require_api_key: require_api_key.unwrap_or(false),
    })
}

fn parse_match(node: &Node<'_>) -> Option<PathMatch> {
    let (path, prefix) = (node.field("path"), node.field("prefix"));
    match (path.exists(), prefix.exists()) {
        (true, false) => path.parse(PATH_EXPECTS, absolute_path).map(PathMatch::Exact),
        (false, true) => {
            let prefix = prefix.parse(PATH_EXPECTS, absolute_path)?;
            Some(PathMatch::Prefix(prefix.trim_end_matches('/').to_owned()))
        }
        _ => {
            node.fault("expected exactly one of path (this path only) and prefix (and all below it)");
            None
        }
    }
}

fn parse_action(node: &Node<'_>, clusters: &[ClusterConfig]) -> Option<Action> {
    let (cluster, respond) = (node.field("cluster"), node.field("respond"));
    match (cluster.exists(), respond.exists()) {
        (true, false) => parse_forward(node, clusters),
        (false, true) => {
            for key in ["rewrite", "timeout", "per_try_timeout", "idempotent", "retry_on"] {
                let field = node.field(key);
                if field.exists() {
                    field.misplaced("has no meaning beside respond");
                }
            }
            parse_respond(&respond).map(Action::Respond)
        }
        _ => {
            node.fault("expected exactly one of cluster (forward there) and respond (answer here)");
            None
        }
    }
}

fn parse_forward(node: &Node<'_>, clusters: &[ClusterConfig]) -> Option<Action> {
    let names: Vec<&str> = clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    let expects = format!("one of the clusters {}", names.join(", "));
    let cluster = node
        .field("cluster")
        .parse(&expects, |text| names.iter().position(|name| *name == text));
    let rewrite = node.field("rewrite").parse(PATH_EXPECTS, absolute_path);
    let timeout = node.field("timeout").parse(MILLIS_OR_SECONDS, seconds);
    let per_try = node.field("per_try_timeout");
    let per_try_timeout = per_try.parse(MILLIS_OR_SECONDS, seconds);
    if timeout.zip(per_try_timeout).is_some_and(|(all, one)| one > all) {
        per_try.fault("is above timeout");
    }
    let idempotent = node.field("idempotent").parse("true or false", boolean);
    let retry_on = parse_retry_on(&node.field("retry_on"));
    Some(Action::Forward {
        cluster: cluster?,
        rewrite,
        timeout,
        per_try_timeout,
        idempotent: idempotent.unwrap_or(false),
        retry_on,
    })
}

/// An empty list switches it off; without one, the statuses that say that this endpoint cannot answer now.
fn parse_retry_on(node: &Node<'_>) -> Vec<StatusCode> {
    if !node.exists() {
        return RETRY_ON.to_vec();
    }
    let status = |text: &str| {
        let code: u16 = text.parse().ok()?;
        (500..=599).contains(&code).then(|| StatusCode::from_u16(code).ok())?
    };
    let parse = |item: &Node<'_>| item.parse("a status from 500 to 599", status);
    node.items().iter().filter_map(parse).collect()
}

fn parse_respond(node: &Node<'_>) -> Option<StaticResponse> {
    if !node.expect_keys(RESPOND_KEYS) {
        return None;
    }
    let status = node.field("status").parse("a final status from 200 to 599", |text| {
        let code: u16 = text.parse().ok()?;
        (200..=599).contains(&code).then(|| StatusCode::from_u16(code).ok())?
    });
    let content_type = node
        .field("content_type")
        .parse("a media type", |text| HeaderValue::from_str(text).ok());
    let body = node.field("body").parse("text", |text| Some(text.to_owned()));
    Some(StaticResponse {
        status: status.unwrap_or(StatusCode::OK),
        content_type: content_type.unwrap_or(HeaderValue::from_static("text/plain")),
        body: body.unwrap_or_default(),
    })
}

pub(super) fn absolute_path(text: &str) -> Option<String> {
    let visible = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"?#%\\\"".contains(&byte));
    let segments = !text.contains("//") && !text.split('/').any(|segment| segment == "." || segment == "..");
    (text.starts_with('/') && visible && segments).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_path_is_plain_and_absolute() {
        for good in ["/", "/predict", "/v1/models", "/a.b/c-d_e~f"] {
            assert_eq!(absolute_path(good).as_deref(), Some(good));
        }
        for bad in ["", "predict", "/a?b", "/a/../b", "/a//b", "/a b", "/%2e", "/ä", "/a/."] {
            assert_eq!(absolute_path(bad), None, "{bad:?}");
        }
    }
}
