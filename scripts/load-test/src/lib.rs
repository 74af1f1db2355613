//! Load on one URL, and a verdict: did any request fail, and was it fast enough.
//!
//! ```text
//! arguments ─► options
//! schedule ─► tickets ─► client (one a connection) ─► outcome ─► recorder ─► report ─► summary, JSON, page
//!  when each   who takes    sends, reads, and names      counts, histograms,
//!  one is due  the next     what went wrong              seconds, steps
//! ```
//!
//! Everything but the pacing (a thread of its own, see `tickets`) runs on one thread, so that what is measured beside it keeps
//! the other cores.
//!
//! # Floors
//!
//! | Room | Owns | May import |
//! | --- | --- | --- |
//! | `html` | the report as a page | `millis`, `report`, `summary` |
//! | `summary` | the report as text | `millis`, `report` |
//! | `report` | the report as JSON, and the verdict | `arguments`, `failure`, `latencies`, `load`, `millis`, `recorder`, `target` |
//! | `load` | one load from beginning to end | `arguments`, `client`, `failure`, `marks`, `progress`, `recorder`, `schedule`, `target`, `tickets` |
//! | `progress` | a line a second while it runs | `arguments`, `millis`, `recorder` |
//! | `recorder` | counts, histograms, seconds, steps | `client`, `failure`, `latencies` |
//! | `client` | one connection and its requests | `failure`, `target` |
//! | `tickets` | which connection sends the next request, and when | `schedule` |
//! | `arguments` | flags and their values | `target` |
//! | `target` | the URL and the template of a request | nothing |
//! | `failure` | what a request failed with | nothing |
//! | `latencies` | one histogram | nothing |
//! | `marks` | steps that another process announces in a file | nothing |
//! | `schedule` | the times at which requests are due | nothing |
//! | `millis` | milliseconds as text | nothing |

pub mod arguments;
pub mod client;
pub mod failure;
pub mod html;
pub mod latencies;
pub mod load;
pub mod marks;
pub mod millis;
pub mod progress;
pub mod recorder;
pub mod report;
pub mod schedule;
pub mod summary;
pub mod target;
pub mod tickets;
