//! The service without its sockets.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use ml_inference::catalog::{Catalog, Published};
use ml_inference::config::{self, SETTINGS};
use ml_inference::engine::Compute;
use ml_inference::engine::{Engine, LoadedModel};
use ml_inference::http::{ParsedRequest, ServiceState, answer};
use ml_inference::metrics::Metrics;
use ml_inference::middleware::Identity;
use ml_inference::model::ModelVersion;
use ml_inference::model::{BuiltIn, Model};
use model_runtime::ModelRuntime;
use serde_json::Value;
use shared::config::Layers;
use shared::lifecycle::{Lifecycle, Phase};
use tokio::task::LocalSet;

pub(crate) struct Service {
    state: ServiceState,
    identity: Identity,
    metrics: Arc<Metrics>,
    published: Arc<Published>,
    catalog: Catalog,
    lifecycle: Lifecycle,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// What an answer with status 200 says.
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/json"));
        self.json()
    }

    /// The message of a refusal, which has the form of both protocols.
    pub(crate) fn refusal(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/json"));
        let body = self.json();
        let members = body.as_object().expect("an object");
        assert_eq!(members.len(), 1, "{body}");
        body["error"].as_str().expect("a message").to_owned()
    }
}

impl Service {
    /// Without a model yet.
    pub(crate) fn new(settings: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let layers = Layers {
            settings: SETTINGS.to_vec(),
            documents: &[],
            default_document: "",
            default_file: "/nowhere/settings.yaml",
            default_config_dirs: "/nowhere/config",
            default_secret_dir: "/nowhere/secrets",
            file: None,
            variables: settings.iter().map(owned).collect::<BTreeMap<String, String>>(),
            file_held: false,
        };
        let mut settings = layers.load();
        let config = config::parse(&mut settings);
        let config = settings.finish(config).expect("valid settings");
        let lifecycle = Lifecycle::default();
        let metrics = Arc::new(Metrics::new().expect("registers"));
        let engine = Engine::new(Compute::start(1, 1, metrics.waiting.clone()).expect("starts"));
        let published = Arc::new(Published::default());
        let state = ServiceState::new(
            &config,
            lifecycle.watch(),
            Arc::clone(&metrics),
            Arc::clone(&published),
            engine,
        );
        Self {
            state,
            identity: Identity::new(&config),
            metrics,
            published,
            catalog: Catalog::default(),
            lifecycle,
        }
    }

    /// With TensorFlow Serving's example model, as its tests have it.
    pub(crate) fn half_plus_two() -> Self {
        let mut service = Self::new(&[]);
        service.insert(Model::built_in(BuiltIn::HalfPlusTwo, version(123)));
        service.serve();
        service
    }

    pub(crate) fn with(name: &str, runtime: impl ModelRuntime + 'static) -> Self {
        let mut service = Self::new(&[]);
        service.insert(model(name, 1, runtime));
        service.serve();
        service
    }

    pub(crate) fn insert(&mut self, model: Model) {
        self.catalog.insert(Arc::new(LoadedModel::new(model, &self.metrics)));
    }

    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Catalog)) {
        change(&mut self.catalog);
        self.serve();
    }

    pub(crate) fn serve(&self) {
        self.published.publish(self.catalog.clone());
        self.lifecycle.enter(Phase::Serving);
    }

    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let method: Method = method.parse().expect("a method");
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        let response = LocalSet::new()
            .run_until(answer(&self.state, ParsedRequest::new(request)))
            .await;
        let (head, body) = self.identity.sign(response).into_parts();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.collect().await.expect("infallible").to_bytes(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.ask("POST", path, &[], body).await
    }
}

pub(crate) fn version(number: u64) -> ModelVersion {
    ModelVersion::parse(&number.to_string()).expect("a version")
}

pub(crate) fn model(name: &str, number: u64, runtime: impl ModelRuntime + 'static) -> Model {
    Model {
        name: name.to_owned(),
        version: version(number),
        example: Vec::new(),
        runtime: Box::new(runtime),
        rows_independent: true,
    }
}

pub(crate) fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).expect("memory");
    encoder.finish().expect("memory")
}
