//! The structured part of a file: YAML with the place of every part, and typed values taken out of it.
//!
//! ```text
//! bytes ─► characters ─► yaml ─► values ─► node ─► typed values, or faults
//!                          └─► positions ────┘ ▲
//!                                            shape: which keys a map may have ─► schema
//! ```

mod characters;
mod node;
mod positions;
mod schema;
pub(super) mod shape;
mod yaml;
mod yaml_file;

pub use node::{Chosen, Node};
pub(super) use positions::Positions;
pub use schema::schema;
pub(super) use yaml::read;
pub use yaml_file::YamlFile;
