//! `lab demo scale`: ml-inference is scaled up and down.

use std::ffi::OsString;

use crate::binaries::load_test;
use crate::cluster::Cluster;
use crate::demo::{Demonstration, Ended, Options, begin_load, everyone_answers, perform, start_pair, step};
use crate::error::{Error, StepError};
use crate::load::Loads;
use crate::pair::Pair;
use crate::terminal::warn;

pub(crate) const USAGE: &str = include_str!("../../usage/scale.txt");

const FEW: u16 = 2;
const MANY: u16 = 6;

pub(crate) async fn run(arguments: Vec<OsString>) -> Result<Ended, Error> {
    let Some(options) = Options::parse(arguments, |_, _| Ok(false))? else {
        return Ok(Ended::Help);
    };
    let load_test = load_test()?;
    if options.local {
        let pair = options.pair()?;
        return perform(Local { options, pair }, load_test).await;
    }
    perform(OnCluster { options, scaled: None }, load_test).await
}

struct Local {
    options: Options,
    pair: Pair,
}

impl Demonstration for Local {
    async fn run(&mut self, loads: &mut Loads) -> Result<(), Error> {
        let url = start_pair(&mut self.pair, FEW, MANY, Vec::new()).await?;
        begin_load(loads, "scale", &self.options.requests(&url))?;
        step(loads, &format!("{FEW} -> {MANY} replicas"))?;
        self.up(&url).await?;
        step(loads, &format!("{MANY} -> {FEW} replicas"))?;
        self.down(&url).await
    }

    async fn stop(&mut self) {
        self.pair.stop(std::future::pending::<()>).await;
    }
}

/// A pod is ready before it becomes an endpoint, and an endpoint no more before it gets SIGTERM.
impl Local {
    async fn up(&mut self, url: &str) -> Result<(), Error> {
        self.pair.start_replicas(FEW + 1..=MANY, "1.0").await?;
        self.pair.taken_up(|pair| pair.write_endpoints(1..=MANY)).await?;
        Ok(everyone_answers(&self.pair.probe, url, MANY.into()).await?)
    }

    async fn down(&mut self, url: &str) -> Result<(), Error> {
        self.pair.taken_up(|pair| pair.write_endpoints(1..=FEW)).await?;
        for number in FEW + 1..=MANY {
            self.pair.stop_replica(number).await;
        }
        Ok(everyone_answers(&self.pair.probe, url, FEW.into()).await?)
    }
}

struct OnCluster {
    options: Options,
    /// The cluster and its number of replicas before, from the time that it is scaled.
    scaled: Option<(Cluster, String)>,
}

impl Demonstration for OnCluster {
    async fn run(&mut self, loads: &mut Loads) -> Result<(), Error> {
        let cluster = Cluster::enter(&self.options.place).await?;
        let autoscaler = cluster.autoscaler().await?;
        if !autoscaler.is_empty() {
            let namespace = cluster.namespace;
            return Err(StepError::Autoscaled { autoscaler, namespace }.into());
        }
        let before = cluster.replicas().await?;
        let (cluster, before) = self.scaled.insert((cluster, before));
        begin_load(loads, "scale", &self.options.requests(&cluster.url))?;
        step(loads, &format!("{before} -> {MANY} replicas"))?;
        scale_to(cluster, &MANY.to_string()).await?;
        step(loads, &format!("{MANY} -> {before} replicas"))?;
        scale_to(cluster, before).await?;
        self.scaled = None;
        Ok(())
    }

    async fn undo(&mut self) -> Result<(), Error> {
        if let Some((cluster, before)) = self.scaled.take() {
            warn(format_args!("scaling back to {before} replicas"));
            let scale = ["scale", "deployment/ml-inference", "--replicas", &before];
            cluster.kubectl.aside().run(&scale).await?;
        }
        Ok(())
    }
}

async fn scale_to(cluster: &Cluster, replicas: &str) -> Result<(), Error> {
    let scale = ["scale", "deployment/ml-inference", "--replicas", replicas];
    cluster.kubectl.run(&scale).await?;
    cluster.settled("ml-inference").await?;
    let pods = replicas.parse().unwrap_or(0);
    everyone_answers(&cluster.probe, &cluster.url, pods).await?;
    let list = ["get", "pods", "-l", "app=ml-inference", "-o", "wide"];
    Ok(cluster.kubectl.run(&list).await?)
}
