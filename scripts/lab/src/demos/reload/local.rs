//! Settings of processes: weights, an invalid file, the log level, and an API key that clients use.

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use tokio::time::sleep;

use crate::demo::{Demonstration, Options, begin_load, start_pair, step};
use crate::error::{Error, StepError};
use crate::load::Loads;
use crate::pair::Pair;
use crate::terminal::note;
use crate::wait::within;

const A_SECOND: Duration = Duration::from_secs(1);
const REFUSED_WITHIN: Duration = Duration::from_secs(10);

/// Every route wants a key.
const ROUTES: &str = "routes:
  - {prefix: /predict, cluster: \"ml-inference-service:5000\", rewrite: /, idempotent: true, require_api_key: true}";

pub(super) struct Local {
    pub(super) options: Options,
    pub(super) pair: Pair,
}

impl Demonstration for Local {
    async fn run(&mut self, loads: &mut Loads) -> Result<(), Error> {
        let settings = self.write_settings().map_err(StepError::File)?;
        let url = start_pair(&mut self.pair, 1, 2, settings).await?;
        self.pair.start_replicas(2..=2, "2.0").await?;
        let mut requests = self.options.requests(&url);
        requests.more = vec!["--header".to_owned(), "X-API-Key: old-key".to_owned()];
        begin_load(loads, "reload", &requests)?;
        sleep(A_SECOND).await;
        step(loads, "weights")?;
        self.shift_weights(loads).await?;
        step(loads, "a broken file")?;
        self.break_file().await?;
        step(loads, "log level")?;
        self.more_logs().await?;
        step(loads, "API key")?;
        self.replace_key(&url).await
    }

    async fn stop(&mut self) {
        self.pair.stop(std::future::pending::<()>).await;
    }
}

impl Local {
    /// The files that are changed later, and the gateway's settings that name them.
    fn write_settings(&self) -> io::Result<Vec<(String, OsString)>> {
        let workspace = &self.pair.workspace;
        let config = workspace.create_directory("config")?;
        let secrets = workspace.create_directory("secrets")?;
        workspace.write("config/LOG_LEVEL", "info")?;
        workspace.write("secrets/API_KEY", "old-key")?;
        write_weights(&self.pair, 9, 1)?;
        Ok(vec![
            ("CONFIG_DIRS".to_owned(), config.into_os_string()),
            ("SECRET_DIRS".to_owned(), secrets.into_os_string()),
        ])
    }

    async fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        let write = |pair: &Pair| pair.workspace.write(name, text).map(drop);
        Ok(self.pair.taken_up(write).await?)
    }

    async fn weights(&self, old: u32, new: u32) -> Result<(), Error> {
        Ok(self.pair.taken_up(|pair| write_weights(pair, old, new)).await?)
    }

    async fn shift_weights(&self, loads: &Loads) -> Result<(), Error> {
        for (old, new) in [(1, 1), (1, 9)] {
            self.weights(old, new).await?;
            note(format_args!("weights {old} {new}"));
            loads.mark(&format!("weights {old} {new}"))?;
            sleep(A_SECOND).await;
        }
        self.weights(9, 1).await
    }

    async fn break_file(&self) -> Result<(), Error> {
        let broken = self.pair.workspace.write("gateway.yaml", "clusters: [\n");
        broken.map_err(StepError::File)?;
        let is_refused = async || self.pair.status().await.refused().is_some();
        if !within(REFUSED_WITHIN, is_refused).await {
            return Err(StepError::NotRefused.into());
        }
        let status = self.pair.status().await;
        note(format_args!("refused: {:?}", status.refused().unwrap_or_default()));
        self.weights(1, 1).await
    }

    async fn more_logs(&self) -> Result<(), Error> {
        self.write("config/LOG_LEVEL", "debug").await?;
        sleep(A_SECOND).await;
        self.write("config/LOG_LEVEL", "info").await
    }

    async fn replace_key(&self, url: &str) -> Result<(), Error> {
        // The old one first: without it the clients of this load would be turned away.
        self.write("secrets/API_KEY_PREVIOUS", "old-key").await?;
        self.write("secrets/API_KEY", "new-key").await?;
        let (old, new) = (
            self.status_with("old-key", url).await,
            self.status_with("new-key", url).await,
        );
        if (old.as_str(), new.as_str()) != ("200", "200") {
            return Err(StepError::Keys { old, new }.into());
        }
        note("old and new key are both accepted");
        sleep(A_SECOND).await;
        // The load keeps its key, so it is the new one that goes again.
        self.write("secrets/API_KEY", "old-key").await?;
        let remove = |pair: &Pair| pair.workspace.remove("secrets/API_KEY_PREVIOUS");
        self.pair.taken_up(remove).await?;
        let gone = self.status_with("new-key", url).await;
        if gone != "401" {
            return Err(StepError::KeyStays(gone).into());
        }
        note("a key that is gone is answered 401");
        Ok(())
    }

    /// The status of the answer to a client with this key, 000 without an answer.
    async fn status_with(&self, key: &str, url: &str) -> String {
        let status = self.pair.probe.status_with_key(url, key).await;
        format!("{:03}", status.unwrap_or_default())
    }
}

/// The weights of the first replica, which is version 1.0, and of the second, 2.0.
fn write_weights(pair: &Pair, old: u32, new: u32) -> io::Result<()> {
    let ports = pair.ports;
    let endpoint = |number, weight| {
        let port = ports.replica(number);
        format!("{{address: \"127.0.0.1:{port}\", weight: {weight}}}")
    };
    let endpoints = format!("{}, {}", endpoint(1, old), endpoint(2, new));
    pair.write_gateway_yaml(&endpoints, ROUTES)
}
