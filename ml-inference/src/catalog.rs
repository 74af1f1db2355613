//! The catalog: which models there are, which versions of each, and where every version stands. A snapshot, published whole.

mod published;
mod snapshot;
mod version_policy;

pub use published::Published;
pub use snapshot::{Catalog, Choice, FindError, Servable, Version, VersionState};
pub use version_policy::VersionPolicy;
