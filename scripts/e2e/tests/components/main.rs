//! The components under `deploy/components` on what they are for: the base and each overlay. Needs `kubectl` to render.
//!
//! ```text
//! ab.rs           ab: two versions side by side
//! autoscalers.rs  autoscaling, keda and prometheus-adapter: one autoscaler a Deployment
//! custom.rs       the fields of kinds that are not Kubernetes' own, as far as components use them
//! front.rs        ingress and gateway-api: TLS in front of the gateway
//! namespaces.rs   the environments on one cluster
//! network.rs      network-policy: who may reach whom
//! ```

mod ab;
mod autoscalers;
mod custom;
mod front;
mod namespaces;
mod network;

use e2e::manifests::text;
use yaml_rust2::Yaml;

/// What a component may be laid on, and its namespace.
const PLACES: [(&str, &str); 4] = [
    ("deploy/base", "mlops-lab"),
    ("deploy/overlays/dev", "mlops-lab-dev"),
    ("deploy/overlays/staging", "mlops-lab-staging"),
    ("deploy/overlays/prod", "mlops-lab-prod"),
];

fn of_kind<'a>(objects: &'a [Yaml], kind: &str) -> Vec<&'a Yaml> {
    objects.iter().filter(|object| text(&object["kind"]) == kind).collect()
}

/// Seconds as Kubernetes and its like write them: a number, or a duration in seconds or minutes.
fn seconds(value: &Yaml) -> f64 {
    let written = text(value);
    let (number, factor) = match (written.strip_suffix('s'), written.strip_suffix('m')) {
        (Some(number), _) => (number, 1.0),
        (_, Some(number)) => (number, 60.0),
        _ => (written.as_str(), 1.0),
    };
    let number: f64 = number.parse().unwrap_or_else(|_| panic!("{written:?} is no duration"));
    number * factor
}
