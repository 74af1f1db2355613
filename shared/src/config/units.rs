//! Text to typed values. What range they may be in is the setting's (`shape.rs`).

use std::str::FromStr;
use std::time::Duration;

/// A number that fits into its type.
pub fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// A duration in seconds, a fraction allowed.
pub fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

/// The binary units of Kubernetes quantities.
const UNITS: [(&str, u64); 3] = [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];

/// A size in bytes.
pub fn bytes<T: TryFrom<u64>>(text: &str) -> Option<T> {
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let factor = match UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => *factor,
        None if unit.is_empty() => 1,
        None => return None,
    };
    let size = digits.parse::<u64>().ok()?.checked_mul(factor)?;
    T::try_from(size).ok()
}

/// A size in the largest unit that it is a multiple of.
pub(super) fn in_bytes(size: u64) -> String {
    let unit = UNITS
        .iter()
        .find(|(_, factor)| size > 0 && size.is_multiple_of(*factor));
    match unit {
        Some((name, factor)) => format!("{}{name}", size / factor),
        None => size.to_string(),
    }
}

/// `true` or `false`.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// A name that is safe in a header, a log line and a metric label.
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
        for bad in ["-1", "NaN", "inf", "1e99", "30s", "", " 30"] {
            assert_eq!(seconds(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn bytes_know_the_binary_units() {
        for (text, size) in [
            ("100", 100),
            ("64Ki", 65_536),
            ("1Gi", 1 << 30),
            ("1024Gi", 1_u64 << 40),
        ] {
            assert_eq!(bytes(text), Some(size));
        }
        for bad in ["", "Ki", "1KB", "1.5Mi", "-1", "99999999999Gi"] {
            assert_eq!(bytes::<u64>(bad), None, "{bad:?}");
        }
        assert_eq!(bytes::<u8>("256"), None, "it has to fit");
        for text in ["1023", "64Ki", "3Mi", "1024Gi", "0"] {
            assert_eq!(in_bytes(bytes(text).expect(text)), text);
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
