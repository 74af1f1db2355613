//! The languages clients speak. A protocol turns a body into validated tensors and tensors into a body;
//! it does not know how a model runs.

mod input_error;
mod json;
pub mod lab;
pub mod mlflow;
pub(crate) mod model_ref;
pub mod open_inference;
pub mod tf_serving;

pub use input_error::InputError;
