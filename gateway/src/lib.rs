//! The gateway: routes requests to clusters of replicated services.
//!
//! ```text
//! listener ─► connection ─► stack ─► proxy ─► route ─► cluster ─► balancer ─► endpoint ─► pool ─► upstream
//!  (shared::serve)            │        │
//!                             │        └─ forward: send, resend where that is safe, stream the answer back
//!                             └─ the ordered list of middleware
//!
//! control thread: discovery ──publishes endpoint sets──► clusters        admin: /metrics /readyz /status.json
//! ```
//!
//! Workers share nothing that needs a lock: each has its own listener and its own upstream connections.
//!
//! # Floors
//!
//! A file imports only rooms that its own room's row names, all of them on lower floors; `scripts/e2e` tests it.
//!
//! | Room | Owns | May import |
//! | --- | --- | --- |
//! | `app` | start-up, every task, the order of shutdown | everything below |
//! | `stack` | the ordered list of layers | `middleware`, `proxy`, `exchange`, `worker` |
//! | `middleware` | the layers: request id, access log, error bodies, routing, body limit, API key | `exchange`, `worker`, `route`, `error`, `upstream`, `grpc`, `known_headers` |
//! | `proxy` | one request to a cluster and its answer back: forwarding, retries, deadlines, headers, upgrades | `exchange`, `worker`, `route`, `error`, `upstream`, `metrics`, `grpc`, `known_headers`, `config` |
//! | `exchange` | what travels through the stack: the request, its record, the answer's body | `worker`, `route`, `upstream`, `metrics`, `grpc`, `known_headers` |
//! | `worker` | what one worker's requests read | `snapshot`, `route`, `upstream`, `metrics` |
//! | `reload` | settings into snapshots; the tasks of each cluster | `snapshot`, `route`, `upstream`, `metrics`, `config` |
//! | `admin` | probes, `/metrics`, `/status.json` | `snapshot`, `route`, `upstream` |
//! | `snapshot` | the settings that apply now, and which workers have them | `route`, `upstream`, `config` |
//! | `route` | the route table | `error`, `upstream`, `metrics`, `config` |
//! | `error` | what went wrong with a request, and the one place that picks its status | `upstream` |
//! | `upstream` | clusters, endpoints, discovery, balancing, ejection, queue, pools, connections | `metrics`, `config` |
//! | `metrics` | every metric's name | `grpc`, `config` |
//! | `grpc` | gRPC's own statuses | `known_headers` |
//! | `known_headers` | which headers a message has that matter to a proxy | nothing |
//! | `config` | validated settings | nothing |

pub mod admin;
pub mod app;
pub mod config;
pub mod error;
mod exchange;
mod grpc;
mod known_headers;
pub mod metrics;
mod middleware;
mod proxy;
pub mod reload;
pub mod route;
pub mod snapshot;
mod stack;
pub mod upstream;
mod worker;
