//! The models that are served: which names, which versions of each, and where every version stands.
//!
//! ```text
//! MODELS_DIR ─► layout: what lies there ─► tracker: what is to be done ─► loader: read, warmed up, checked
//!                     watcher: looks again and again, and when asked to         │
//! requests ◄── catalog: a snapshot, published whole ◄───────────────────────────┘
//! ```

mod background;
mod catalog;
mod control;
mod golden;
mod layout;
mod loader;
mod model_config;
pub mod registry;
mod tracker;
mod version_policy;
mod watcher;

pub use catalog::{Catalog, Choice, FindError, Servable, State, Version};
pub use control::{Asked, Control, ControlError};
pub use layout::check_name;
pub use loader::Loader;
pub use model_config::{Golden, ModelConfig};
pub use version_policy::VersionPolicy;
pub use watcher::{Publish, Settings, Watcher, WatcherGone};
