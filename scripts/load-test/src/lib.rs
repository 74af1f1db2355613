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

pub mod arguments;
pub mod client;
pub mod failure;
pub mod html;
pub mod latencies;
pub mod load;
pub mod marks;
pub mod progress;
pub mod recorder;
pub mod report;
pub mod schedule;
pub mod summary;
pub mod target;
pub mod tickets;
