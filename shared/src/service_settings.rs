//! Settings that every service has and that no other room of this crate owns.

use crate::config::scalar::{NAME, SECONDS};
use crate::config::{Scalar, Setting, Settings, units};

pub const ENVIRONMENT: Setting = Setting::new(
    "ENVIRONMENT",
    "development",
    NAME,
    "name of the environment, shown in the start-up log line",
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
pub const REQUEST_TIMEOUT: Setting = Setting::new(
    "REQUEST_TIMEOUT",
    "30",
    SECONDS,
    "longest silence while a request is being answered",
)
.live();

/// Who answers: `POD_NAME`, or the host name, which in a pod is the pod's name.
pub fn pod_name(settings: &mut Settings) -> String {
    let expects_name = |text: &str| match text {
        "" => Some(None),
        text => units::name(text, 253).map(Some),
    };
    settings.get(&POD_NAME, expects_name).unwrap_or_else(|| {
        // Absent on other systems than Linux, where nobody runs pods.
        let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        units::name(host_name.trim(), 253).unwrap_or_else(|| "unnamed".to_owned())
    })
}
