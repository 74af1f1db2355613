//! A Deployment of ml-inference under requests that arrive at random, in steps of [`TICK`].

use std::collections::VecDeque;

/// Seconds of one step.
pub(super) const TICK: f64 = 0.01;

/// What one pod can do, and what one request needs.
#[derive(Debug, Clone, Copy)]
pub struct Pod {
    /// CPUs that the pod asks for, and may use.
    pub cpu_request: f64,
    pub cpu_limit: f64,
    pub compute_threads: usize,
    /// Requests that wait for a compute thread; further ones are answered 503.
    pub max_queue: usize,
    /// Seconds from its creation to ready.
    pub start: f64,
    /// Seconds of CPU that a request needs.
    pub cpu_of_request: f64,
}

impl Pod {
    /// Requests a second of a busy pod.
    pub fn capacity(&self) -> f64 {
        self.cpu_limit.min(self.compute_threads as f64) / self.cpu_of_request
    }
}

/// One pod that runs, with what its counters say since its start.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) number: usize,
    pub(super) ready_at: f64,
    /// CPU that each request on a compute thread still needs.
    computing: Vec<f64>,
    /// When each waiting request came.
    waiting: VecDeque<f64>,
    pub(super) cpu_seconds: f64,
    pub(super) queue_seconds: f64,
    pub(super) left_queue: f64,
}

impl Running {
    fn new(number: usize, ready_at: f64) -> Self {
        Self {
            number,
            ready_at,
            computing: Vec::new(),
            waiting: VecDeque::new(),
            cpu_seconds: 0.0,
            queue_seconds: 0.0,
            left_queue: 0.0,
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.computing.len() + self.waiting.len()
    }
}

/// The pods behind a gateway that sends each request to the one with the fewest in flight.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) pod: Pod,
    pub(super) pods: Vec<Running>,
    made: usize,
    random: fastrand::Rng,
    pub(super) rejected: usize,
    pub(super) longest_wait: f64,
}

impl Service {
    /// With `replicas` that have been ready for long.
    pub(super) fn new(pod: Pod, replicas: usize, seed: u64) -> Self {
        let mut service = Self {
            pod,
            pods: Vec::new(),
            made: 0,
            random: fastrand::Rng::with_seed(seed),
            rejected: 0,
            longest_wait: 0.0,
        };
        service.scale(replicas, f64::NEG_INFINITY);
        service
    }

    /// New pods take their time; the youngest go first, and finish elsewhere what they have.
    pub(super) fn scale(&mut self, replicas: usize, now: f64) {
        while self.pods.len() < replicas {
            self.pods.push(Running::new(self.made, now + self.pod.start));
            self.made += 1;
        }
        self.pods.truncate(replicas);
    }

    pub(super) fn ready(&self, now: f64) -> impl Iterator<Item = &Running> {
        self.pods.iter().filter(move |pod| pod.ready_at <= now)
    }

    /// One step at `now` with `rate` requests a second.
    pub(super) fn step(&mut self, now: f64, rate: f64) {
        let mut arrivals = rate * TICK;
        // A Poisson process in steps: the pauses between arrivals are exponential.
        loop {
            arrivals += self.random.f64().max(f64::MIN_POSITIVE).ln();
            if arrivals < 0.0 {
                break;
            }
            self.arrive(now);
        }
        for pod in &mut self.pods {
            compute(pod, &self.pod, now, &mut self.longest_wait);
        }
    }

    fn arrive(&mut self, now: f64) {
        let most = self.pod.compute_threads + self.pod.max_queue;
        let ready = self.pods.iter_mut().filter(|pod| pod.ready_at <= now);
        match ready.min_by_key(|pod| pod.in_flight()) {
            Some(pod) if pod.in_flight() < most => pod.waiting.push_back(now),
            _ => self.rejected += 1,
        }
    }
}

/// The compute threads of one pod share its CPUs.
fn compute(pod: &mut Running, terms: &Pod, now: f64, longest_wait: &mut f64) {
    let mut left = terms.cpu_limit * TICK;
    let mut of_threads = vec![TICK; terms.compute_threads];
    while left > 1e-12 {
        while pod.computing.len() < terms.compute_threads
            && let Some(came) = pod.waiting.pop_front()
        {
            pod.computing.push(terms.cpu_of_request);
            let waited = now - came;
            pod.queue_seconds += waited;
            pod.left_queue += 1.0;
            *longest_wait = longest_wait.max(waited);
        }
        let share = left / pod.computing.len().max(1) as f64;
        let mut used = 0.0;
        for (needed, time) in pod.computing.iter_mut().zip(&mut of_threads) {
            let part = needed.min(share).min(*time);
            *needed -= part;
            *time -= part;
            used += part;
        }
        if used <= 1e-12 {
            break;
        }
        left -= used;
        pod.cpu_seconds += used;
        pod.computing.retain(|needed| *needed > 1e-12);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: Pod = Pod {
        cpu_request: 0.05,
        cpu_limit: 0.5,
        compute_threads: 2,
        max_queue: 3,
        start: 5.0,
        cpu_of_request: 0.1,
    };

    fn run(service: &mut Service, from: f64, seconds: f64, rate: f64) {
        let steps = (seconds / TICK) as usize;
        for step in 0..steps {
            service.step(from + step as f64 * TICK, rate);
        }
    }

    #[test]
    fn a_busy_pod_uses_its_limit_and_answers_at_its_capacity() {
        let mut service = Service::new(POD, 1, 1);
        run(&mut service, 0.0, 200.0, 50.0);
        let pod = &service.pods[0];
        assert!((pod.cpu_seconds - 100.0).abs() < 1.0, "{}", pod.cpu_seconds);
        assert!(
            (pod.left_queue / 200.0 - POD.capacity()).abs() < 0.1,
            "{}",
            pod.left_queue
        );
        assert_eq!(pod.in_flight(), 5, "two compute, three wait");
        assert!(service.rejected > 8000, "{}", service.rejected);
        // Five requests in flight at five a second: three of them wait for 0.6 s.
        assert!((0.5..0.8).contains(&service.longest_wait), "{}", service.longest_wait);
    }

    #[test]
    fn an_idle_one_answers_all_without_a_wait_to_speak_of() {
        let mut service = Service::new(POD, 4, 2);
        run(&mut service, 0.0, 500.0, 2.0);
        assert_eq!(service.rejected, 0);
        let (waited, left): (f64, f64) = service.pods.iter().fold((0.0, 0.0), |(waited, left), pod| {
            (waited + pod.queue_seconds, left + pod.left_queue)
        });
        assert!((left / 1000.0 - 1.0).abs() < 0.1, "{left}");
        assert!(waited / left < 0.01, "{waited}");
    }

    #[test]
    fn a_new_pod_takes_its_time() {
        let mut service = Service::new(POD, 1, 3);
        service.scale(3, 10.0);
        assert_eq!((service.ready(14.9).count(), service.ready(15.0).count()), (1, 3));
        service.scale(2, 20.0);
        assert_eq!(service.pods.last().expect("a pod").number, 1);
    }
}
