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

pub mod admin;
pub mod app;
pub mod body;
pub mod config;
pub mod error;
pub mod metrics;
mod middleware;
mod proxy;
pub mod reload;
pub mod route;
mod stack;
pub mod upstream;
