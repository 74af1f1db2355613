//! `x-served-by` and `x-model-version`: who answered.

use http::{HeaderName, HeaderValue, Response};

use crate::config::Config;
use crate::http::X_MODEL_VERSION;

const X_SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");

/// Both header values, made once; a copy is two reference counts.
#[derive(Debug, Clone)]
pub struct Identity {
    served_by: HeaderValue,
    model_version: HeaderValue,
}

impl Identity {
    /// # Panics
    /// Never: both texts were validated as names, which may stand in a header.
    pub fn new(config: &Config) -> Self {
        let value = |text: &str| HeaderValue::from_str(text).expect("validated names are header values");
        Self {
            served_by: value(&config.pod_name),
            model_version: value(config.model_version.as_str()),
        }
    }

    pub fn sign<B>(&self, mut response: Response<B>) -> Response<B> {
        let headers = response.headers_mut();
        headers.insert(X_SERVED_BY, self.served_by.clone());
        let version = headers.entry(X_MODEL_VERSION);
        version.or_insert_with(|| self.model_version.clone());
        response
    }
}
