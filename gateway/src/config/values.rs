//! Forms of values that several keys have, and what they are parsed into.

use std::fmt;

use shared::config::Scalar;

pub(in crate::config) const AUTHORITY: Scalar = Scalar::quoted_text(
    "a DNS name and a port, such as ml-inference-service:5000",
    r"^[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?:[0-9]+$",
);
pub(in crate::config) const SOCKET_ADDRESS: Scalar =
    Scalar::quoted_text("an IP address and a port", r"^([0-9.]+|\[[0-9A-Fa-f:.%]+\]):[0-9]+$");
pub(in crate::config) const PATH: Scalar = Scalar::quoted_text(
    "an absolute path of visible ASCII without '?', '#', '%', '//' or dot segments",
    r"^(?!.*//)(?!.*/\.{1,2}(/|$))/[!$&->@-\[\]-~]*$",
);

/// `host:port` of a Service; in DNS, a host with a trailing dot is an absolute name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authority {
    pub host: String,
    pub port: u16,
}

impl Authority {
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        // Without a sign, which the number's own parser would take.
        let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
        let port: u16 = port.parse().ok().filter(|port| *port > 0 && is_number)?;
        let label = |label: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            (1..=63).contains(&label.len()) && label.chars().all(allowed)
        };
        let labels = host.strip_suffix('.').unwrap_or(host);
        let valid = labels.len() <= 253 && labels.split('.').all(label);
        valid.then(|| Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

pub(super) fn absolute_path(text: &str) -> Option<String> {
    let visible = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"?#%\\\"".contains(&byte));
    let segments = !text.contains("//") && !text.split('/').any(|segment| segment == "." || segment == "..");
    (text.starts_with('/') && visible && segments).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_dns_name_and_a_port() {
        for good in ["ml-inference-service:5000", "a.b.svc.cluster.local.:80", "x:65535"] {
            assert_eq!(Authority::parse(good).expect(good).to_string(), good);
        }
        for bad in [
            "",
            ":80",
            "a",
            "a:0",
            "a:+80",
            "a:65536",
            "a..b:80",
            "http://a:80",
            "a/b:80",
            "..:80",
            ".:80",
        ] {
            assert_eq!(Authority::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_configured_path_is_plain_and_absolute() {
        for good in ["/", "/predict", "/v1/models", "/a.b/c-d_e~f"] {
            assert_eq!(absolute_path(good).as_deref(), Some(good));
        }
        for bad in ["", "predict", "/a?b", "/a/../b", "/a//b", "/a b", "/%2e", "/ä", "/a/."] {
            assert_eq!(absolute_path(bad), None, "{bad:?}");
        }
    }
}
