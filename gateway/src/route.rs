//! The route table: built once from valid settings, then only read.

mod matcher;
mod path;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderValue;
use http::uri::PathAndQuery;
use http::{StatusCode, Uri};
use shared::cors::Cors;
use shared::percent;

use crate::config::{Action, ForwardConfig, PathMatch, RouteConfig};
use crate::error::ProxyError;
use crate::metrics::{Metrics, NONE, RouteMetrics};
use crate::upstream::Cluster;

use matcher::Matcher;
pub use path::{decode_unreserved, is_unsafe};

#[derive(Debug)]
pub struct RouteTable {
    /// Exact paths first, then prefixes from the longest to the shortest: the order in which they take requests.
    routes: Vec<Route>,
    matcher: Matcher,
}

#[derive(Debug)]
pub struct Route {
    pub name: String,
    matches: PathMatch,
    pub target: Target,
    pub require_api_key: bool,
    pub cors: Option<Cors>,
    pub metrics: RouteMetrics,
}

#[derive(Debug)]
pub enum Target {
    Forward(Forward),
    Respond(Respond),
}

/// An answer of the gateway's own.
#[derive(Debug)]
pub struct Respond {
    pub status: StatusCode,
    pub content_type: HeaderValue,
    pub body: Bytes,
}

#[derive(Debug)]
pub struct Forward {
    pub cluster: Arc<Cluster>,
    pub config: ForwardConfig,
    rewrite: Option<Rewrite>,
    /// The route's own timeout or the one that all have.
    pub timeout: Duration,
    /// The timeout in milliseconds, as the upstream gets it.
    pub timeout_header: HeaderValue,
}

/// The number of a route in its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RouteId(usize);

impl RouteId {
    /// The route's place in [`RouteTable::iter`].
    pub fn index(self) -> usize {
        self.0
    }
}

#[derive(Debug)]
struct Rewrite {
    /// Length of the part of the path that is replaced.
    matched: usize,
    /// Its replacement, without a trailing slash.
    prefix: String,
    /// The result for a request for just the matched path: most requests are.
    whole: PathAndQuery,
}

impl RouteTable {
    /// A table of `routes` to `clusters`; routes without a timeout of their own get `request_timeout`.
    pub fn new(
        routes: &[RouteConfig],
        clusters: &[Arc<Cluster>],
        request_timeout: Duration,
        metrics: &Metrics,
    ) -> Self {
        let mut routes: Vec<Route> = routes
            .iter()
            .map(|route| Route::new(route, clusters, request_timeout, metrics))
            .collect();
        routes.sort_by_key(|route| match &route.matches {
            PathMatch::Exact(_) => (0, 0),
            PathMatch::Prefix(prefix) => (1, usize::MAX - prefix.len()),
        });
        let matcher = Matcher::new(routes.iter().map(|route| &route.matches));
        Self { routes, matcher }
    }

    pub fn find(&self, path: &str) -> Option<RouteId> {
        self.matcher.find(path).map(RouteId)
    }

    /// Tells whether a route that needs the API key matches the path as a server reads it that decodes every escape
    /// before it looks at the path, an encoded slash included.
    pub fn needs_key_when_decoded(&self, path: &str) -> bool {
        // Most paths have no escape at all.
        if !path.contains('%') {
            return false;
        }
        let decoded = percent::decode(path, |_| true).unwrap_or_default();
        let decoded = String::from_utf8_lossy(&decoded);
        self.find(&decoded).is_some_and(|route| self.get(route).require_api_key)
    }

    pub fn get(&self, route: RouteId) -> &Route {
        &self.routes[route.0]
    }

    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }
}

impl Route {
    fn new(config: &RouteConfig, clusters: &[Arc<Cluster>], request_timeout: Duration, metrics: &Metrics) -> Self {
        let name = config.name().to_owned();
        let (target, cluster_name) = match &config.action {
            Action::Forward(forward) => {
                let timeout = forward.timeout.unwrap_or(request_timeout);
                let mut named = clusters.iter().filter(|cluster| cluster.config.name == forward.cluster);
                let target = Forward {
                    cluster: Arc::clone(
                        named
                            .next()
                            .expect("a route's cluster was looked for when it was parsed"),
                    ),
                    rewrite: forward.rewrite.as_ref().map(|to| Rewrite::new(&config.matches, to)),
                    timeout,
                    timeout_header: HeaderValue::from(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
                    config: forward.clone(),
                };
                (Target::Forward(target), forward.cluster.as_str())
            }
            Action::Respond(response) => {
                let respond = Respond {
                    status: response.status,
                    content_type: response.content_type.clone(),
                    body: Bytes::from(response.body.clone()),
                };
                (Target::Respond(respond), NONE)
            }
        };
        Self {
            metrics: metrics.route(&name, cluster_name),
            name,
            matches: config.matches.clone(),
            target,
            require_api_key: config.require_api_key,
            cors: config.cors.clone(),
        }
    }
}

impl Forward {
    /// The path and query to ask the upstream for.
    pub fn upstream_path(&self, uri: &Uri) -> Result<PathAndQuery, ProxyError> {
        let asked = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        let Some(rewrite) = &self.rewrite else { return Ok(asked) };
        let rest = &asked.path()[rewrite.matched..];
        if rest.is_empty() && asked.query().is_none() {
            return Ok(rewrite.whole.clone());
        }
        let mut path = String::with_capacity(rewrite.prefix.len() + asked.as_str().len());
        match rest {
            "" => path.push_str(rewrite.whole.as_str()),
            rest => {
                path.push_str(&rewrite.prefix);
                path.push_str(rest);
            }
        }
        if let Some(query) = asked.query() {
            path.push('?');
            path.push_str(query);
        }
        PathAndQuery::try_from(path).map_err(|_| ProxyError::UnsafePath)
    }
}

impl Rewrite {
    fn new(matches: &PathMatch, rewrite: &str) -> Self {
        let matched = match matches {
            PathMatch::Exact(path) | PathMatch::Prefix(path) => path.len(),
        };
        Self {
            matched,
            prefix: rewrite.trim_end_matches('/').to_owned(),
            whole: PathAndQuery::try_from(rewrite).unwrap_or(PathAndQuery::from_static("/")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Authority, ClusterConfig};
    use proptest::prelude::*;

    fn table(matches: &[PathMatch]) -> RouteTable {
        let routes: Vec<RouteConfig> = matches.iter().map(|matches| forward(matches.clone(), None)).collect();
        RouteTable::new(
            &routes,
            &clusters(),
            Duration::from_secs(1),
            &Metrics::new().expect("registers"),
        )
    }

    fn clusters() -> Vec<Arc<Cluster>> {
        let authority = Authority::parse("a:1").expect("valid");
        let metrics = Metrics::new().expect("registers").cluster("a:1");
        vec![Arc::new(Cluster::new(ClusterConfig::new(authority), metrics))]
    }

    fn forward(matches: PathMatch, rewrite: Option<&str>) -> RouteConfig {
        RouteConfig {
            matches,
            action: Action::Forward(ForwardConfig {
                cluster: "a:1".to_owned(),
                rewrite: rewrite.map(str::to_owned),
                timeout: None,
                per_try_timeout: None,
                idempotent: false,
                retry_on: Vec::new(),
            }),
            require_api_key: false,
            cors: None,
        }
    }

    fn prefix(text: &str) -> PathMatch {
        PathMatch::Prefix(text.to_owned())
    }

    fn found(table: &RouteTable, path: &str) -> Option<String> {
        table.find(path).map(|index| table.get(index).matches.to_string())
    }

    #[test]
    fn a_prefix_takes_whole_segments_only() {
        let table = table(&[prefix("/predict")]);
        for path in ["/predict", "/predict/", "/predict/x/y"] {
            assert!(table.find(path).is_some(), "{path}");
        }
        for path in ["/predictx", "/predict.x", "/", "/pre", "/Predict", "*"] {
            assert!(table.find(path).is_none(), "{path}");
        }
    }

    #[test]
    fn exact_beats_prefix_and_long_beats_short() {
        let table = table(&[
            prefix(""),
            prefix("/a"),
            prefix("/a/b"),
            PathMatch::Exact("/a/b".to_owned()),
        ]);
        assert_eq!(found(&table, "/a/b").as_deref(), Some("path /a/b"));
        assert_eq!(found(&table, "/a/b/c").as_deref(), Some("prefix /a/b"));
        assert_eq!(found(&table, "/a/c").as_deref(), Some("prefix /a"));
        assert_eq!(found(&table, "/x").as_deref(), Some("prefix /"));
    }

    #[test]
    fn an_encoded_slash_is_no_way_around_a_key() {
        let mut keyed = forward(prefix("/v1/admin"), None);
        keyed.require_api_key = true;
        let routes = [forward(prefix("/v1"), None), keyed];
        let metrics = Metrics::new().expect("registers");
        let table = RouteTable::new(&routes, &clusters(), Duration::from_secs(1), &metrics);
        for path in ["/v1%2Fadmin", "/v1%2fadmin/x", "/v1/admin%2Fx", "/v1%2Fadmin%2fx"] {
            assert!(table.needs_key_when_decoded(path), "{path}");
        }
        for path in [
            "/v1/x",
            "/v1%2Fx",
            "/v1%2Fadministrators",
            "/v1/%20admin",
            "/v1%252Fadmin",
        ] {
            assert!(!table.needs_key_when_decoded(path), "{path}");
        }
    }

    fn rewritten(from: &str, to: Option<&str>, uri: &str) -> String {
        let metrics = Metrics::new().expect("registers");
        let route = Route::new(
            &forward(prefix(from), to),
            &clusters(),
            Duration::from_secs(1),
            &metrics,
        );
        match route.target {
            Target::Forward(forward) => forward
                .upstream_path(&uri.parse().expect("a URI"))
                .expect("valid")
                .to_string(),
            Target::Respond(_) => unreachable!("the route forwards"),
        }
    }

    #[test]
    fn the_matched_prefix_is_replaced() {
        for (from, to, uri, expected) in [
            ("/predict", "/", "/predict", "/"),
            ("/predict", "/", "/predict/", "/"),
            ("/predict", "/", "/predict/x", "/x"),
            ("/predict", "/", "/predict?a=1", "/?a=1"),
            ("/predict", "/", "/predict/x?a=1&b=/predict", "/x?a=1&b=/predict"),
            ("/predict", "/v1/models/m", "/predict/x", "/v1/models/m/x"),
            ("/predict", "/v1/", "/predict", "/v1/"),
            ("/predict", "/v1/", "/predict?q", "/v1/?q"),
            ("/predict", "/v1/", "/predict/x", "/v1/x"),
            ("", "/v1", "/x", "/v1/x"),
            ("/predict", "/", "http://host/predict/x", "/x"),
        ] {
            assert_eq!(rewritten(from, Some(to), uri), expected, "{uri} from {from} to {to}");
        }
        assert_eq!(rewritten("/v1", None, "/v1/models?x"), "/v1/models?x");
    }

    proptest! {
        #[test]
        fn a_rewrite_keeps_the_rest_and_the_query(rest in "(/[a-z0-9.]{1,8}){0,4}", query in prop::option::of("[a-z=&]{1,12}")) {
            let query = query.map(|query| format!("?{query}")).unwrap_or_default();
            let result = rewritten("/predict", Some("/"), &format!("/predict{rest}{query}"));
            let expected = if rest.is_empty() { format!("/{query}") } else { format!("{rest}{query}") };
            prop_assert_eq!(result, expected);
        }
    }
}
