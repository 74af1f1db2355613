//! The Open Inference Protocol, version 2, over HTTP, with its extensions for binary tensors and for statistics.
//!
//! ```text
//! GET  /v2                                  the server
//! GET  /v2/health/live, /v2/health/ready    whether it lives, and takes requests
//! GET  /v2/models/M[/versions/V]            what the model takes and gives
//! GET  /v2/models/M[/versions/V]/ready      whether it can be asked
//! GET  /v2/models/M[/versions/V]/stats      how often it was asked and how long that took; /v2/models/stats: all of them
//! POST /v2/models/M[/versions/V]/infer      tensors in, tensors out
//! GET  /v2/models/M[/versions/V]/config     the same and which versions are wanted, as Triton's configuration has it
//! POST /v2/repository/index                 every version of every model, and where it stands
//! POST /v2/repository/models/M/load         at the admin listener: now, and answered when it is; also /unload
//! ```
//!
//! V is a number, or a label such as `stable`. A tensor is a list in the JSON, flat or nested as its shape says, or
//! follows the JSON as little-endian bytes. FP16 and BF16 are refused: no model here takes or gives them.

mod answer;
mod binary;
mod describe;
mod error;
mod path;
mod repository_api;
mod request;

pub use answer::{InferResponse, Signed, answer};
pub use binary::HEADER_LENGTH;
pub use describe::{ModelStatistics, config, index, live, metadata, model_ready, ready, server, statistics};
pub use error::Error;
pub(crate) use path::Call;
pub use repository_api::{parse_index, parse_load, parse_unload};
pub use request::{InferRequest, Requested, parse_infer};
