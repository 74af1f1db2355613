//! The models that are served: which names, which versions of each, and where every version stands.

mod catalog;

pub use catalog::{Catalog, Choice, FindError, Servable, State, Version};
