//! The paths that every service answers at its admin listener: probes, metrics and its state.
//!
//! ```text
//! /livez        a thread answers
//! /readyz       the service wants requests, or a problem says why not
//! /metrics      Prometheus text
//! /status.json  what every service is and does, followed by members of its own
//! ```
//!
//! Other paths are the service's.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response, StatusCode};
use prometheus::Registry;
use serde_json::{Map, Value, json};
use tracing::error;

use crate::lifecycle::PhaseWatch;
use crate::problem::Problem;
use crate::reload::Progress;
use crate::telemetry::metrics;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EXPOSITION: HeaderValue = HeaderValue::from_static(metrics::CONTENT_TYPE);

/// The answers that only the service itself has.
pub trait ServiceStatus {
    /// The reason for which the service accepts no new work; its status is the answer's. `None` when the service is ready.
    fn not_ready(&self) -> Option<Problem>;

    /// The members of `/status.json` that follow those of every service.
    fn status(&self) -> Map<String, Value>;
}

/// The admin listener's view of a service.
#[derive(Debug)]
pub struct Admin<S> {
    /// The service's own answers.
    pub service: S,
    /// The version of the build.
    pub version: &'static str,
    /// The name that logs and `x-served-by` use.
    pub pod_name: String,
    /// The name of the environment.
    pub environment: String,
    /// Worker threads.
    pub workers: usize,
    /// The start of the process.
    pub started: Instant,
    /// The process's phase.
    pub phase: PhaseWatch,
    /// The metrics of the process.
    pub registry: Registry,
    /// The results of its reloads.
    pub reloads: Arc<Progress>,
}

impl<S: ServiceStatus> Admin<S> {
    /// Answers a request for one of the paths above; `None` for every other path, whatever the method.
    pub fn answer<B: From<Bytes>>(&self, method: &Method, path: &str) -> Option<Response<B>> {
        let answer: fn(&Self) -> Response<B> = match path {
            "/livez" => |_| live(),
            "/readyz" => |admin| ready(admin.service.not_ready()),
            "/metrics" => |admin| scrape(&admin.registry),
            "/status.json" => |admin| with_type(JSON, format!("{:#}\n", admin.status())),
            _ => return None,
        };
        if !matches!(*method, Method::GET | Method::HEAD) {
            let problem = Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("{path} answers GET and HEAD only"),
            );
            return Some(problem.allow("GET, HEAD").into_response());
        }
        Some(answer(self))
    }

    fn status(&self) -> Value {
        let mut status = json!({
            "version": self.version,
            "pod": self.pod_name,
            "environment": self.environment,
            "ready": self.service.not_ready().is_none(),
            "draining": self.phase.is_draining(),
            "uptime_seconds": self.started.elapsed().as_secs(),
            "workers": self.workers,
            "config": self.reloads.state().json(),
        });
        if let Some(members) = status.as_object_mut() {
            members.extend(self.service.status());
        }
        status
    }
}

/// The answer to `/livez`: a worker could give it.
pub fn live<B: From<Bytes>>() -> Response<B> {
    with_type(TEXT, "ok\n")
}

/// The answer to `/readyz`.
pub fn ready<B: From<Bytes>>(not_ready: Option<Problem>) -> Response<B> {
    not_ready.map_or_else(live, Problem::into_response)
}

/// The answer to `/metrics`.
pub fn scrape<B: From<Bytes>>(registry: &Registry) -> Response<B> {
    match metrics::render(registry) {
        Ok(text) => with_type(EXPOSITION, text),
        Err(cause) => {
            error!(%cause, "cannot render the metrics");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be rendered").into_response()
        }
    }
}

fn with_type<B: From<Bytes>>(content_type: HeaderValue, body: impl Into<Bytes>) -> Response<B> {
    let mut response = Response::new(B::from(body.into()));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::{Lifecycle, Phase};

    struct Shop {
        open: bool,
    }

    impl ServiceStatus for Shop {
        fn not_ready(&self) -> Option<Problem> {
            let closed = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "closed on Sundays").retry_after_seconds(9);
            (!self.open).then_some(closed)
        }

        fn status(&self) -> Map<String, Value> {
            Map::from_iter([("shelves".to_owned(), json!(3))])
        }
    }

    fn admin(open: bool) -> Admin<Shop> {
        let lifecycle = Lifecycle::default();
        lifecycle.enter(Phase::Serving);
        Admin {
            service: Shop { open },
            version: "1.2.3",
            pod_name: "shop-0".to_owned(),
            environment: "test".to_owned(),
            workers: 2,
            started: Instant::now(),
            phase: lifecycle.watch(),
            registry: metrics::registry("shop", "1.2.3").expect("registers"),
            reloads: Arc::default(),
        }
    }

    fn get(admin: &Admin<Shop>, path: &str) -> Response<Bytes> {
        admin.answer(&Method::GET, path).expect("a path of every service")
    }

    #[test]
    fn readiness_is_the_services_own_and_liveness_is_not() {
        let (open, closed) = (admin(true), admin(false));
        assert_eq!(get(&open, "/readyz").status(), 200);
        let answer = get(&closed, "/readyz");
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["retry-after"]),
            (503, &HeaderValue::from(9))
        );
        assert_eq!(get(&closed, "/livez").body(), "ok\n");
        assert_eq!(
            get(&closed, "/livez").headers()[CONTENT_TYPE],
            "text/plain; charset=utf-8"
        );
    }

    #[test]
    fn the_status_page_begins_with_what_every_service_says() {
        let answer = get(&admin(false), "/status.json");
        let status: Map<String, Value> = serde_json::from_slice(answer.body()).expect("JSON");
        let names: Vec<&str> = status.keys().map(String::as_str).collect();
        let expected = "version pod environment ready draining uptime_seconds workers config shelves";
        assert_eq!(names.join(" "), expected);
        assert_eq!(
            (&status["ready"], &status["config"]["generation"]),
            (&json!(false), &json!(1))
        );
    }

    #[test]
    fn a_scrape_is_prometheus_text() {
        let answer = get(&admin(true), "/metrics");
        assert!(
            answer.headers()[CONTENT_TYPE]
                .as_bytes()
                .starts_with(b"text/plain; version=0.0.4")
        );
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        assert!(text.contains("shop_build_info{version=\"1.2.3\"} 1"), "{text}");
    }

    #[test]
    fn other_methods_are_refused_and_other_paths_are_the_services() {
        let admin = admin(true);
        let answer: Response<Bytes> = admin.answer(&Method::POST, "/readyz").expect("an answer");
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["allow"]),
            (405, &HeaderValue::from_static("GET, HEAD"))
        );
        assert!(admin.answer::<Bytes>(&Method::HEAD, "/metrics").is_some());
        assert!(admin.answer::<Bytes>(&Method::GET, "/v2").is_none());
    }
}
