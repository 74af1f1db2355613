//! Single HTTP requests to the pair, each from a new client: straight to the address, whatever proxy the environment names.

use std::time::Duration;

use reqwest::{Client, Response};
use shared::http_client::{builder, public_roots};

const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub struct Probe {
    client: Client,
}

impl Probe {
    pub fn new() -> reqwest::Result<Self> {
        // Connections are not kept: one would pin every question to the gateway that it leads to.
        let client = builder(public_roots())
            .timeout(PATIENCE)
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Self { client })
    }

    async fn get(&self, url: &str) -> Option<Response> {
        // What does not answer has no answer; whoever asks says what that means.
        self.client.get(url).send().await.ok()
    }

    pub async fn answers_200(&self, url: &str) -> bool {
        self.get(url).await.is_some_and(|response| response.status() == 200)
    }

    pub async fn text(&self, url: &str) -> Option<String> {
        self.get(url).await?.text().await.ok()
    }

    /// The header `name` of one answer.
    pub async fn header(&self, url: &str, name: &str) -> Option<String> {
        let response = self.get(url).await?;
        Some(response.headers().get(name)?.to_str().ok()?.to_owned())
    }

    /// The different values of the header `name` in so many answers, one after the other.
    pub async fn headers(&self, url: &str, name: &str, answers: usize) -> Vec<String> {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..answers {
            seen.extend(self.header(url, name).await);
        }
        seen.into_iter().collect()
    }

    /// The status of the answer to a client with this API key.
    pub async fn status_with_key(&self, url: &str, key: &str) -> Option<u16> {
        let response = self.client.get(url).header("x-api-key", key).send().await.ok()?;
        Some(response.status().as_u16())
    }
}
