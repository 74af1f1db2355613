//! Settings as Kubernetes hands them out.
//!
//! ```text
//! defaults  <  mounted file  <  environment (envFrom)  <  mounted directories  <  secret files
//!              (gateway.yaml)                              (ConfigMap volumes)     (Secret volumes)
//! ```
//!
//! Each service declares its settings as a table of [`Setting`]s; `--help`, `--print-config` and the
//! layers all read that one table. [`Layers::load`] merges the layers with the `config` crate and gives a
//! [`Settings`] from which the service takes typed values. A value that does not parse is noted as a
//! [`SettingError`] and the default is used in its place until [`Settings::finish`], so that one start reports
//! every fault at once instead of the first.
//!
//! A directory outranks the environment, because a variable is what a ConfigMap said when the container started and the
//! mounted file is what it says now. [`crate::reload::Reloader`] follows the files of a running process.
//!
//! Environment variables are read by their exact names only. Kubernetes adds a family of variables for
//! every Service of the namespace (`ML_INFERENCE_SERVICE_PORT=tcp://10.0.0.1:5000`), and a reader
//! that collects by prefix would take those for settings.

mod document;
mod error;
mod layers;
mod networks;
mod position;
pub mod scalar;
mod secret;
mod setting;
mod settings;
pub mod source;
pub mod units;

pub use document::shape::{Key, Map, OneOf, Shape};
pub use document::{Chosen, Node, YamlFile, schema};
pub use error::{SettingError, SettingErrors};
pub use layers::Layers;
pub use networks::Networks;
pub use position::{Location, Position};
pub use scalar::Scalar;
pub use secret::Secret;
pub use setting::Setting;
pub use settings::{Changes, Settings, Values};
