//! The autoscaler's readings and replicas, one line for every change.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::autoscaler::Autoscaler;
use crate::cluster::Cluster;
use crate::environment::seconds;
use crate::error::{AutoscalingError, Error};
use crate::load::Loads;
use crate::terminal::note;

/// Longer than the autoscaler's period: it has looked again and wants no more.
const QUIET_SECONDS: (&str, f64) = ("QUIET_SECONDS", 20.0);
const POLL_SECONDS: (&str, f64) = ("POLL_SECONDS", 2.0);

pub(super) struct View<'a> {
    cluster: &'a Cluster,
    autoscaler: &'a Autoscaler,
    /// Times on the terminal are counted from here.
    started: Instant,
    /// The last reading, as it came.
    seen: String,
    replicas: u32,
    wanted: u32,
    /// CPU in percent of the pods' request; empty without a reading.
    cpu: String,
    /// The time of the last change of `replicas` or `wanted`.
    replicas_since: Instant,
}

impl<'a> View<'a> {
    pub(super) fn new(cluster: &'a Cluster, autoscaler: &'a Autoscaler, started: Instant) -> Self {
        Self {
            cluster,
            autoscaler,
            started,
            seen: String::new(),
            replicas: 0,
            wanted: 0,
            cpu: String::new(),
            replicas_since: started,
        }
    }

    pub(super) fn replicas(&self) -> u32 {
        self.replicas
    }

    pub(super) async fn reach_minimum(&mut self, loads: &Loads) -> Result<(), Error> {
        let (minimum, patience) = (self.autoscaler.minimum, self.cluster.timeout);
        if self
            .look_until(loads, patience, |view| view.replicas >= minimum)
            .await?
        {
            return Ok(());
        }
        let seconds = patience.as_secs();
        Err(AutoscalingError::BelowMinimum { minimum, seconds }.into())
    }

    /// Waits until there are more replicas than before the heavy load, and as many as are wanted for a while.
    pub(super) async fn follow(&mut self, loads: &Loads, rate: u32) -> Result<(), Error> {
        note(format_args!(
            "{rate} requests a second on top; CPU is measured every 15 to 60 s, so the autoscaler sees them a little later"
        ));
        let (before, patience) = (self.replicas, self.cluster.timeout);
        let quiet = seconds(QUIET_SECONDS);
        let has_followed = |view: &Self| {
            view.replicas > before && view.replicas == view.wanted && view.replicas_since.elapsed() >= quiet
        };
        if self.look_until(loads, patience, has_followed).await? {
            return Ok(());
        }
        let seen = format!("{}, {}", self.replicas, self.readings());
        let seconds = patience.as_secs();
        AutoscalingError::NotFollowed { seconds, seen }.report();
        let condition = "jsonpath={.status.conditions[?(@.type==\"ScalingActive\")].message}{\"\\n\"}";
        let why = ["get", "hpa", &self.autoscaler.name, "-o", condition];
        // What matters has been said already.
        let _shown = self.cluster.kubectl.aside().run(&why).await;
        Err(Error::Reported)
    }

    /// Waits until there are no more replicas than the fewest.
    pub(super) async fn settle(&mut self, loads: &Loads, fewest: u32) -> Result<(), Error> {
        let expected = self.autoscaler.scale_in_seconds(self.replicas, fewest);
        note(format_args!(
            "{} -> {fewest} replicas: {expected} s by the autoscaler's rules, from when it sees that the load is gone",
            self.replicas
        ));
        let patience = Duration::from_secs(expected.into()) + self.cluster.timeout;
        if self.look_until(loads, patience, |view| view.replicas <= fewest).await? {
            return Ok(());
        }
        let (replicas, seen) = (self.replicas, self.readings());
        Err(AutoscalingError::NotSettled { replicas, fewest, seen }.into())
    }

    /// Looks until the condition is met, for `patience` at most, and gives whether it was.
    async fn look_until(
        &mut self,
        loads: &Loads,
        patience: Duration,
        condition: impl Fn(&Self) -> bool,
    ) -> Result<bool, Error> {
        let deadline = Instant::now() + patience;
        let poll = seconds(POLL_SECONDS);
        loop {
            if self.look(loads).await? && condition(self) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            sleep(poll).await;
        }
    }

    /// Looks, and says what has changed. Gives whether the autoscaler could be read.
    async fn look(&mut self, loads: &Loads) -> Result<bool, Error> {
        let path = "jsonpath={.status.currentReplicas}|{.status.desiredReplicas}|\
                    {.status.currentMetrics[0].resource.current.averageUtilization}";
        let look = ["get", "hpa", &self.autoscaler.name, "-o", path];
        let Ok(now) = self.cluster.kubectl.read(&look).await else {
            // kubectl has said why; an API server that is away for a moment comes back.
            return Ok(false);
        };
        if now == self.seen {
            return Ok(true);
        }
        let before = (self.replicas, self.wanted);
        let mut readings = now.split('|');
        let mut count = || readings.next().and_then(|text| text.parse().ok()).unwrap_or(0);
        (self.replicas, self.wanted) = (count(), count());
        self.cpu = readings.next().unwrap_or_default().to_owned();
        self.seen = now;
        note(format_args!(
            "{:4} s: {} replicas, {} wanted, CPU at {} % of the request (target {} %)",
            self.started.elapsed().as_secs(),
            self.replicas,
            self.wanted,
            self.cpu_or_unknown(),
            self.autoscaler.target
        ));
        if (self.replicas, self.wanted) != before {
            self.replicas_since = Instant::now();
        }
        if self.replicas != before.0 {
            loads.mark(&format!("{} replicas", self.replicas))?;
        }
        Ok(true)
    }

    fn cpu_or_unknown(&self) -> &str {
        if self.cpu.is_empty() { "?" } else { &self.cpu }
    }

    fn readings(&self) -> String {
        let target = self.autoscaler.target;
        format!("CPU at {} % of the request, target {target} %", self.cpu_or_unknown())
    }
}
