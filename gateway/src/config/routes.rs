//! `routes:` — which request goes where.

mod cors;
pub(super) mod keys;

use std::fmt;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use shared::config::units::{boolean, seconds};
use shared::config::{Chosen, Node};
use shared::cors::Cors;

use crate::config::clusters::Clusters;
use crate::config::values::{PATH, absolute_path};
use keys::*;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// This path and nothing else.
    Exact(String),
    /// This path and what lies below it, by whole segments. Without a trailing slash; `/` is the empty text.
    Prefix(String),
}

impl PathMatch {
    fn below(prefix: String) -> Self {
        Self::Prefix(prefix.trim_end_matches('/').to_owned())
    }
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
    Forward(ForwardConfig),
    Respond(StaticResponse),
}

#[derive(Debug, Clone)]
pub struct ForwardConfig {
    /// The name of a configured cluster.
    pub cluster: String,
    /// Replacement of the matched part of the path; `None` leaves the path alone.
    pub rewrite: Option<String>,
    /// Instead of the timeout that all routes have.
    pub timeout: Option<Duration>,
    /// Longest time of one attempt where another is possible.
    pub per_try_timeout: Option<Duration>,
    /// Any method may be sent again after it may have been seen.
    pub idempotent: bool,
    /// Answers that an idempotent request is sent again for.
    pub retry_on: Vec<StatusCode>,
}

impl fmt::Display for ForwardConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statuses: Vec<&str> = self.retry_on.iter().map(StatusCode::as_str).collect();
        let statuses = statuses.join(",");
        write!(
            f,
            "to {} idempotent={} retry_on={statuses}",
            self.cluster, self.idempotent
        )?;
        if let Some(rewrite) = &self.rewrite {
            write!(f, " rewrite={rewrite}")?;
        }
        if let Some(timeout) = self.timeout {
            write!(f, " timeout={}", timeout.as_secs_f64())?;
        }
        if let Some(timeout) = self.per_try_timeout {
            write!(f, " per_try_timeout={}", timeout.as_secs_f64())?;
        }
        Ok(())
    }
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
    pub cors: Option<Cors>,
}

impl RouteConfig {
    /// The route's label in metrics and logs: its path as written.
    pub fn name(&self) -> &str {
        match &self.matches {
            PathMatch::Prefix(prefix) if prefix.is_empty() => "/",
            PathMatch::Exact(path) | PathMatch::Prefix(path) => path,
        }
    }
}

impl fmt::Display for RouteConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.matches)?;
        match &self.action {
            Action::Forward(forward) => write!(f, "{forward}")?,
            Action::Respond(response) => write!(f, "respond {}", response.status.as_u16())?,
        }
        write!(f, " require_api_key={}", self.require_api_key)?;
        if let Some(cors) = &self.cors {
            write!(f, " cors={}", cors.origins)?;
        }
        Ok(())
    }
}

/// The routes of the file. Those that require an API key are faults unless there `is_key` to require.
pub(super) fn parse(node: &Node<'_>, clusters: &Clusters, is_key: bool) -> Vec<RouteConfig> {
    let mut routes: Vec<RouteConfig> = Vec::new();
    for item in node.items(&ROUTES) {
        let Some(route) = parse_route(&item, clusters) else {
            continue;
        };
        if route.require_api_key && !is_key {
            item.field(&REQUIRE_API_KEY)
                .fault("cannot be required: API_KEY is not set");
        }
        if routes.iter().any(|other| other.matches == route.matches) {
            item.fault(format!("another route already has {}", route.matches));
            continue;
        }
        routes.push(route);
    }
    routes
}

fn parse_route(node: &Node<'_>, clusters: &Clusters) -> Option<RouteConfig> {
    if !node.expect(&ROUTE) {
        return None;
    }
    let matches = match node.choose(&MATCH) {
        Some(Chosen::First(path)) => path.parse(&PATH, absolute_path).map(PathMatch::Exact),
        Some(Chosen::Second(prefix)) => prefix.parse(&PATH, absolute_path).map(PathMatch::below),
        None => None,
    };
    let action = match node.choose(&ACTION) {
        Some(Chosen::First(_)) => parse_forward(node, clusters),
        Some(Chosen::Second(_)) => parse_respond(&node.map(&RESPOND)).map(Action::Respond),
        None => None,
    };
    let require_api_key = node.get(&REQUIRE_API_KEY, boolean);
    let cors = cors::parse(&node.map(&CORS));
    Some(RouteConfig {
        matches: matches?,
        action: action?,
        require_api_key,
        cors,
    })
}

fn parse_forward(node: &Node<'_>, clusters: &Clusters) -> Option<Action> {
    let cluster = parse_cluster_name(node, clusters);
    let timeout = node.find(&TIMEOUT, seconds);
    let per_try_timeout = node.find(&PER_TRY_TIMEOUT, seconds);
    if timeout.zip(per_try_timeout).is_some_and(|(all, one)| one > all) {
        node.field(&PER_TRY_TIMEOUT).fault("is above timeout");
    }
    let rewrite = node.find(&REWRITE, absolute_path);
    let idempotent = node.get(&IDEMPOTENT, boolean);
    let retry_on = node.values(&RETRY_ON, status);
    Some(Action::Forward(ForwardConfig {
        cluster: cluster?,
        rewrite,
        timeout,
        per_try_timeout,
        idempotent,
        retry_on,
    }))
}

/// The name of one of `clusters`. One whose own name is faulty is told of there, and not at each of its routes.
fn parse_cluster_name(node: &Node<'_>, clusters: &Clusters) -> Option<String> {
    let name: String = node.find(&CLUSTER, |text| Some(text.to_owned()))?;
    if clusters.valid.iter().any(|cluster| cluster.name == name) {
        return Some(name);
    }
    let is_told_of = clusters.faulty.contains(&name) || (clusters.valid.is_empty() && clusters.has_faults);
    if is_told_of {
        return None;
    }
    let names: Vec<&str> = clusters.valid.iter().map(|cluster| cluster.name.as_str()).collect();
    let problem = match names.as_slice() {
        [] => format!("expected one of the clusters, of which there is none; found {name:?}"),
        names => format!("expected one of the clusters {}, found {name:?}", names.join(", ")),
    };
    node.field(&CLUSTER).fault(problem);
    None
}

fn parse_respond(node: &Node<'_>) -> Option<StaticResponse> {
    node.exists().then(|| StaticResponse {
        status: node.get(&STATUS, status),
        content_type: node.get(&CONTENT_TYPE, media_type),
        body: node.get(&BODY, |text| Some(text.to_owned())),
    })
}

/// A header value of ASCII; the type of header values allows more than that.
fn media_type(text: &str) -> Option<HeaderValue> {
    text.is_ascii().then(|| HeaderValue::from_str(text).ok())?
}

fn status(text: &str) -> Option<StatusCode> {
    StatusCode::from_u16(text.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_is_ascii_without_control_characters() {
        for good in ["text/plain", "application/json; charset=utf-8", "a\tb", ""] {
            assert_eq!(media_type(good).expect(good), good);
        }
        for bad in ["ä", "text/plain\n", "a\0", "text/plain; title=\u{7f}", "日本"] {
            assert_eq!(media_type(bad), None, "{bad:?}");
        }
    }
}
