//! A rolling update of processes: replicas are replaced on their ports, gateways behind rules like kube-proxy's.

use std::time::Duration;

use shared::test_util::Signal;
use tokio::time::sleep;

use super::loads;
use super::options::Options;
use super::service::Service;
use crate::demo::{Demonstration, expect_version, start_pair, step};
use crate::error::Error;
use crate::load::Loads;
use crate::pair::{Pair, PairError};
use crate::terminal::{note, say};

const REPLICAS: u16 = 3;
const GATEWAYS: u16 = 2;
/// Load before the first change.
const BEFORE: Duration = Duration::from_secs(1);

pub(super) struct Local {
    options: Options,
    pair: Pair,
    /// The Service in front of the gateways; unused when only replicas are replaced.
    service: Service,
}

impl Local {
    pub(super) fn new(options: Options, pair: Pair) -> Self {
        let service = Service::new(options.common.ports.gateway);
        Self { options, pair, service }
    }
}

impl Demonstration for Local {
    async fn run(&mut self, loads: &mut Loads) -> Result<(), Error> {
        let url = match self.options.what.includes_gateway() {
            true => self.start_behind_service().await?,
            false => start_pair(&mut self.pair, REPLICAS, REPLICAS, Vec::new()).await?,
        };
        loads::begin(loads, &self.options, &url)?;
        sleep(BEFORE).await;
        step(loads, "v1 -> v2")?;
        self.replace_all(&url, "2.0").await?;
        step(loads, "undo: v2 -> v1")?;
        self.replace_all(&url, "1.0").await
    }

    async fn stop(&mut self) {
        self.pair.stop(std::future::pending::<()>).await;
    }
}

impl Local {
    async fn start_behind_service(&mut self) -> Result<String, Error> {
        self.service.open(&self.pair.workspace).await?;
        let port = self.pair.ports.gateway;
        say(format_args!(
            "starting {REPLICAS} x ml-inference (version 1.0) and {GATEWAYS} gateways behind 127.0.0.1:{port}"
        ));
        self.pair.start_replicas(1..=REPLICAS, "1.0").await?;
        self.pair.write_endpoints(1..=REPLICAS).map_err(PairError::Files)?;
        for _ in 0..GATEWAYS {
            self.service.add_gateway(&mut self.pair).await?;
        }
        Ok(format!("http://127.0.0.1:{port}/predict"))
    }

    /// The list of endpoints is fixed, so a new replica takes the port of the old one once that has drained and gone. Until then the
    /// gateway has the other two.
    async fn replace_all(&mut self, url: &str, version: &str) -> Result<(), Error> {
        let what = self.options.what;
        let mut oldest = self.service.oldest().unwrap_or_default();
        for number in 1..=REPLICAS {
            if what.includes_model() {
                self.pair.signal_replica(number, Signal::TERM);
            }
            if what.includes_gateway() && number <= GATEWAYS {
                self.service.replace_gateway(&mut self.pair, oldest).await?;
                oldest += 1;
            }
            if what.includes_model() {
                self.pair.replica_stopped(number).await;
                self.pair.start_replicas(number..=number, version).await?;
                note(format_args!("ml-inference-{number} is version {version} now"));
            }
        }
        if what.includes_model() {
            expect_version(&self.pair.probe, url, version).await?;
        }
        Ok(())
    }
}
