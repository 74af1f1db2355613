//! The local pair, and demonstrations under constant load, with processes of this machine or on a cluster.
//!
//! ```text
//! main ─► command ─► up ───────────────────────────► pair: gateway and replicas as processes
//!               └──► demos ─► demo: load, steps, ──┬► pair
//!                             undo, verdict        └► cluster: kubectl
//! ```
//!
//! # Floors
//!
//! | Room | Owns | May import |
//! | --- | --- | --- |
//! | `command` | the commands and their exit statuses | everything below |
//! | `up` | the pair until Ctrl-C | everything below |
//! | `demos` | what is done in each demonstration, and how it is undone | everything below |
//! | `demo` | the course of every demonstration: options, load, steps, verdict | everything below |
//! | `error` | all errors, their exit statuses and advice | everything below |
//! | `pair` | the services as processes, their ports and files | `wait`, `workspace`, `probe`, `environment`, `terminal` |
//! | `cluster` | kubectl, contexts, addresses, rollouts | `binaries`, `wait`, `probe`, `environment`, `terminal` |
//! | `load` | the load tests that run beside, and their reports | `terminal` |
//! | `binaries` | programs that are built or given | `environment`, `terminal` |
//! | `wait` | conditions that are waited for | nothing |
//! | `workspace` | the directory of a run | nothing |
//! | `probe` | single HTTP requests | nothing |
//! | `interrupts` | Ctrl-C and the like | nothing |
//! | `arguments` | options, one by one | nothing |
//! | `environment` | this program's variables | nothing |
//! | `terminal` | messages and colours | nothing |

pub mod arguments;
pub mod binaries;
pub mod cluster;
pub mod command;
mod demo;
mod demos;
pub mod environment;
pub mod error;
pub mod interrupts;
pub mod load;
pub mod pair;
pub mod probe;
pub mod terminal;
pub mod up;
pub mod wait;
pub mod workspace;
