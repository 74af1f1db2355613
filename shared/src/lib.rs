//! What both services stand on, and nothing that only one of them needs.
//!
//! `gateway` and `ml-inference` never import each other; they meet only over HTTP.
//!
//! # Floors
//!
//! | Room | Owns | May import |
//! | --- | --- | --- |
//! | `main_thread` | logging, the control runtime, the exit code | `cli`, `lifecycle`, `telemetry` |
//! | `cli` | flags, `--help`, `--check` | `config`, `reload` |
//! | `reload` | changes of the mounted files in a running process | `config` |
//! | `serve` | listeners, connections, HTTP/1.1 validation, workers | `config`, `lifecycle`, `problem`, `request_id` |
//! | `service_settings` | settings that every service has | `config` |
//! | `lifecycle` | signals, readiness, drain | `config` |
//! | `telemetry` | log lines, the metrics registry | `config` |
//! | `test_util` | servers, clients and processes for tests | nothing |
//! | `config` | layers of settings, typed values, faults with their places | nothing |
//! | `problem` | the error body | nothing |
//! | `request_id` | `X-Request-ID` | nothing |
//! | `http_client` | TLS and HTTP for control-plane work | nothing |

pub mod cli;
pub mod config;
pub mod http_client;
pub mod lifecycle;
pub mod main_thread;
pub mod problem;
pub mod reload;
pub mod request_id;
pub mod serve;
pub mod service_settings;
pub mod telemetry;
#[cfg(feature = "test-util")]
pub mod test_util;
