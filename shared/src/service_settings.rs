//! The settings that every service has.
//!
//! Each of them is declared in the room that reads it; [`SETTINGS`] lists them, and [`ServiceSettings`] has their values.

use crate::config::scalar::{NAME, SECONDS};
use crate::config::{Scalar, Setting, Settings, units};
use crate::lifecycle::{DRAIN_TIMEOUT, DRAIN_WINDOW, DrainTimes};
use crate::reload::RELOAD_INTERVAL;
use crate::serve::{self, ConnectionLimits};
use crate::telemetry::logging::{LOG_FORMAT, LOG_LEVEL, Logging};

/// The name of the environment.
pub const ENVIRONMENT: Setting = Setting::new(
    "ENVIRONMENT",
    "development",
    NAME,
    "name of the environment, shown in the start-up log line",
);
/// The name of the pod; empty for the host name.
pub const POD_NAME: Setting = Setting::new(
    "POD_NAME",
    "",
    Scalar::any_text(
        "a name of up to 253 letters, digits, '-', '_' or '.'",
        "^[A-Za-z0-9._-]{0,253}$",
    ),
    "name of this pod in logs and x-served-by; empty: the host name, which in a pod is the pod's name",
);
/// The patience with one request, in seconds. Each service says for which part of it.
pub const REQUEST_TIMEOUT: Setting = Setting::new(
    "REQUEST_TIMEOUT",
    "30",
    SECONDS,
    "longest silence while a request is being answered",
)
.live();

/// The settings of [`ServiceSettings`], in the order of `--help`.
pub const SETTINGS: &[Setting] = &[
    ENVIRONMENT,
    POD_NAME,
    LOG_LEVEL,
    LOG_FORMAT,
    serve::KEEPALIVE_TIMEOUT,
    serve::MAX_CONNECTIONS,
    serve::HEADER_TIMEOUT,
    serve::SEND_TIMEOUT,
    serve::ANSWER_HALF_CLOSED,
    serve::MAX_HEADER_BYTES,
    serve::MAX_REQUEST_LINE_BYTES,
    serve::MAX_HEADER_LINE_BYTES,
    serve::MAX_HEADERS,
    serve::HTTP2_MAX_STREAMS,
    serve::HTTP2_STREAM_WINDOW_BYTES,
    serve::HTTP2_CONNECTION_WINDOW_BYTES,
    serve::HTTP2_PING_INTERVAL,
    serve::HTTP2_PING_TIMEOUT,
    DRAIN_WINDOW,
    DRAIN_TIMEOUT,
    RELOAD_INTERVAL,
];

/// A service's own settings followed by [`SETTINGS`]; `N` is the number of both.
///
/// # Panics
/// When `N` is another number, which in a constant is an error of the compiler.
pub const fn following<const N: usize>(own: &[Setting]) -> [Setting; N] {
    assert!(N == own.len() + SETTINGS.len(), "N is the number of both");
    let mut all = [ENVIRONMENT; N];
    let mut at = 0;
    while at < N {
        all[at] = if at < own.len() {
            own[at]
        } else {
            SETTINGS[at - own.len()]
        };
        at += 1;
    }
    all
}

/// The values of [`SETTINGS`]. The reload interval is not among them: only the reloader reads it.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// The name of the environment, for the log line at the start.
    pub environment: String,
    /// The name that logs and `x-served-by` use.
    pub pod_name: String,
    /// Level and format of the log.
    pub logging: Logging,
    /// Limits of client connections.
    pub connections: ConnectionLimits,
    /// The times of a drain.
    pub drain: DrainTimes,
}

impl ServiceSettings {
    /// The values in `settings`, which notes what is wrong with them.
    pub fn from_settings(settings: &mut Settings) -> Self {
        Self {
            environment: settings.get(&ENVIRONMENT, |text| units::name(text, LONGEST_NAME)),
            pod_name: pod_name(settings),
            logging: Logging::from_settings(settings),
            connections: ConnectionLimits::from_settings(settings),
            drain: DrainTimes::from_settings(settings),
        }
    }
}

const LONGEST_NAME: usize = 63;
const LONGEST_POD_NAME: usize = 253;
/// The pod's name when neither `POD_NAME` nor the kernel gives one.
const UNNAMED: &str = "unnamed";

/// `POD_NAME`, or the host name, which in a pod is the pod's name.
pub fn pod_name(settings: &mut Settings) -> String {
    let given = settings.get(&POD_NAME, |text| match text {
        "" => Some(None),
        text => units::name(text, LONGEST_POD_NAME).map(Some),
    });
    given.or_else(host_name).unwrap_or_else(|| UNNAMED.to_owned())
}

/// The kernel's host name rather than `$HOSTNAME`, which only shells set and anyone may change. Other systems than Linux have no such
/// file, and no pods.
fn host_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    units::name(text.trim(), LONGEST_POD_NAME)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Layers;

    const OWN: Setting = Setting::new(
        "OWN",
        "",
        Scalar::quoted_text("anything", ""),
        "a setting of one service",
    );
    const ALL: &[Setting] = &following::<{ 1 + SETTINGS.len() }>(&[OWN]);

    fn load(variables: &[(&str, &str)]) -> Settings {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let layers = Layers {
            settings: ALL.to_vec(),
            documents: &[],
            default_document: "",
            default_file: "/nowhere/settings.yaml",
            default_config_dirs: "/nowhere/config",
            default_secret_dir: "/nowhere/secrets",
            file: None,
            variables: variables.iter().map(owned).collect::<BTreeMap<_, _>>(),
            file_held: false,
        };
        layers.load()
    }

    #[test]
    fn the_own_settings_come_first_and_no_name_is_there_twice() {
        let mut names: Vec<&str> = ALL.iter().map(|setting| setting.name).collect();
        assert_eq!(
            (names[0], names[1], names.len()),
            ("OWN", "ENVIRONMENT", 1 + SETTINGS.len())
        );
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn the_pods_name_is_the_one_given_or_the_hosts() {
        let named = ServiceSettings::from_settings(&mut load(&[("POD_NAME", "gateway-7d9"), ("ENVIRONMENT", "lab")]));
        assert_eq!(
            (named.pod_name.as_str(), named.environment.as_str()),
            ("gateway-7d9", "lab")
        );
        let by_host = ServiceSettings::from_settings(&mut load(&[])).pod_name;
        assert_eq!(by_host, host_name().unwrap_or_else(|| UNNAMED.to_owned()));
    }

    #[test]
    fn every_fault_is_found_at_once() {
        let mut settings = load(&[("POD_NAME", "a pod"), ("LOG_FORMAT", "xml"), ("DRAIN_WINDOW", "-1")]);
        let parsed = ServiceSettings::from_settings(&mut settings);
        let faults = settings.finish(parsed).expect_err("three faults");
        assert_eq!(faults.0.len(), 3, "{faults}");
    }
}
