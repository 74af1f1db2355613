//! The models that are served: which names, which versions of each, and where every version stands.
//!
//! ```text
//! MODELS_DIR ─► scan: what lies there ─► tracker: what is to be done ─► loader: read, warmed up, checked
//!                     watcher: looks again and again, and when asked to         │
//! requests ◄── catalog: a snapshot, published whole ◄───────────────────────────┘
//! ```

mod commands;
mod golden;
mod loader;
mod model_config;
mod publisher;
mod pull_policy;
mod scan;
mod tracker;
mod watcher;

pub use commands::{CommandError, Commands};
pub use loader::Loader;
pub use model_config::{Golden, ModelConfig};
pub use publisher::Publisher;
pub use pull_policy::Served;
pub use scan::check_name;
pub use watcher::{Watcher, WatcherGone, WatcherSettings};
