//! The table that says which autoscaling is for which model: a tenfold step of the load, computed with the numbers of the manifests.

use e2e::autoscaling::hpa::{Policy, Rules};
use e2e::autoscaling::service::Pod;
use e2e::autoscaling::step::{Scenario, Signal};
use e2e::manifests::{compose, find, list, text};
use shared::test_util::docs::Table;
use yaml_rust2::Yaml;

/// How often each row is run; its figures are means.
const RUNS: u64 = 15;
/// Seconds of CPU of one request: a network of some size, and one ten times as small.
const COSTS: [f64; 2] = [0.02, 0.002];
/// The load before the step, as a part of what the fewest pods can do.
const LOAD: f64 = 0.3;

fn number(value: &Yaml) -> f64 {
    let written = text(value);
    written.parse().unwrap_or_else(|_| panic!("{written:?} is no number"))
}

fn cpus(value: &Yaml) -> f64 {
    let written = text(value);
    match written.strip_suffix('m') {
        Some(milli) => milli.parse::<f64>().expect("millicores") / 1000.0,
        None => written.parse().expect("cores"),
    }
}

fn rules(behavior: &Yaml) -> Rules {
    let policy = |policy: &Yaml| {
        let (value, period) = (number(&policy["value"]), number(&policy["periodSeconds"]) as u64);
        match text(&policy["type"]).as_str() {
            "Percent" => Policy::Percent(value, period),
            _ => Policy::Pods(value as usize, period),
        }
    };
    Rules {
        stabilization: number(&behavior["stabilizationWindowSeconds"]) as u64,
        policies: list(&behavior["policies"]).iter().map(policy).collect(),
    }
}

/// ml-inference of the base with the autoscaler of the component autoscaling, and with that of keda.
struct Deployed {
    by_cpu: Scenario,
    /// Without signals: it has two, of which a row may leave one out.
    by_requests: Scenario,
    in_flight: Signal,
    queue_wait: Signal,
}

impl Deployed {
    fn read(cpu_of_request: f64) -> Self {
        let by_cpu = compose(&["deploy/base"], &["deploy/components/autoscaling"], "mlops-lab");
        let resources =
            &find(&by_cpu, "Deployment", "ml-inference")["spec"]["template"]["spec"]["containers"][0]["resources"];
        let config = &find(&by_cpu, "ConfigMap", "ml-config")["data"];
        let pod = Pod {
            cpu_request: cpus(&resources["requests"]["cpu"]),
            cpu_limit: cpus(&resources["limits"]["cpu"]),
            compute_threads: number(&config["TENSORFLOW_INTER_OP_PARALLELISM"]) as usize,
            // The default.
            max_queue: 256,
            start: 5.0,
            cpu_of_request,
        };
        let hpa = &find(&by_cpu, "HorizontalPodAutoscaler", "ml-inference-hpa")["spec"];
        let min = number(&hpa["minReplicas"]) as usize;
        let before = LOAD * pod.capacity() * min as f64;
        let target = &hpa["metrics"][0]["resource"]["target"]["averageUtilization"];
        let by_requests = compose(&["deploy/base"], &["deploy/components/keda"], "mlops-lab");
        let keda = &find(&by_requests, "ScaledObject", "ml-inference")["spec"];
        let behavior = |spec: &Yaml| {
            (
                rules(&spec["behavior"]["scaleUp"]),
                rules(&spec["behavior"]["scaleDown"]),
            )
        };
        let (up, down) = behavior(hpa);
        let by_cpu = Scenario {
            pod,
            min,
            max: number(&hpa["maxReplicas"]) as usize,
            up,
            down,
            signals: vec![Signal::Cpu(number(target))],
            before,
            after: 10.0 * before,
        };
        let (up, down) = behavior(&keda["advanced"]["horizontalPodAutoscalerConfig"]);
        let threshold = |name: &str| {
            let triggers = list(&keda["triggers"]);
            let trigger = triggers.iter().find(|trigger| text(&trigger["name"]) == name);
            number(&trigger.expect("the trigger is there")["metadata"]["threshold"])
        };
        Self {
            by_requests: Scenario {
                min: number(&keda["minReplicaCount"]) as usize,
                max: number(&keda["maxReplicaCount"]) as usize,
                up,
                down,
                signals: Vec::new(),
                ..by_cpu.clone()
            },
            by_cpu,
            in_flight: Signal::InFlight(threshold("in-flight")),
            queue_wait: Signal::QueueWait(threshold("queue-wait")),
        }
    }

    /// The rows: by CPU as it is deployed and with a request as high as the limit; by requests.
    fn scenarios(&self) -> [Scenario; 5] {
        let mut guaranteed = self.by_cpu.clone();
        guaranteed.pod.cpu_request = guaranteed.pod.cpu_limit;
        let by = |signals: &[Signal]| Scenario {
            signals: signals.to_vec(),
            ..self.by_requests.clone()
        };
        [
            self.by_cpu.clone(),
            guaranteed,
            by(&[self.in_flight]),
            by(&[self.queue_wait]),
            by(&[self.in_flight, self.queue_wait]),
        ]
    }
}

/// One row a signal and kind of pod.
pub(super) fn table() -> Table {
    let mut table = Table::new([
        "CPU of a request",
        "CPU request and limit",
        "Autoscaler looks at",
        "Replicas before",
        "Enough pods after",
        "Longest wait",
        "Answered 503",
        "Replicas 10 min later",
    ]);
    for cost in COSTS {
        for scenario in Deployed::read(cost).scenarios() {
            let outcome = scenario.outcome(RUNS);
            let looks_at: Vec<String> = scenario.signals.iter().map(named).collect();
            let millicores = |cpus: f64| format!("{:.0}m", cpus * 1000.0);
            table.row([
                format!("{:.0} ms", cost * 1000.0),
                format!(
                    "{}, {}",
                    millicores(scenario.pod.cpu_request),
                    millicores(scenario.pod.cpu_limit)
                ),
                looks_at.join("; "),
                format!("{:.1}", outcome.replicas_before),
                format!("{:.0} s", outcome.enough_after),
                format!("{:.0} s", outcome.longest_wait),
                format!("{:.1} %", outcome.rejected),
                format!("{:.1}", outcome.replicas_after),
            ]);
        }
    }
    table
}

fn named(signal: &Signal) -> String {
    match signal {
        Signal::Cpu(target) => format!("CPU, {target} %"),
        Signal::InFlight(per_pod) => format!("in flight, {per_pod}"),
        Signal::QueueWait(target) => format!("queue wait, {target} s"),
    }
}
