//! Answers questions with passages of a file of texts: the retrieval half of retrieval-augmented generation.
//!
//! ```text
//! start    texts ─► tokens ─► ml-inference, in batches ─► one vector a text ─► ready
//! query    question ─► tokens ─► ml-inference ─► a vector ─► the texts with the highest dot products ─► events, lines or JSON
//! ```
//!
//! There is no language model here, and nothing pretends to be one: the answer is the passages, best first. An embedding is
//! computed by ml-inference, which this service asks by the Open Inference Protocol.
//!
//! # Floors
//!
//! | Room | Owns | May import |
//! | --- | --- | --- |
//! | `app` | start-up, the texts' vectors, shutdown | everything below |
//! | `stack` | what surrounds every request: id, log line, `x-served-by` | `http`, `metrics` |
//! | `http` | paths, the key, bodies and answers | `metrics`, `query`, `embedding`, `texts` |
//! | `config` | validated settings | `query`, `embedding` |
//! | `metrics` | the names of all metrics | nothing |
//! | `query` | the question and its limits; the passages as JSON, events or lines | `texts` |
//! | `embedding` | vectors from ml-inference | `wordpiece` |
//! | `texts` | the file of texts, their vectors, the best of them | nothing |
//! | `wordpiece` | texts into a BERT model's tokens | nothing |

pub mod app;
pub mod config;
pub mod embedding;
pub mod http;
pub mod metrics;
pub mod query;
pub mod stack;
pub mod texts;
pub mod wordpiece;
