//! A process from its first request to its last.
//!
//! ```text
//! starting ──► serving ──SIGTERM──► draining ──window over──► closing ──all done or deadline──► exit 0
//!              ready 200            ready 503                 accept queue emptied, listener closed,
//!                                   still accepting,          requests in flight finish
//!                                   `connection: close`
//! ```
//!
//! The window exists because Kubernetes sends SIGTERM and removes the pod from its EndpointSlices at the
//! same time: for some seconds kube-proxies and gateways still send new connections here.
//! <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination>

mod drain;
mod phase;
mod signal;

pub use drain::{DRAIN_TIMEOUT, DRAIN_WINDOW, DrainTimes, Drained, drain};
pub use phase::{Lifecycle, Phase, PhaseWatch};
pub use signal::{Signal, Signals};
