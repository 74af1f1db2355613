//! Text to typed values, each with the sentence that says what was expected.

use std::time::Duration;

pub const MILLIS_OR_SECONDS: &str = "seconds from 0.001 to 3600";
pub const SECONDS_OR_ZERO: &str = "seconds from 0 to 3600";
pub const BYTES: &str = "bytes from 1 to 1099511627776, or with a unit such as 64Ki, 16Mi or 1Gi";

const LONGEST_SECONDS: f64 = 3600.0;

/// A duration in seconds, a fraction allowed, above zero.
pub fn seconds(text: &str) -> Option<Duration> {
    seconds_or_zero(text).filter(|duration| *duration >= Duration::from_millis(1))
}

/// A duration in seconds, a fraction allowed; zero switches off what it bounds.
pub fn seconds_or_zero(text: &str) -> Option<Duration> {
    let seconds: f64 = text.parse().ok()?;
    let in_range = (0.0..=LONGEST_SECONDS).contains(&seconds);
    in_range.then(|| Duration::from_secs_f64(seconds))
}

/// A size in bytes, with the binary units of Kubernetes quantities.
pub fn bytes(text: &str) -> Option<u64> {
    const LARGEST: u64 = 1 << 40;
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let factor = match unit {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return None,
    };
    let size = digits.parse::<u64>().ok()?.checked_mul(factor)?;
    (1..=LARGEST).contains(&size).then_some(size)
}

/// A whole number inside a range.
pub fn whole(text: &str, range: std::ops::RangeInclusive<usize>) -> Option<usize> {
    text.parse().ok().filter(|number| range.contains(number))
}

pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// A name that may stand in a header, a log line and a metric label.
pub fn name(text: &str, longest: usize) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let valid = !text.is_empty() && text.len() <= longest && text.chars().all(allowed);
    valid.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_take_fractions_and_refuse_what_has_no_meaning() {
        assert_eq!(seconds("0.25"), Some(Duration::from_millis(250)));
        assert_eq!(seconds("30"), Some(Duration::from_secs(30)));
        for bad in ["0", "-1", "NaN", "inf", "1e9", "30s", "", " 30"] {
            assert_eq!(seconds(bad), None, "{bad:?}");
        }
        assert_eq!(seconds_or_zero("0"), Some(Duration::ZERO));
    }

    #[test]
    fn bytes_know_the_binary_units() {
        assert_eq!(bytes("100"), Some(100));
        assert_eq!(bytes("64Ki"), Some(65_536));
        assert_eq!(bytes("1Gi"), Some(1 << 30));
        for bad in ["0", "", "Ki", "1KB", "1.5Mi", "-1", "99999999999Gi"] {
            assert_eq!(bytes(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn names_cannot_carry_a_header_or_a_label_out_of_its_place() {
        assert_eq!(
            name("ml-inference-7d9_x.1", 63).as_deref(),
            Some("ml-inference-7d9_x.1")
        );
        for bad in ["", "a b", "a\r\nb", "a\"b", "ü"] {
            assert_eq!(name(bad, 63), None, "{bad:?}");
        }
    }
}
