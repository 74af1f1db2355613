//! The best practices and the pitfalls of "Kubernetes for MLOps", each row of its two tables as a test over every overlay, component
//! and lab under `deploy/`.
//!
//! ```text
//! main.rs        the rows hold everywhere, but for the exceptions
//! practices.rs   the rows of best practices: which faults an object has by each
//! pitfalls.rs    the rows of pitfalls
//! faulty.rs      each row finds its fault
//! objects.rs     an object's pod, containers and quantities
//! exceptions.rs  which faults are left as they are, and why
//! ```

mod exceptions;
mod faulty;
mod objects;
mod pitfalls;
mod practices;

use std::collections::BTreeSet;

use e2e::manifests::{Place, places};
use yaml_rust2::Yaml;

use crate::objects::name_of;

const PROBES: [&str; 3] = ["startupProbe", "readinessProbe", "livenessProbe"];

/// What is wrong with an object, each in a few words.
type Row = fn(&Yaml) -> Vec<String>;

/// Every object of every place keeps to the row, but for its exceptions, each of which is needed. Gives the places.
fn expect_kept(row: &str, check: Row) -> Vec<Place> {
    let places = places();
    assert!(places.len() >= 30, "{} places are few", places.len());
    let mut broken = Vec::new();
    let mut needed = BTreeSet::new();
    for Place { name, objects } in &places {
        for object in objects {
            for fault in check(object) {
                match exceptions::reason(row, name, &fault) {
                    Some(_) => _ = needed.insert(name.as_str()),
                    None => broken.push(format!("{name}: {}: {fault}", name_of(object))),
                }
            }
        }
    }
    assert!(broken.is_empty(), "{row}:\n{}", broken.join("\n"));
    let idle: Vec<(&str, &str)> = exceptions::places(row)
        .filter(|(place, _)| !needed.contains(place))
        .collect();
    assert!(idle.is_empty(), "{row}: exceptions that are not needed: {idle:?}");
    places
}
