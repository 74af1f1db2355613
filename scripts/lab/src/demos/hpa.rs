//! `lab demo hpa`: an autoscaler follows load that costs real CPU, up and down again.

mod autoscaler;
mod before;
mod model;
mod rate;
mod view;

use std::ffi::OsString;
use std::time::Instant;

use crate::arguments::UsageError;
use crate::binaries::load_test;
use crate::cluster::Cluster;
use crate::demo::{Demonstration, Ended, Options, perform, step};
use crate::error::{AutoscalingError, Error, StepError};
use crate::load::{Loads, Requests};
use crate::terminal::{say, warn};
use crate::workspace::Workspace;

use autoscaler::Autoscaler;
use before::Before;
use model::MODEL;
use view::View;

pub(crate) const USAGE: &str = include_str!("../../usage/hpa.txt");

/// Rows of mlp a second: half of one pod's target.
const LIGHT_RATE: u32 = 5;

pub(crate) async fn run(arguments: Vec<OsString>) -> Result<Ended, Error> {
    let started = Instant::now();
    let mut quick = false;
    let options = Options::parse(arguments, |option, _| match option {
        "--quick" => {
            quick = true;
            Ok(true)
        }
        "--local" => Err(UsageError::Together(
            "--local: an autoscaler needs a cluster; scripts/scale.sh --local scales processes".to_owned(),
        )),
        _ => Ok(false),
    })?;
    let Some(options) = options else {
        return Ok(Ended::Help);
    };
    let load_test = load_test()?;
    let demo = Hpa {
        options,
        quick,
        started,
        workspace: Workspace::create().map_err(StepError::File)?,
        cluster: None,
        changed: Changed::default(),
    };
    perform(demo, load_test).await
}

struct Hpa {
    options: Options,
    /// The autoscaler that is made scales in after half a minute and all at once.
    quick: bool,
    started: Instant,
    workspace: Workspace,
    cluster: Option<Cluster>,
    changed: Changed,
}

/// Changes that are to be put back.
#[derive(Debug, Default)]
struct Changed {
    /// MODEL_NAME as it was, once it is another.
    model: Option<String>,
    /// The replicas as they were, once an autoscaler was made.
    replicas: Option<u32>,
}

impl Demonstration for Hpa {
    async fn run(&mut self, loads: &mut Loads) -> Result<(), Error> {
        let cluster = self.cluster.insert(Cluster::enter(&self.options.place).await?);
        let changed = &mut self.changed;
        before::need_metrics(cluster).await?;
        before::need_model(cluster).await?;
        let before = Before::look(cluster, self.quick).await?;
        let row = self
            .workspace
            .write("row.json", &model::row())
            .map_err(StepError::File)?;
        let mut requests = Requests {
            url: cluster.url.clone(),
            rate: LIGHT_RATE,
            connections: self.options.connections,
            more: vec!["--post".to_owned(), row.display().to_string()],
        };
        say(format_args!(
            "light load on {}: {LIGHT_RATE} requests a second",
            cluster.url
        ));
        loads.start("hpa", &requests)?;

        if before.served != MODEL {
            step(loads, &format!("model: {} -> {MODEL}", before.served))?;
            changed.model = Some(before.model.clone());
            model::choose(&cluster.kubectl, MODEL).await?;
            cluster.settled("ml-inference").await?;
            model::answered_by(cluster, MODEL).await?;
        }

        step(loads, "an autoscaler for ml-inference")?;
        if before.autoscaler.is_empty() {
            changed.replicas = Some(before.replicas);
            autoscaler::make(cluster, self.quick).await?;
        }
        let autoscaler = Autoscaler::read(cluster, &before.autoscaler).await?;
        let mut view = View::new(cluster, &autoscaler, self.started);
        view.reach_minimum(loads).await?;
        cluster.rolled_out("ml-inference").await?;

        step(loads, "heavy load")?;
        requests.rate = match self.options.rate {
            Some(given) => given,
            None => rate::choose(cluster, view.replicas(), autoscaler.target).await?,
        };
        let heavy = loads.start("hpa-heavy", &requests)?;
        view.follow(loads, requests.rate).await?;
        cluster.rolled_out("ml-inference").await?;

        step(loads, "the heavy load is gone")?;
        let failed = loads.end(heavy).await? != 0;
        if failed {
            warn(AutoscalingError::HeavyLoadFailed);
        }
        let fewest = match changed.replicas {
            Some(_) => autoscaler.minimum,
            // An autoscaler that was there had its reasons for as many as there were.
            None => autoscaler.minimum.max(before.replicas),
        };
        view.settle(loads, fewest).await?;
        cluster.settled("ml-inference").await?;
        if failed {
            return Err(Error::Reported);
        }

        step(loads, "as it was before")?;
        changed.put_autoscaler_back(cluster).await?;
        changed.put_model_back(cluster).await?;
        cluster.settled("ml-inference").await?;
        model::answered_by(cluster, &before.served).await
    }

    async fn undo(&mut self) -> Result<(), Error> {
        let Some(mut cluster) = self.cluster.take() else {
            return Ok(());
        };
        if self.changed.model.is_none() && self.changed.replicas.is_none() {
            return Ok(());
        }
        warn("putting the replicas and the model back; the pods are replaced meanwhile");
        cluster.kubectl = cluster.kubectl.aside();
        let autoscaler = self.changed.put_autoscaler_back(&cluster).await;
        // The model is put back all the same.
        self.changed.put_model_back(&cluster).await.and(autoscaler)
    }
}

impl Changed {
    async fn put_autoscaler_back(&mut self, cluster: &Cluster) -> Result<(), Error> {
        if let Some(replicas) = self.replicas {
            autoscaler::delete(&cluster.kubectl, replicas).await?;
            self.replicas = None;
        }
        Ok(())
    }

    async fn put_model_back(&mut self, cluster: &Cluster) -> Result<(), Error> {
        if let Some(model) = &self.model {
            model::choose(&cluster.kubectl, model).await?;
            self.model = None;
        }
        Ok(())
    }
}
