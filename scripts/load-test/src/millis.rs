//! Times in milliseconds, as the report and the terminal show them.

use std::time::Duration;

/// Milliseconds with the histogram's resolution, a microsecond.
pub fn ms(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64() * 1e3)
}

/// A number with three decimal places.
pub fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// Three digits are enough to compare.
pub fn millis(duration: Duration) -> String {
    number(ms(duration))
}

/// Milliseconds with three digits.
pub fn number(ms: f64) -> String {
    match ms {
        ..10.0 => format!("{ms:.2}"),
        10.0..100.0 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}
