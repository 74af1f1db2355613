//! The form of a plain value, declared once: the reader's check, the end of the sentence "expected …" and the JSON
//! Schema are made of the same declaration.

use std::fmt;

use super::units;

/// A plain value, which every layer writes as text.
#[derive(Debug, Clone, Copy)]
pub enum Scalar {
    /// A whole number from the one to the other.
    Whole(u64, u64),
    /// Seconds from the one to the other, a fraction allowed.
    Seconds(f64, f64),
    /// Bytes from the one to the other, with the binary units of Kubernetes quantities.
    Bytes(u64, u64),
    /// `true` or `false`.
    Boolean,
    /// One of these names.
    OneOf(&'static [&'static str]),
    /// A text that YAML reads as one.
    QuotedText(Text),
    /// A text that YAML may take for a number or a boolean. It counts as written: `1.10` is not 1.1.
    AnyText(Text),
}

/// A text whose form its own parser knows best.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    /// The end of the sentence "expected …".
    pub expects: &'static str,
    /// A regular expression for the schema, of ECMA 262: whatever it refuses, the parser refuses.
    pub pattern: &'static str,
}

/// A time that ends something.
pub const SECONDS: Scalar = Scalar::Seconds(0.001, LONGEST_SECONDS);
/// A time; zero switches off what it bounds.
pub const SECONDS_OR_ZERO: Scalar = Scalar::Seconds(0.0, LONGEST_SECONDS);
/// The size of something that there may be much of.
pub const BYTES: Scalar = Scalar::Bytes(1, 1 << 40);
/// A name as [`units::name`] reads it.
pub const NAME: Scalar = Scalar::any_text(
    "a name of up to 63 letters, digits, '-', '_' or '.'",
    "^[A-Za-z0-9._-]{1,63}$",
);

const LONGEST_SECONDS: f64 = 3600.0;

impl Scalar {
    /// A text that YAML reads as one, of the form that `expects` describes.
    pub const fn quoted_text(expects: &'static str, pattern: &'static str) -> Self {
        Self::QuotedText(Text { expects, pattern })
    }

    /// A text as it is written, even where YAML would read a number or a boolean.
    pub const fn any_text(expects: &'static str, pattern: &'static str) -> Self {
        Self::AnyText(Text { expects, pattern })
    }

    /// True when `text` is such a value. For texts the setting's own parser decides.
    pub fn allows(&self, text: &str) -> bool {
        match self {
            Self::Whole(least, most) => text.parse().is_ok_and(|number: u64| (*least..=*most).contains(&number)),
            Self::Seconds(least, most) => text.parse().is_ok_and(|number: f64| (*least..=*most).contains(&number)),
            Self::Bytes(least, most) => units::bytes(text).is_some_and(|size: u64| (*least..=*most).contains(&size)),
            Self::Boolean => units::boolean(text).is_some(),
            Self::OneOf(names) => names.contains(&text),
            Self::QuotedText(_) | Self::AnyText(_) => true,
        }
    }
}

/// The end of the sentence "expected …".
impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(least, most) => write!(f, "a whole number from {least} to {most}"),
            Self::Seconds(least, most) => write!(f, "seconds from {least} to {most}"),
            Self::Bytes(least, most) => {
                let (least, most) = (units::in_bytes(*least), units::in_bytes(*most));
                write!(f, "bytes from {least} to {most}, with Ki, Mi or Gi for more")
            }
            Self::Boolean => f.write_str("true or false"),
            Self::OneOf(names) => {
                for (at, name) in names.iter().enumerate() {
                    match at {
                        0 => {}
                        _ if at + 1 == names.len() => f.write_str(" or ")?,
                        _ => f.write_str(", ")?,
                    }
                    f.write_str(name)?;
                }
                Ok(())
            }
            Self::QuotedText(text) | Self::AnyText(text) => f.write_str(text.expects),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_at_the_edge_is_allowed_and_one_beyond_is_not() {
        for (scalar, good, bad) in [
            (
                Scalar::Whole(1, 9),
                &["1", "9", "+3", "05"][..],
                &["0", "10", "-1", "3.0", "", " 3", "three"][..],
            ),
            (
                SECONDS,
                &["0.001", "3600", "1e3", ".5"],
                &["0", "0.0009999", "3600.1", "NaN", "inf", "30s", "", " 30"],
            ),
            (SECONDS_OR_ZERO, &["0", "3600"], &["-1", "1e9"]),
            (
                Scalar::Bytes(1024, 65536),
                &["1Ki", "1024", "64Ki"],
                &["1023", "65Ki", "1KB", "1.5Ki", "-1", ""],
            ),
            (BYTES, &["1", "1024Gi"], &["0", "1025Gi", "99999999999Gi"]),
            (Scalar::Boolean, &["true", "false"], &["yes", "1", ""]),
            (Scalar::OneOf(&["a", "b"]), &["a", "b"], &["c", "", "A"]),
        ] {
            for text in good {
                assert!(scalar.allows(text), "{scalar}: {text:?}");
            }
            for text in bad {
                assert!(!scalar.allows(text), "{scalar}: {text:?}");
            }
        }
    }

    #[test]
    fn what_is_expected_ends_a_sentence() {
        for (scalar, sentence) in [
            (Scalar::Whole(0, 256), "a whole number from 0 to 256"),
            (SECONDS, "seconds from 0.001 to 3600"),
            (BYTES, "bytes from 1 to 1024Gi, with Ki, Mi or Gi for more"),
            (Scalar::OneOf(&["a"]), "a"),
            (Scalar::OneOf(&["a", "b", "c"]), "a, b or c"),
        ] {
            assert_eq!(scalar.to_string(), sentence);
        }
    }
}
