//! Scores a file of rows through the gateway.
//!
//! ```text
//! arguments ─► options
//! input ─► reader (a thread) ─► scorer ─► client ─► the gateway
//!  rows        batches            │ predictions, in the order of the input
//!                                 └─► output ─► files, with a checkpoint
//! ```
//!
//! # Floors
//!
//! | Room | Owns | May import |
//! | --- | --- | --- |
//! | `score` | one run from beginning to end | everything below |
//! | `scorer` | the predictions of a batch; whom to blame for a refusal | `arguments`, `client`, `layout`, `protocol`, `row` |
//! | `reader` | the thread that reads batches | `input`, `row` |
//! | `protocol` | bodies of requests and answers | `arguments`, `layout`, `row`, `words` |
//! | `arguments` | flags and their values | `input`, `layout`, `output` |
//! | `client` | attempts, pauses, and what an answer means | nothing |
//! | `table` | the output as a Parquet file | `output` |
//! | `files` | the output until it is whole, the rejected rows | `checkpoint`, `row` |
//! | `checkpoint` | how far which input has been scored | `row` |
//! | `progress` | what is shown meanwhile | nothing |
//! | `output` | rows as text | `layout`, `row`, `words` |
//! | `input` | rows of each format, with their places | `layout`, `row`, `words` |
//! | `layout` | the columns | nothing |
//! | `row` | rows, places, positions | nothing |
//! | `words` | NaN and infinities in JSON | nothing |

pub mod arguments;
pub mod checkpoint;
pub mod client;
pub mod files;
pub mod input;
pub mod layout;
pub mod output;
pub mod progress;
pub mod protocol;
pub mod reader;
pub mod row;
pub mod score;
pub mod scorer;
#[cfg(feature = "parquet")]
pub mod table;
pub mod words;
