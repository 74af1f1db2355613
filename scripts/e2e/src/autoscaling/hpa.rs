//! How many replicas the HorizontalPodAutoscaler wants.

use std::collections::VecDeque;

/// A ratio this near to 1 changes nothing (--horizontal-pod-autoscaler-tolerance).
const TOLERANCE: f64 = 0.1;

/// One reading of one of the metrics of the autoscalers under `deploy/components`.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// CPU in percent of the request, of each pod that is ready; the number of those that are not, or not for long enough.
    Utilization {
        ready: Vec<f64>,
        unready: usize,
        target: f64,
    },
    /// KEDA's `AverageValue`: the sum over all pods.
    Sum { value: f64, per_pod: f64 },
    /// KEDA's `Value`: one number for all pods.
    Value { value: f64, target: f64, ready: usize },
}

impl Reading {
    /// The replicas that this reading asks for, where there are `current`.
    pub fn replicas(&self, current: usize) -> usize {
        match *self {
            Self::Sum { value, per_pod } => match is_tolerated(value / (per_pod * current as f64)) {
                true => current,
                false => whole(value / per_pod),
            },
            Self::Value { value, target, ready } => match is_tolerated(value / target) {
                true => current,
                false => whole(value / target * ready as f64),
            },
            Self::Utilization {
                ref ready,
                unready,
                target,
            } => by_utilization(ready, unready, target, current),
        }
    }
}

fn by_utilization(ready: &[f64], unready: usize, target: f64, current: usize) -> usize {
    if ready.is_empty() {
        return current;
    }
    let sum: f64 = ready.iter().sum();
    let ratio = sum / ready.len() as f64 / target;
    // Pods that are not ready are thought to need nothing, which damps a rise and leaves a fall alone.
    if unready == 0 || ratio <= 1.0 {
        return match is_tolerated(ratio) {
            true => current,
            false => whole(ratio * ready.len() as f64),
        };
    }
    let pods = ready.len() + unready;
    let damped = sum / pods as f64 / target;
    if is_tolerated(damped) || damped < 1.0 {
        return current;
    }
    whole(damped * pods as f64).max(current)
}

fn is_tolerated(ratio: f64) -> bool {
    (ratio - 1.0).abs() <= TOLERANCE
}

fn whole(replicas: f64) -> usize {
    // Less than a thousandth of a pod is an error of rounding.
    (replicas - 1e-3).ceil().max(0.0) as usize
}

/// So much of a change within so many seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Policy {
    Percent(f64, u64),
    Pods(usize, u64),
}

impl Policy {
    fn period(self) -> u64 {
        let (Self::Percent(_, period) | Self::Pods(_, period)) = self;
        period
    }
}

/// One direction of `behavior`. Of several policies the one that allows most counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    pub stabilization: u64,
    pub policies: Vec<Policy>,
}

/// The autoscaler of one Deployment.
#[derive(Debug)]
pub struct Autoscaler {
    pub min: usize,
    pub max: usize,
    pub up: Rules,
    pub down: Rules,
    /// What was wanted when.
    wanted: VecDeque<(u64, usize)>,
    /// By how much the replicas changed when.
    changes: VecDeque<(u64, i64)>,
}

impl Autoscaler {
    pub fn new(min: usize, max: usize, up: Rules, down: Rules) -> Self {
        Self {
            min,
            max,
            up,
            down,
            wanted: VecDeque::new(),
            changes: VecDeque::new(),
        }
    }

    /// The replicas at `now`, in seconds. The largest count that a reading asks for counts.
    pub fn decide(&mut self, now: u64, current: usize, readings: &[Reading]) -> usize {
        let asked = readings.iter().map(|reading| reading.replicas(current)).max();
        let asked = asked.unwrap_or(current);
        let stable = self.stabilized(now, current, asked);
        let limited = match stable.cmp(&current) {
            std::cmp::Ordering::Greater => stable.min(self.most(now, current)),
            std::cmp::Ordering::Less => stable.max(self.fewest(now, current)),
            std::cmp::Ordering::Equal => stable,
        };
        let replicas = limited.clamp(self.min, self.max);
        if replicas != current {
            self.changes.push_back((now, replicas as i64 - current as i64));
        }
        replicas
    }

    /// Up to the least that was wanted within its window, down to the most.
    fn stabilized(&mut self, now: u64, current: usize, asked: usize) -> usize {
        let longest = self.up.stabilization.max(self.down.stabilization);
        self.wanted.retain(|(at, _)| at + longest > now);
        self.wanted.push_back((now, asked));
        let within = |window: u64| {
            self.wanted
                .iter()
                .filter(move |(at, _)| *at == now || at + window > now)
        };
        let least = within(self.up.stabilization).map(|(_, wanted)| *wanted).min();
        let most = within(self.down.stabilization).map(|(_, wanted)| *wanted).max();
        let (least, most) = (least.unwrap_or(asked), most.unwrap_or(asked));
        current.max(least).min(most.max(least))
    }

    /// The replicas that there were `period` seconds ago.
    fn before(&self, now: u64, current: usize, period: u64) -> usize {
        let recent = self.changes.iter().filter(|(at, _)| at + period > now);
        let changed: i64 = recent.map(|(_, change)| change).sum();
        current.saturating_add_signed(-changed as isize)
    }

    fn most(&self, now: u64, current: usize) -> usize {
        let allowed = self.up.policies.iter().map(|policy| {
            let before = self.before(now, current, policy.period());
            match *policy {
                Policy::Percent(percent, _) => whole(before as f64 * (1.0 + percent / 100.0)),
                Policy::Pods(pods, _) => before + pods,
            }
        });
        allowed.max().unwrap_or(usize::MAX).max(current)
    }

    fn fewest(&self, now: u64, current: usize) -> usize {
        let allowed = self.down.policies.iter().map(|policy| {
            let before = self.before(now, current, policy.period());
            match *policy {
                Policy::Percent(percent, _) => (before as f64 * (1.0 - percent / 100.0)) as usize,
                Policy::Pods(pods, _) => before.saturating_sub(pods),
            }
        });
        allowed.min().unwrap_or(0).min(current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utilization(ready: &[f64], unready: usize) -> Reading {
        Reading::Utilization {
            ready: ready.to_vec(),
            unready,
            target: 50.0,
        }
    }

    /// The examples of Kubernetes' documentation, and its rules one by one.
    #[test]
    fn a_reading_asks_for_replicas_by_the_formula() {
        for (reading, current, expected) in [
            (utilization(&[100.0], 0), 1, 2),
            (utilization(&[25.0, 25.0], 0), 2, 1),
            (utilization(&[54.0, 55.0], 0), 2, 2),
            (utilization(&[46.0; 4], 0), 4, 4),
            (utilization(&[100.0, 100.0], 0), 2, 4),
            // Two new pods count as idle: the rise is damped to nothing.
            (utilization(&[100.0, 100.0], 2), 4, 4),
            (utilization(&[200.0, 200.0], 2), 4, 8),
            // They do not make a fall of a rise, nor stop a fall.
            (utilization(&[60.0], 5), 6, 6),
            (utilization(&[20.0, 20.0], 2), 4, 1),
            (utilization(&[], 3), 3, 3),
            (
                Reading::Sum {
                    value: 9.0,
                    per_pod: 2.0,
                },
                2,
                5,
            ),
            (
                Reading::Sum {
                    value: 4.3,
                    per_pod: 2.0,
                },
                2,
                2,
            ),
            (
                Reading::Sum {
                    value: 0.0,
                    per_pod: 2.0,
                },
                3,
                0,
            ),
            (
                Reading::Value {
                    value: 0.6,
                    target: 0.25,
                    ready: 3,
                },
                4,
                8,
            ),
            (
                Reading::Value {
                    value: 0.27,
                    target: 0.25,
                    ready: 3,
                },
                4,
                4,
            ),
        ] {
            assert_eq!(reading.replicas(current), expected, "{reading:?} of {current}");
        }
    }

    fn autoscaler(up: Rules, down: Rules) -> Autoscaler {
        Autoscaler::new(2, 20, up, down)
    }

    fn wants(replicas: f64) -> [Reading; 1] {
        [Reading::Sum {
            value: replicas,
            per_pod: 1.0,
        }]
    }

    fn at_once() -> Rules {
        Rules {
            stabilization: 0,
            policies: vec![Policy::Percent(100.0, 15), Policy::Pods(4, 15)],
        }
    }

    #[test]
    fn the_policy_that_allows_most_limits_a_rise() {
        let mut autoscaler = autoscaler(at_once(), at_once());
        assert_eq!(autoscaler.decide(0, 2, &wants(50.0)), 6, "4 pods are more than 100 %");
        assert_eq!(autoscaler.decide(5, 6, &wants(50.0)), 6, "still the same period");
        assert_eq!(autoscaler.decide(15, 6, &wants(50.0)), 12, "100 % are more than 4 pods");
        assert_eq!(autoscaler.decide(30, 12, &wants(50.0)), 20, "the maximum");
    }

    #[test]
    fn a_fall_waits_for_its_window_and_then_goes_by_its_policy() {
        let down = Rules {
            stabilization: 60,
            policies: vec![Policy::Percent(25.0, 60)],
        };
        let mut autoscaler = autoscaler(at_once(), down);
        assert_eq!(autoscaler.decide(0, 16, &wants(16.0)), 16);
        for now in (15..60).step_by(15) {
            assert_eq!(autoscaler.decide(now, 16, &wants(2.0)), 16, "{now}");
        }
        assert_eq!(autoscaler.decide(60, 16, &wants(2.0)), 12);
        assert_eq!(autoscaler.decide(75, 12, &wants(2.0)), 12);
        assert_eq!(autoscaler.decide(120, 12, &wants(2.0)), 9);
    }

    #[test]
    fn a_rise_can_be_stabilized_too() {
        let up = Rules {
            stabilization: 30,
            ..at_once()
        };
        let mut autoscaler = autoscaler(up, at_once());
        assert_eq!(autoscaler.decide(0, 2, &wants(2.0)), 2);
        assert_eq!(autoscaler.decide(15, 2, &wants(5.0)), 2);
        assert_eq!(autoscaler.decide(30, 2, &wants(4.0)), 4);
    }

    #[test]
    fn the_reading_that_asks_for_most_counts_and_the_limits_hold() {
        let mut autoscaler = autoscaler(at_once(), at_once());
        let [low, high] = [wants(1.0), wants(4.0)];
        assert_eq!(autoscaler.decide(0, 3, &[low[0].clone(), high[0].clone()]), 4);
        assert_eq!(autoscaler.decide(15, 3, &[]), 3);
        assert_eq!(autoscaler.decide(30, 3, &wants(0.0)), 2);
    }
}
