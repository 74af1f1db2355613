//! Variables of this program's own environment.

use std::env;
use std::ffi::OsString;
use std::time::Duration;

/// The variable `name`, unless it is empty.
pub fn given(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// A time in seconds, fractions allowed, or its default.
pub fn seconds((name, default): (&str, f64)) -> Duration {
    let given = given(name).and_then(|value| value.to_str()?.parse().ok());
    let given = given.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    given.unwrap_or_else(|| Duration::from_secs_f64(default))
}
