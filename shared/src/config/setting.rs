//! One row of a table of settings.

use super::scalar::Scalar;

/// One setting: its row in `--help` and the name every layer knows it by.
///
/// The name is the environment variable and the secret file; in the mounted file it is the same name in
/// lower case.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The name in upper case, as of an environment variable.
    pub name: &'static str,
    /// The value without any other layer, as text.
    pub default: &'static str,
    /// The form of a valid value.
    pub scalar: Scalar,
    /// Its meaning for `--help`, in lower case and without a full stop.
    pub description: &'static str,
    /// A secret is never printed, and rejected in the mounted file: a ConfigMap is no place for one.
    pub secret: bool,
    /// A running process takes up a change.
    pub live: bool,
}

impl Setting {
    /// A setting that is read once, at the start.
    pub const fn new(name: &'static str, default: &'static str, scalar: Scalar, description: &'static str) -> Self {
        Self {
            name,
            default,
            scalar,
            description,
            secret: false,
            live: false,
        }
    }

    /// A secret without a default, read once, at the start.
    pub const fn secret(name: &'static str, description: &'static str) -> Self {
        Self {
            name,
            default: "",
            scalar: Scalar::quoted_text("any text", ""),
            description,
            secret: true,
            live: false,
        }
    }

    /// The same setting, taken up by a running process.
    pub const fn live(self) -> Self {
        Self { live: true, ..self }
    }

    /// The setting's key in the mounted file and inside the `config` crate.
    pub fn key(&self) -> String {
        self.name.to_ascii_lowercase()
    }
}
