//! One run: a load for long enough to settle, then another, and what came of it.

use super::hpa::{Autoscaler, Reading, Rules};
use super::metrics::{INTERVAL, Scraped};
use super::service::{Pod, Service, TICK};

/// Seconds between two looks of the autoscaler (--horizontal-pod-autoscaler-sync-period).
const LOOK: u64 = 15;
/// Seconds before and after the step.
const BEFORE: u64 = 600;
const AFTER: u64 = 600;

/// What the autoscaler looks at. Of several the largest count is taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Signal {
    /// Percent of the CPU request.
    Cpu(f64),
    /// Requests in flight of one pod.
    InFlight(f64),
    /// Seconds of waiting for a compute thread.
    QueueWait(f64),
}

/// A Deployment with its autoscaler, and the load before and after.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub pod: Pod,
    pub min: usize,
    pub max: usize,
    pub up: Rules,
    pub down: Rules,
    pub signals: Vec<Signal>,
    /// Requests a second.
    pub before: f64,
    pub after: f64,
}

/// What came of it; means over several runs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Outcome {
    /// Replicas when the step comes.
    pub replicas_before: f64,
    /// Seconds from the step until the ready pods can do the new load.
    pub enough_after: f64,
    /// Seconds that a request waited at most for a compute thread.
    pub longest_wait: f64,
    /// Percent of the requests after the step that were answered 503.
    pub rejected: f64,
    /// Replicas ten minutes after the step.
    pub replicas_after: f64,
}

impl Scenario {
    /// The means of `runs` runs, which differ in when requests arrive and in when the autoscaler looks.
    ///
    /// # Panics
    /// When a run ends before there were enough pods.
    pub fn outcome(&self, runs: u64) -> Outcome {
        let mut mean = Outcome::default();
        for seed in 0..runs {
            let run = self.run(seed);
            let share = |sum: &mut f64, value: f64| *sum += value / runs as f64;
            share(&mut mean.replicas_before, run.replicas_before);
            share(&mut mean.enough_after, run.enough_after);
            share(&mut mean.longest_wait, run.longest_wait);
            share(&mut mean.rejected, run.rejected);
            share(&mut mean.replicas_after, run.replicas_after);
        }
        mean
    }

    fn run(&self, seed: u64) -> Outcome {
        let mut service = Service::new(self.pod, self.min, seed);
        let mut autoscaler = Autoscaler::new(self.min, self.max, self.up.clone(), self.down.clone());
        let mut scraped = Scraped::default();
        let mut outcome = Outcome::default();
        let mut enough_after = None;
        // Nothing says how the three clocks lie to each other.
        let (scrape_at, look_at) = (seed % INTERVAL, seed.wrapping_mul(7) % LOOK);
        for second in 0..BEFORE + AFTER {
            if second == BEFORE {
                outcome.replicas_before = service.pods.len() as f64;
                (service.longest_wait, service.rejected) = (0.0, 0);
            }
            if second % INTERVAL == scrape_at {
                scraped.scrape(second, &service);
            }
            if second % LOOK == look_at {
                let readings = self.read(second as f64, &scraped, &service);
                let replicas = autoscaler.decide(second, service.pods.len(), &readings);
                service.scale(replicas, second as f64);
            }
            let rate = if second < BEFORE { self.before } else { self.after };
            for step in 0..(1.0 / TICK) as usize {
                service.step(second as f64 + step as f64 * TICK, rate);
            }
            let capacity = service.ready((second + 1) as f64).count() as f64 * self.pod.capacity();
            if second >= BEFORE && capacity >= self.after {
                enough_after.get_or_insert((second - BEFORE) as f64);
            }
        }
        outcome.enough_after = enough_after.expect("there were enough pods in the end");
        outcome.longest_wait = service.longest_wait;
        outcome.rejected = service.rejected as f64 / (self.after * AFTER as f64) * 100.0;
        outcome.replicas_after = service.pods.len() as f64;
        outcome
    }

    fn read(&self, now: f64, scraped: &Scraped, service: &Service) -> Vec<Reading> {
        let reading = |signal: &Signal| match *signal {
            Signal::Cpu(target) => scraped.utilization(now, service, target),
            Signal::InFlight(per_pod) => scraped.in_flight(service, per_pod),
            Signal::QueueWait(target) => scraped.queue_wait(now, service, target),
        };
        self.signals.iter().map(reading).collect()
    }
}
