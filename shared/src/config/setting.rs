//! One row of a table of settings.

use super::scalar::Scalar;

/// One setting: its row in `--help` and the name every layer knows it by.
///
/// The name is the environment variable and the secret file; in the mounted file it is the same name in
/// lower case.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub name: &'static str,
    pub default: &'static str,
    /// What a valid value looks like.
    pub scalar: Scalar,
    pub about: &'static str,
    /// Never printed, and refused in the mounted file: a ConfigMap is no place for a secret.
    pub secret: bool,
    /// A running process takes up a change.
    pub live: bool,
}

impl Setting {
    pub const fn new(name: &'static str, default: &'static str, scalar: Scalar, about: &'static str) -> Self {
        Self {
            name,
            default,
            scalar,
            about,
            secret: false,
            live: false,
        }
    }

    pub const fn secret(name: &'static str, about: &'static str) -> Self {
        Self {
            name,
            default: "",
            scalar: Scalar::text("any text", ""),
            about,
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
