//! The rate of the heavy load: what takes each pod to twice the autoscaler's target, but not near its limit, where requests would pile up.

use crate::cluster::Cluster;
use crate::error::{AutoscalingError, Error};
use crate::terminal::note;

/// Answers of /metrics that are looked at: each is of another pod.
const LOOKS: usize = 8;
/// The part of its limit that a pod uses at most, and the multiple of the target that it has to reach for the autoscaler to react.
const OF_LIMIT: f64 = 0.8;
const OF_TARGET: f64 = 1.2;

const SUM: &str = "ml_inference_inference_duration_seconds_sum{model=\"mlp\"} ";
const COUNT: &str = "ml_inference_inference_duration_seconds_count{model=\"mlp\"} ";

pub(super) async fn choose(cluster: &Cluster, replicas: u32, target: u32) -> Result<u32, Error> {
    let no_cost = || AutoscalingError::NoCost {
        url: cluster.url.clone(),
    };
    let cost = row_cost(cluster).await.ok_or_else(no_cost)?;
    let resources = ".spec.template.spec.containers[?(@.name==\"ml-model\")].resources";
    let path = format!("jsonpath={{{resources}.requests.cpu}}|{{{resources}.limits.cpu}}");
    let cpus = cluster
        .kubectl
        .read(&["get", "deployment", "ml-inference", "-o", &path])
        .await?;
    let no_room = || AutoscalingError::NoRoom {
        cpus: cpus.replacen('|', ", ", 1),
        target,
    };
    let chosen = Rate::for_pods(&cpus, replicas, target, cost).ok_or_else(no_room)?;
    note(format_args!(
        "a row takes {cost:.1} ms: {} a second take {}m of CPU from each of {replicas} pods, which request {}m",
        chosen.per_second, chosen.each, chosen.request
    ));
    Ok(chosen.per_second)
}

/// The milliseconds that a row takes in the model, as the pods measure it. The least: waiting for a CPU counts too.
async fn row_cost(cluster: &Cluster) -> Option<f64> {
    let url = format!("{}/metrics", cluster.url);
    let mut least: Option<f64> = None;
    for _ in 0..LOOKS {
        let cost = cluster.probe.text(&url).await.and_then(|metrics| cost_in(&metrics));
        least = match (least, cost) {
            (Some(least), Some(cost)) => Some(least.min(cost)),
            (least, cost) => least.or(cost),
        };
    }
    least
}

fn cost_in(metrics: &str) -> Option<f64> {
    let value = |name| {
        metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok())
    };
    let (sum, count) = (value(SUM)?, value(COUNT)?);
    (count > 0.0).then(|| sum / count * 1000.0)
}

#[derive(Debug, PartialEq, Eq)]
struct Rate {
    per_second: u32,
    /// Thousandths of a CPU that each pod takes, and those that it requests.
    each: u32,
    request: u32,
}

impl Rate {
    /// `cpus` is a pod's request and limit, as "50m|100m"; `cost` a row's milliseconds. `None` when there is no room above the target.
    fn for_pods(cpus: &str, replicas: u32, target: u32, cost: f64) -> Option<Self> {
        let (request, limit) = cpus.split_once('|')?;
        let (request, limit) = (thousandths(request), thousandths(limit));
        let aim = request * f64::from(target) / 100.0;
        let most = if limit > 0.0 { OF_LIMIT * limit } else { f64::INFINITY };
        let each = (2.0 * aim).min(most);
        (each > OF_TARGET * aim).then(|| Self {
            per_second: whole(each * f64::from(replicas) / cost + 1.0),
            each: whole(each),
            request: whole(request),
        })
    }
}

/// Thousandths of a CPU: 50 of "50m", 500 of "0.5", 0 of nothing.
fn thousandths(cpu: &str) -> f64 {
    let (number, factor) = cpu.strip_suffix('m').map_or((cpu, 1000.0), |number| (number, 1.0));
    number.parse().map_or(0.0, |number: f64| number * factor)
}

fn whole(number: f64) -> u32 {
    // Rates and CPUs are far below the largest.
    number as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pod_is_taken_to_twice_the_target() {
        let rate = Rate::for_pods("50m|100m", 3, 50, 2.6);
        let expected = Rate {
            per_second: 58,
            each: 50,
            request: 50,
        };
        assert_eq!(rate, Some(expected));
    }

    #[test]
    fn a_pod_stays_below_its_limit_or_there_is_no_rate() {
        let rate = Rate::for_pods("0.5|500m", 2, 60, 2.0).expect("room");
        assert_eq!((rate.each, rate.request), (400, 500));
        assert_eq!(Rate::for_pods("500m|500m", 2, 80, 2.0), None);
        assert_eq!(Rate::for_pods("|", 2, 80, 2.0), None);
        assert!(Rate::for_pods("100m|", 2, 80, 2.0).is_some());
    }

    #[test]
    fn the_cost_of_a_row_is_read_from_the_metrics() {
        let metrics = format!("# HELP\n{SUM}0.52\n{COUNT}200\n");
        assert_eq!(cost_in(&metrics).map(|cost| (cost * 10.0).round()), Some(26.0));
        assert_eq!(cost_in(&format!("{SUM}0\n{COUNT}0\n")), None);
        assert_eq!(cost_in(""), None);
    }
}
