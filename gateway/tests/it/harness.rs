//! The real gateway in front of scripted upstreams.

use std::net::SocketAddr;
use std::path::Path;

use shared::http_client;
use shared::test_util::{DEADLINE, Process, RawClient, Scratch};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_gateway");

pub(crate) struct Gateway {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) client: reqwest::Client,
    _scratch: Scratch,
}

impl Gateway {
    /// Starts a gateway with `yaml` as its file and `environment` on top of free ports and short drains.
    pub(crate) async fn start(yaml: &str, environment: &[(&str, &str)]) -> Self {
        let scratch = Scratch::new("gateway");
        let file = scratch.file("gateway.yaml", yaml);
        let process = Process::start(BINARY, variables(&file, environment));
        let address = process.listening().await;
        let admin = process.address_of("admin listening").await;
        Self {
            process,
            address,
            admin,
            client: http_client::client(DEADLINE).expect("the client builds"),
            _scratch: scratch,
        }
    }

    /// The same with one cluster of fixed endpoints behind /predict and /raw; only /predict is idempotent.
    pub(crate) async fn in_front_of(endpoints: &[SocketAddr], environment: &[(&str, &str)]) -> Self {
        Self::start(&yaml(endpoints), environment).await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        self.client.get(self.url(path)).send().await.expect("an answer")
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> reqwest::Response {
        let sent = self.client.post(self.url(path)).body(body).send().await;
        sent.expect("an answer")
    }

    pub(crate) async fn admin(&self, path: &str) -> reqwest::Response {
        let url = format!("http://{}{path}", self.admin);
        self.client.get(url).send().await.expect("an answer")
    }

    pub(crate) async fn raw(&self) -> RawClient {
        RawClient::connect(self.address).await
    }

    /// The value of a metric whose line starts with `series`; 0 when there is none.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let text = self.admin("/metrics").await.text().await.expect("text");
        let line = text.lines().find(|line| line.starts_with(series));
        let value = line
            .and_then(|line| line.rsplit(' ').next())
            .and_then(|value| value.parse().ok());
        value.unwrap_or(0.0)
    }
}

pub(crate) fn yaml(endpoints: &[SocketAddr]) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
    format!(
        "clusters:
  - name: backend:5000
    endpoints: [{}]
routes:
  - {{ prefix: /predict, cluster: \"backend:5000\", rewrite: /, idempotent: true }}
  - {{ prefix: /raw, cluster: \"backend:5000\" }}
  - {{ path: /health, respond: {{ body: \"Gateway OK\\n\" }} }}
",
        endpoints.join(", ")
    )
}

pub(crate) fn variables(file: &Path, environment: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut variables = vec![
        ("CONFIG_FILE".to_owned(), file.display().to_string()),
        ("LISTEN_ADDRESS".to_owned(), "127.0.0.1:0".to_owned()),
        ("ADMIN_ADDRESS".to_owned(), "127.0.0.1:0".to_owned()),
        ("DRAIN_WINDOW".to_owned(), "0.3".to_owned()),
        ("DRAIN_TIMEOUT".to_owned(), "10".to_owned()),
    ];
    let given = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    variables.extend(given);
    variables
}

/// The `error` and `detail` members of a problem body, which must be the same, and its status.
pub(crate) async fn problem(response: reqwest::Response) -> (u16, String) {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let status = response.status().as_u16();
    let body: serde_json::Value = response.json().await.expect("a JSON body");
    assert_eq!(body["status"], status);
    assert_eq!(body["error"], body["detail"]);
    (status, body["detail"].as_str().expect("a text").to_owned())
}
