//! What both services stand on, and nothing that only one of them needs.
//!
//! ```text
//! cli ──► config ──► control ──► telemetry, serve (listeners, connections), lifecycle (signal → drain → exit)
//!                                  └─ request_id, problem: what every answer may carry
//! ```
//!
//! `gateway` and `ml-inference` never import each other; they meet only over HTTP.

pub mod cli;
pub mod config;
pub mod control;
pub mod http_client;
pub mod lifecycle;
pub mod problem;
pub mod request_id;
pub mod serve;
pub mod telemetry;
#[cfg(feature = "test-util")]
pub mod test_util;
