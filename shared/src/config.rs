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
//! [`Fault`] and the default stands in for it until [`Settings::finish`], so that one start reports
//! every fault at once instead of the first.
//!
//! A directory outranks the environment, because a variable is what a ConfigMap said when the container started and the
//! mounted file is what it says now. [`Reloader`] follows the files of a running process.
//!
//! Environment variables are read by their exact names only. Kubernetes adds a family of variables for
//! every Service of the namespace (`ML_INFERENCE_SERVICE_PORT=tcp://10.0.0.1:5000`), and a reader
//! that collects by prefix would take those for settings.

mod fault;
mod layers;
mod node;
mod reload;
mod schema;
mod secret;
pub mod shape;
pub mod source;
pub mod units;
mod yaml;

pub use fault::{Fault, Faults, Location};
pub use layers::{Changes, Layers, Settings};
pub use node::{Chosen, Node};
pub use reload::{Progress, Reload, Reloader};
pub use schema::schema;
pub use secret::Secret;
pub use shape::{Key, Scalar, Shape};
pub use yaml::{Position, YamlFile};

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

/// The settings every service of the pair has.
pub mod common {
    use super::shape::{NAME, SECONDS, SECONDS_OR_ZERO};
    use super::{Scalar, Setting};

    pub const ENVIRONMENT: Setting = Setting::new(
        "ENVIRONMENT",
        "development",
        NAME,
        "name of the environment, shown in the start-up log line",
    );
    pub const LOG_LEVEL: Setting = Setting::new(
        "LOG_LEVEL",
        "info",
        // In any case: what other programs call it too.
        Scalar::text(
            "one of trace, debug, info, warn, error",
            "^([Tt][Rr][Aa][Cc][Ee]|[Dd][Ee][Bb][Uu][Gg]|[Ii][Nn][Ff][Oo]|[Ww][Aa][Rr][Nn]([Ii][Nn][Gg])?|[Ee][Rr][Rr][Oo][Rr])$",
        ),
        "least severe level that is logged; probes and scrapes are logged at debug",
    )
    .live();
    pub const LOG_FORMAT: Setting = Setting::new(
        "LOG_FORMAT",
        "auto",
        Scalar::OneOf(&["auto", "json", "text"]),
        "auto writes text at a terminal and JSON lines elsewhere",
    );
    pub const REQUEST_TIMEOUT: Setting = Setting::new(
        "REQUEST_TIMEOUT",
        "30",
        SECONDS,
        "longest silence while a request is being answered",
    )
    .live();
    pub const KEEPALIVE_TIMEOUT: Setting = Setting::new(
        "KEEPALIVE_TIMEOUT",
        "75",
        SECONDS,
        "longest wait for the first byte of a connection's first or next request",
    );
    pub const MAX_CONNECTIONS: Setting = Setting::new(
        "MAX_CONNECTIONS",
        "10000",
        Scalar::Whole(1, 1_000_000),
        "open client connections; further ones wait in the accept queue",
    );
    pub const DRAIN_WINDOW: Setting = Setting::new(
        "DRAIN_WINDOW",
        "5",
        SECONDS_OR_ZERO,
        "after SIGTERM: how long to go on accepting while not ready, so that every router hears of it",
    )
    .live();
    pub const DRAIN_TIMEOUT: Setting = Setting::new(
        "DRAIN_TIMEOUT",
        "20",
        SECONDS_OR_ZERO,
        "after the window: how long requests in flight may take to finish",
    )
    .live();
    pub const RELOAD_INTERVAL: Setting = Setting::new(
        "RELOAD_INTERVAL",
        "1",
        SECONDS_OR_ZERO,
        "how often the mounted files are looked at; what has changed holds once two looks see the same, 0: never",
    );
    pub const POD_NAME: Setting = Setting::new(
        "POD_NAME",
        "",
        Scalar::word(
            "a name of up to 253 letters, digits, '-', '_' or '.'",
            "^[A-Za-z0-9._-]{0,253}$",
        ),
        "who answers, for logs and x-served-by; empty: the host name, which in a pod is the pod's name",
    );
}
