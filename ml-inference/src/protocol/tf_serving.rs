//! TensorFlow Serving's REST API, version 1.
//!
//! ```text
//! POST /v1/models/M[/versions/N|/labels/L]:predict            {"instances": [rows]} → {"predictions": [rows]}
//!                                                             {"inputs": columns}   → {"outputs": columns}
//! POST /v1/models/M[/versions/N|/labels/L]:classify|regress   {"examples": [{feature: value}]} → {"results": […]}
//! GET  /v1/models/M[/versions/N|/labels/L]                    where each version stands
//! GET  /v1/models/M[/versions/N|/labels/L]/metadata           what the model takes and gives
//! ```
//!
//! Statuses, bodies and messages are those of the original, which clients match on. Where it takes in silence what cannot be
//! meant, this refuses: a number out of its type's range, a member or an input that is given twice, an input that the model
//! does not have.

mod answer;
mod describe;
mod document;
mod error;
mod examples;
mod path;
mod predict;

pub use answer::{Task, predictions};
pub use describe::{metadata, models, status};
pub use error::Error;
pub use examples::parse_examples;
pub(crate) use path::Call;
pub use path::Verb;
pub use predict::{Form, PredictRequest, parse_predict};
