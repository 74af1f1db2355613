//! What an autoscaler does about a step of the load, computed instead of waited for.
//!
//! ```text
//! service  pods with compute threads, a CPU limit and a queue; requests that arrive at random
//! metrics  what metrics-server and Prometheus say of them, as late as they say it
//! hpa      Kubernetes' formula: tolerance, pods that are not ready, policies, stabilization
//! step     one run: a load, then another one
//! ```
//!
//! Sources: Kubernetes' documentation "Horizontal Pod Autoscaling" (algorithm details, scaling policies, stabilization window)
//! and the defaults of kube-controller-manager; KEDA's "External Metrics" for what `AverageValue` and `Value` make of a query.

pub mod hpa;
mod metrics;
pub mod service;
pub mod step;
