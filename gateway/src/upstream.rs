//! Upstreams: a cluster is a named service, an endpoint one address of it.
//!
//! ```text
//! Cluster (shared)        name, the current endpoint set, published whole by discovery; the queue for a free place
//!   └─ Endpoint (shared)  address, load, how it did lately
//! ClusterWorker           one worker's view: its balancer, its pool of connections, its retry budget
//!   └─ InFlight           one request at an endpoint, from the choice to the end of the answer
//!        └─ Lease         … with the connection that carries it
//! ```

mod attempts;
mod balancer;
mod cluster;
mod cluster_worker;
mod connect;
mod connection;
pub mod discovery;
mod endpoint;
mod endpoint_set;
mod error;
pub mod health_check;
mod http1;
mod http2;
mod injected_headers;
mod lease;
pub mod monotonic;
mod pool;
pub mod queue;
mod request_body;
pub mod retry_budget;
mod trailers;

pub use attempts::Attempts;
pub use cluster::Cluster;
pub use cluster_worker::ClusterWorker;
pub use endpoint::{Endpoint, Outcome};
pub use endpoint_set::{AddressKind, EndpointSet};
pub use error::{BodyError, BodyFault, ConnectError, UpstreamError};
pub use http1::{Unsent, recycle_header_map};
pub use injected_headers::InjectedHeaders;
pub use lease::{Delivery, InFlight, Lease, Upgraded};
pub use request_body::{ClientBody, RequestBody};
