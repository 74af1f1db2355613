//! The code that both services use, and nothing that only one of them needs.
//!
//! `gateway` and `ml-inference` never import each other; they meet only over HTTP.
//!
//! # Floors
//!
//! | Room | Owns | May import |
//! | --- | --- | --- |
//! | `main_thread` | logging, the control runtime, the exit code | `cli`, `lifecycle`, `telemetry` |
//! | `cli` | flags, `--help`, `--check` | `config`, `reload` |
//! | `admin` | probes, metrics and status at the admin listener | `lifecycle`, `problem`, `reload`, `telemetry` |
//! | `service_settings` | settings that every service has | `config`, `lifecycle`, `reload`, `serve`, `telemetry` |
//! | `reload` | changes of the mounted files in a running process | `config`, `telemetry` |
//! | `serve` | listeners, connections, HTTP/1.1 validation, workers | `config`, `lifecycle`, `problem`, `request_id` |
//! | `lifecycle` | signals, readiness, drain | `config` |
//! | `telemetry` | log lines, the metrics registry | `config` |
//! | `cors` | what pages of other origins are permitted | `config`, `problem` |
//! | `test_util` | servers, clients and processes for tests; generated tables of the documentation | `config` |
//! | `config` | layers of settings, typed values, faults with their places | nothing |
//! | `problem` | the error body | nothing |
//! | `request_id` | `X-Request-ID` | nothing |
//! | `http_client` | TLS, names and HTTP for control-plane work | nothing |
//! | `backoff` | pauses between attempts | nothing |
//! | `percent` | percent-decoding | nothing |
//! | `grpc` | gRPC's calls and answers that are a status alone | nothing |

#![warn(missing_docs)]

pub mod admin;
pub mod backoff;
pub mod cli;
pub mod config;
pub mod cors;
pub mod grpc;
pub mod http_client;
pub mod lifecycle;
pub mod main_thread;
pub mod percent;
pub mod problem;
pub mod reload;
pub mod request_id;
pub mod serve;
pub mod service_settings;
pub mod telemetry;
#[cfg(feature = "test-util")]
pub mod test_util;
