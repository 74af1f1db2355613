//! Where a model's directory is at its registry.

use std::fmt;
use std::path::PathBuf;

use reqwest::Url;

/// Location that MODEL_URI names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// `https://` or `http://`.
    Http(Url),
    S3 {
        bucket: String,
        /// Without a slash at either end; may be empty.
        prefix: String,
    },
    File(PathBuf),
}

impl Location {
    pub const EXPECTS: &str = "https://HOST/PATH, http://HOST/PATH, s3://BUCKET/PATH or file:///PATH, or nothing";

    /// The error says what is wrong, without the text: a password may be in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("expected {}: {error}", Self::EXPECTS))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("has credentials in it: they go into REGISTRY_USER and REGISTRY_PASSWORD".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("has a query or a fragment, which a model's directory cannot have".to_owned());
        }
        let host = url.host_str().unwrap_or_default();
        match url.scheme() {
            "http" | "https" => Ok(Self::Http(url)),
            "s3" => {
                let prefix = url.path().trim_matches('/');
                let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '=' | '@');
                let is_bucket = !host.is_empty() && url.port().is_none() && host.chars().all(plain);
                let parts_are_plain = |part: &str| !part.is_empty() && part.chars().all(plain);
                if !is_bucket || !(prefix.is_empty() || prefix.split('/').all(parts_are_plain)) {
                    return Err("expected s3://BUCKET/PATH of letters, digits, '/' and any of -_.+=@".to_owned());
                }
                Ok(Self::S3 {
                    bucket: host.to_owned(),
                    prefix: prefix.to_owned(),
                })
            }
            "file" => match url.to_file_path() {
                Ok(path) if host.is_empty() => Ok(Self::File(path)),
                _ => Err("expected file:///PATH with three slashes: there is no host".to_owned()),
            },
            _ => Err(format!("expected {}", Self::EXPECTS)),
        }
    }

    /// The address of a file of the index, as people know it.
    pub fn name(&self, path: &str) -> String {
        format!("{}/{path}", self.to_string().trim_end_matches('/'))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => f.write_str(url.as_str().trim_end_matches('/')),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::File(path) => write!(f, "file://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_read_and_shown() {
        for (text, shown) in [
            ("https://models.example/iris", "https://models.example/iris"),
            ("http://minio.models:9000/iris/", "http://minio.models:9000/iris"),
            ("s3://models/team-a/iris", "s3://models/team-a/iris"),
            ("s3://models", "s3://models"),
            ("file:///srv/models/iris", "file:///srv/models/iris"),
        ] {
            let location = Location::parse(text).expect("is one");
            assert_eq!(location.to_string(), shown);
            assert_eq!(location.name("1/model.onnx"), format!("{shown}/1/model.onnx"));
        }
    }

    #[test]
    fn what_it_cannot_be_is_refused_without_repeating_it() {
        for (text, problem) in [
            ("models.example/iris", "expected https://HOST"),
            ("ftp://models.example/iris", "expected https://HOST"),
            ("https://", "expected https://HOST"),
            ("https://u:hunter2@models.example/iris", "REGISTRY_USER"),
            ("s3://hunter2@models/iris", "REGISTRY_USER"),
            ("https://models.example/iris?sig=hunter2", "query"),
            ("https://models.example/iris#hunter2", "fragment"),
            ("s3:///iris", "s3://BUCKET"),
            ("s3://models/a%20b", "s3://BUCKET"),
            ("s3://models/a//b", "s3://BUCKET"),
            ("file://server/models", "three slashes"),
        ] {
            let error = Location::parse(text).expect_err("is refused");
            assert!(error.contains(problem), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
