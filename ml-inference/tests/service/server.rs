//! A running `ml-inference` on a free port of the loopback.

use std::net::SocketAddr;

use serde_json::Value;
use shared::http_client;
use shared::test_util::{DEADLINE, Process, RawClient, eventually};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_ml-inference");
pub(crate) const LABS_LINE: &str =
    "{\"predictions\": [2.5, 3.0, 4.5], \"model\": \"half_plus_two\", \"version\": \"1.0\"}\n";

pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    client: reqwest::Client,
}

/// A response with its body read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_else(|| panic!("no {name} in {:?}", self.headers))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Checks that this is a problem body and gives it.
    pub(crate) fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["detail"], problem["error"]);
        assert_eq!(problem["type"], "about:blank");
        assert!(problem["title"].is_string(), "{problem}");
        problem
    }
}

impl Server {
    /// Starts the binary and waits until it is ready. What `settings` says is stronger than what every test has.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        let server = Self::start_unready(settings).await;
        eventually("the service is ready", DEADLINE, async || {
            server.get("/readyz").await.status == 200
        })
        .await;
        server
    }

    pub(crate) async fn start_unready(settings: &[(&str, &str)]) -> Self {
        let usual = [
            ("BIND_ADDRESS", "127.0.0.1"),
            ("SERVICE_PORT", "0"),
            ("ADMIN_ADDRESS", "127.0.0.1:0"),
            ("POD_NAME", "ml-inference-abc12"),
            ("DRAIN_WINDOW", "0.3"),
        ];
        let process = Process::start(BINARY, usual.iter().chain(settings).copied());
        let address = process.listening().await;
        Self {
            process,
            address,
            client: http_client::client(DEADLINE).expect("a client"),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.answer(self.client.get(self.url(path))).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.answer(self.client.post(self.url(path)).body(body)).await
    }

    pub(crate) async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.request_with(method, path, headers, "").await
    }

    pub(crate) async fn request_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let method = method.parse().expect("a method");
        let mut request = self.client.request(method, self.url(path)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.answer(request).await
    }

    /// At another address than the service's.
    pub(crate) async fn request_at(&self, method: &str, url: &str, body: &str) -> Answer {
        let method = method.parse().expect("a method");
        self.answer(self.client.request(method, url).body(body.to_owned()))
            .await
    }

    pub(crate) async fn connect(&self) -> RawClient {
        RawClient::connect(self.address).await
    }

    pub(crate) async fn metrics(&self) -> String {
        self.get("/metrics").await.body
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await;
        let response = response.unwrap_or_else(|error| panic!("{error:?}\n{}", self.process.output()));
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.text().await.expect("a whole body"),
        }
    }
}
