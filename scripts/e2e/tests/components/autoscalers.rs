//! Components that scale: by CPU, or by requests with KEDA or with prometheus-adapter.

use std::collections::BTreeMap;

use e2e::manifests::{compose, find, list, load, text};
use e2e::repository;
use shared::test_util::docs::sources;
use yaml_rust2::Yaml;

use crate::{PLACES, of_kind};

const AUTOSCALING: &str = "deploy/components/autoscaling";
const KEDA: &str = "deploy/components/keda";
const ADAPTER: &str = "deploy/components/prometheus-adapter";

/// Everything that scales, on every place that it fits.
fn scaled() -> Vec<(String, &'static str, Vec<Yaml>)> {
    let mut all = Vec::new();
    for (place, namespace) in PLACES {
        // prod has the autoscaling component in it.
        let by_cpu: &[&str] = match place {
            "deploy/overlays/prod" => &[],
            _ => &[AUTOSCALING],
        };
        for components in [
            by_cpu.to_vec(),
            vec![KEDA],
            [by_cpu, &[KEDA]].concat(),
            [by_cpu, &[ADAPTER]].concat(),
        ] {
            let objects = compose(&[place], &components, namespace);
            all.push((format!("{} on {place}", components.join(" and ")), namespace, objects));
        }
    }
    all
}

/// Two that scale the same Deployment undo each other's work; KEDA's webhook refuses, the HPA controller does not.
#[test]
fn one_autoscaler_owns_each_deployment_and_nobody_else_its_count() {
    for (what, namespace, objects) in scaled() {
        let mut owners: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for kind in ["HorizontalPodAutoscaler", "ScaledObject"] {
            for owner in of_kind(&objects, kind) {
                let target = text(&owner["spec"]["scaleTargetRef"]["name"]);
                owners.entry(target).or_default().push(kind.to_owned());
                assert_eq!(text(&owner["metadata"]["namespace"]), namespace, "{what}");
            }
        }
        let deployments: Vec<String> = of_kind(&objects, "Deployment")
            .iter()
            .map(|deployment| text(&deployment["metadata"]["name"]))
            .collect();
        assert_eq!(owners.keys().cloned().collect::<Vec<_>>(), deployments, "{what}");
        for (target, owners) in &owners {
            assert_eq!(owners.len(), 1, "{what}: {target} is scaled by {owners:?}");
            let replicas = &find(&objects, "Deployment", target)["spec"]["replicas"];
            assert!(replicas.is_badvalue(), "{what}: every apply sets {target} back");
        }
    }
}

/// A cluster that has the HPAs of the autoscaling component keeps scaling while KEDA takes over: it has to name them.
#[test]
fn keda_takes_over_the_autoscalers_that_are_there() {
    let by_cpu = compose(&["deploy/base"], &[AUTOSCALING], "mlops-lab");
    let by_keda = compose(&["deploy/base"], &[KEDA], "mlops-lab");
    for hpa in of_kind(&by_cpu, "HorizontalPodAutoscaler") {
        let target = text(&hpa["spec"]["scaleTargetRef"]["name"]);
        let scaled = find(&by_keda, "ScaledObject", &target);
        let annotation = &scaled["metadata"]["annotations"]["scaledobject.keda.sh/transfer-hpa-ownership"];
        assert_eq!(text(annotation), "true");
        let spec = &scaled["spec"];
        let named = &spec["advanced"]["horizontalPodAutoscalerConfig"]["name"];
        assert_eq!(named, &hpa["metadata"]["name"]);
        assert_eq!(spec["minReplicaCount"], hpa["spec"]["minReplicas"]);
        assert_eq!(spec["maxReplicaCount"], hpa["spec"]["maxReplicas"]);
    }
}

/// What follows `key` in a query, up to the next quotation mark.
fn values<'a>(query: &'a str, key: &str) -> Vec<&'a str> {
    let parts = query.split(key).skip(1);
    parts.filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn kedas_queries_are_of_the_namespace_that_they_scale() {
    for (place, namespace) in PLACES {
        let objects = compose(&[place], &[KEDA], namespace);
        let mut queries = 0;
        for scaled in of_kind(&objects, "ScaledObject") {
            for trigger in list(&scaled["spec"]["triggers"]) {
                let query = text(&trigger["metadata"]["query"]);
                let of = values(&query, "namespace=\"");
                assert_eq!(of, vec![namespace; query.matches('{').count()], "{place}: {query}");
                queries += usize::from(!query.is_empty());
                for cluster in values(&query, "cluster=\"") {
                    let gateway = text(&find(&objects, "ConfigMap", "gateway-config")["data"]["gateway.yaml"]);
                    assert!(gateway.contains(&format!("- name: {cluster}\n")), "{cluster}");
                }
            }
        }
        assert_eq!(queries, 3, "{place}");
    }
}

/// Names of our metrics in a text.
fn metrics_in(text: &str) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(|c| !is_name(c));
    let ours = words.filter(|word| word.starts_with("ml_inference_") || word.starts_with("gateway_"));
    let base = |word: &str| {
        let histogram = word.strip_suffix("_sum").or_else(|| word.strip_suffix("_count"));
        histogram.unwrap_or(word).to_owned()
    };
    ours.map(base).collect()
}

#[test]
fn every_metric_that_scales_is_one_of_the_services() {
    let mut known = String::new();
    for directory in ["gateway/src", "ml-inference/src"] {
        for source in sources(&repository().join(directory)) {
            known += &std::fs::read_to_string(source).expect("UTF-8");
        }
    }
    let mut named = Vec::new();
    for file in ["keda/ml-scaledobject.yaml", "keda/gateway-scaledobject.yaml"] {
        for trigger in list(&load(&repository().join("deploy/components").join(file))[0]["spec"]["triggers"]) {
            named.extend(metrics_in(&text(&trigger["metadata"]["query"])));
        }
    }
    for rule in list(&adapters_values()["rules"]["custom"]) {
        named.extend(metrics_in(&text(&rule["seriesQuery"])));
        named.extend(metrics_in(&text(&rule["metricsQuery"])));
    }
    assert!(named.len() >= 8, "{named:?}");
    for metric in named {
        assert!(known.contains(&format!("\"{metric}\"")), "no service has {metric}");
    }
}

fn adapters_values() -> Yaml {
    load(&repository().join(ADAPTER).join("rules.yaml")).remove(0)
}

/// The HPA asks for a metric of pods; the adapter has it only by a rule.
#[test]
fn the_adapter_has_a_rule_for_every_metric_of_pods() {
    let values = adapters_values();
    let rules = list(&values["rules"]["custom"]);
    let mut asked = Vec::new();
    for (place, namespace) in [PLACES[0], PLACES[3]] {
        let before: &[&str] = if place == "deploy/base" { &[AUTOSCALING] } else { &[] };
        let by_cpu = compose(&[place], before, namespace);
        let objects = compose(&[place], &[before, &[ADAPTER]].concat(), namespace);
        for hpa in of_kind(&objects, "HorizontalPodAutoscaler") {
            let bounds = &find(&by_cpu, "HorizontalPodAutoscaler", &text(&hpa["metadata"]["name"]))["spec"];
            for bound in ["minReplicas", "maxReplicas"] {
                assert_eq!(hpa["spec"][bound], bounds[bound], "{place}: the overlay's bounds stay");
            }
            let metrics = list(&hpa["spec"]["metrics"]).iter();
            asked.extend(metrics.filter_map(|metric| metric["pods"]["metric"]["name"].as_str().map(str::to_owned)));
        }
    }
    assert_eq!(asked.len(), 4, "{asked:?}");
    for metric in asked {
        let mut having = rules.iter().filter(|rule| text(&rule["seriesQuery"]).contains(&metric));
        let rule = having.next().unwrap_or_else(|| panic!("no rule gives {metric}"));
        for label in ["namespace", "pod"] {
            assert_eq!(text(&rule["resources"]["overrides"][label]["resource"]), label);
        }
        let query = text(&rule["metricsQuery"]);
        for part in ["<<.LabelMatchers>>", "by (<<.GroupBy>>)"] {
            assert!(query.contains(part), "{query}");
        }
    }
}

/// A wrong order is an error of kustomize, not an HPA by CPU.
#[test]
#[should_panic(expected = "no matches for Id HorizontalPodAutoscaler")]
fn prometheus_adapter_without_autoscaling_does_not_render() {
    compose(&["deploy/base"], &[ADAPTER], "mlops-lab");
}
