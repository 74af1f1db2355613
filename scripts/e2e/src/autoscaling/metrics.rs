//! What metrics-server and Prometheus say of the pods: samples in the past, averages over windows.

use std::collections::VecDeque;

use super::hpa::Reading;
use super::service::{Running, Service};

/// Seconds between two samples of metrics-server, over which its CPU is an average too, and of Prometheus.
pub(super) const INTERVAL: u64 = 15;
/// The window of the rules under deploy/components.
const WINDOW: u64 = 60;

/// One pod's counters at one time.
#[derive(Debug, Clone, Copy)]
struct Sample {
    pod: usize,
    cpu_seconds: f64,
    in_flight: f64,
    queue_seconds: f64,
    left_queue: f64,
}

/// Samples of the last [`WINDOW`], with their times.
#[derive(Debug, Default)]
pub(super) struct Scraped(VecDeque<(u64, Vec<Sample>)>);

impl Scraped {
    pub(super) fn scrape(&mut self, now: u64, service: &Service) {
        // A pod that is not ready is scraped too, and has nothing in flight.
        let sample = |pod: &Running| Sample {
            pod: pod.number,
            cpu_seconds: pod.cpu_seconds,
            in_flight: pod.in_flight() as f64,
            queue_seconds: pod.queue_seconds,
            left_queue: pod.left_queue,
        };
        self.0.push_back((now, service.pods.iter().map(sample).collect()));
        self.0.retain(|(at, _)| at + WINDOW >= now);
    }

    fn of_pod(&self, pod: usize, from: u64) -> impl Iterator<Item = &Sample> {
        let recent = self.0.iter().filter(move |(at, _)| *at >= from);
        recent.flat_map(move |(_, samples)| samples.iter().find(|sample| sample.pod == pod))
    }

    /// CPU of the request. A pod counts once it has been ready for one interval of metrics-server.
    pub(super) fn utilization(&self, now: f64, service: &Service, target: f64) -> Reading {
        let latest = self.0.back().map_or(0, |(at, _)| *at);
        let mut ready = Vec::new();
        for pod in service.ready(now - INTERVAL as f64) {
            let mut samples = self.of_pod(pod.number, latest.saturating_sub(INTERVAL));
            if let (Some(first), Some(last)) = (samples.next(), samples.last()) {
                let used = (last.cpu_seconds - first.cpu_seconds) / INTERVAL as f64;
                ready.push(used / service.pod.cpu_request * 100.0);
            }
        }
        Reading::Utilization {
            unready: service.pods.len() - ready.len(),
            ready,
            target,
        }
    }

    /// `sum(avg_over_time(…_requests_in_flight[1m]))`
    pub(super) fn in_flight(&self, service: &Service, per_pod: f64) -> Reading {
        let (_, latest) = match self.0.back() {
            Some(latest) => latest,
            None => {
                return Reading::Sum {
                    value: service.pods.len() as f64 * per_pod,
                    per_pod,
                };
            }
        };
        let average = |sample: &Sample| {
            let of_pod = || self.of_pod(sample.pod, 0);
            of_pod().map(|sample| sample.in_flight).sum::<f64>() / of_pod().count() as f64
        };
        Reading::Sum {
            value: latest.iter().map(average).sum(),
            per_pod,
        }
    }

    /// `sum(rate(…_queue_seconds_sum[1m])) / (sum(rate(…_queue_seconds_count[1m])) > 0) or vector(0)`
    pub(super) fn queue_wait(&self, now: f64, service: &Service, target: f64) -> Reading {
        let (mut waited, mut left) = (0.0, 0.0);
        for pod in &service.pods {
            let mut samples = self.of_pod(pod.number, 0);
            if let (Some(first), Some(last)) = (samples.next(), samples.last()) {
                waited += last.queue_seconds - first.queue_seconds;
                left += last.left_queue - first.left_queue;
            }
        }
        Reading::Value {
            value: if left > 0.0 { waited / left } else { 0.0 },
            target,
            ready: service.ready(now).count(),
        }
    }
}
