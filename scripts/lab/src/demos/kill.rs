//! `lab demo kill`: replicas of ml-inference are lost, in order and not.

use std::ffi::OsString;
use std::time::Duration;

use shared::test_util::Signal;
use tokio::time::sleep;

use crate::binaries::load_test;
use crate::cluster::Cluster;
use crate::demo::{Demonstration, Ended, Options, begin_load, everyone_answers, perform, start_pair, step};
use crate::error::Error;
use crate::load::Loads;
use crate::pair::Pair;
use crate::terminal::note;

pub(crate) const USAGE: &str = include_str!("../../usage/kill.txt");

const REPLICAS: u16 = 3;
const FROZEN: Duration = Duration::from_secs(3);
/// Load before the first loss, and the time that nobody listens on a killed replica's port.
const A_SECOND: Duration = Duration::from_secs(1);

pub(crate) async fn run(arguments: Vec<OsString>) -> Result<Ended, Error> {
    let Some(options) = Options::parse(arguments, |_, _| Ok(false))? else {
        return Ok(Ended::Help);
    };
    let load_test = load_test()?;
    if options.local {
        let pair = options.pair()?;
        return perform(Local { options, pair }, load_test).await;
    }
    perform(OnCluster { options }, load_test).await
}

struct Local {
    options: Options,
    pair: Pair,
}

impl Demonstration for Local {
    async fn run(&mut self, loads: &mut Loads) -> Result<(), Error> {
        let url = start_pair(&mut self.pair, REPLICAS, REPLICAS, Vec::new()).await?;
        begin_load(loads, "kill", &self.options.requests(&url))?;
        sleep(A_SECOND).await;
        step(loads, "SIGTERM: a replica ends in order")?;
        self.end_in_order().await?;
        self.everyone_answers(&url).await?;
        step(loads, "SIGKILL: a replica is gone at once")?;
        self.kill().await?;
        self.everyone_answers(&url).await?;
        step(
            loads,
            &format!("SIGSTOP: a replica is frozen for {} s", FROZEN.as_secs()),
        )?;
        self.freeze().await;
        self.everyone_answers(&url).await
    }

    async fn stop(&mut self) {
        self.pair.stop(std::future::pending::<()>).await;
    }
}

impl Local {
    async fn everyone_answers(&self, url: &str) -> Result<(), Error> {
        Ok(everyone_answers(&self.pair.probe, url, REPLICAS.into()).await?)
    }

    async fn end_in_order(&mut self) -> Result<(), Error> {
        self.pair.stop_replica(1).await;
        note("ml-inference-1 has ended; a new one starts in its place");
        Ok(self.pair.start_replicas(1..=1, "1.0").await?)
    }

    async fn kill(&mut self) -> Result<(), Error> {
        self.pair.signal_replica(2, Signal::KILL);
        self.pair.replica_gone(2).await;
        note("ml-inference-2 is gone; for a second nobody listens on its port");
        sleep(A_SECOND).await;
        Ok(self.pair.start_replicas(2..=2, "1.0").await?)
    }

    async fn freeze(&mut self) {
        self.pair.signal_replica(3, Signal::STOP);
        note("ml-inference-3 is frozen: it accepts connections and never answers");
        sleep(FROZEN).await;
        self.pair.signal_replica(3, Signal::CONT);
        note("it goes on");
    }
}

struct OnCluster {
    options: Options,
}

impl Demonstration for OnCluster {
    async fn run(&mut self, loads: &mut Loads) -> Result<(), Error> {
        let cluster = Cluster::enter(&self.options.place).await?;
        begin_load(loads, "kill", &self.options.requests(&cluster.url))?;
        sleep(A_SECOND).await;
        step(loads, "a pod is deleted in order")?;
        delete_pod(&cluster, &[]).await?;
        step(loads, "a pod is deleted by force")?;
        // The API object goes at once, and the kubelet ends the container without waiting for it.
        delete_pod(&cluster, &["--grace-period", "0", "--force"]).await
    }
}

async fn delete_pod(cluster: &Cluster, how: &[&str]) -> Result<(), Error> {
    let running = "status.phase=Running";
    let first = "jsonpath={.items[0].metadata.name}";
    let look = [
        "get",
        "pods",
        "-l",
        "app=ml-inference",
        "--field-selector",
        running,
        "-o",
        first,
    ];
    let pod = cluster.kubectl.read(&look).await?;
    let delete = [&["delete", "pod", pod.as_str()], how].concat();
    cluster.kubectl.run(&delete).await?;
    Ok(cluster.settled("ml-inference").await?)
}
