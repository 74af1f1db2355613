//! `x-served-by` and `x-model-version`: who answered.

use http::{HeaderName, HeaderValue, Response};

use crate::config::Config;
use crate::http::ResponseBody;

const X_SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");
/// The version of the model that answered; of the one that MODEL_NAME names, when none did.
const X_MODEL_VERSION: HeaderName = HeaderName::from_static("x-model-version");

/// Both header values, made once; a copy is two reference counts.
#[derive(Debug, Clone)]
pub struct Identity {
    served_by: HeaderValue,
    model_version: HeaderValue,
}

impl Identity {
    /// # Panics
    /// Never: the pod's text was validated as a name, which may stand in a header.
    pub fn new(config: &Config) -> Self {
        let served_by = HeaderValue::from_str(&config.service.pod_name).expect("validated names are header values");
        Self {
            served_by,
            model_version: config.model_version.header_value().clone(),
        }
    }

    pub fn sign(&self, mut response: Response<ResponseBody>) -> Response<ResponseBody> {
        let version = response.body().model_version.as_ref().unwrap_or(&self.model_version);
        let version = version.clone();
        let headers = response.headers_mut();
        headers.insert(X_SERVED_BY, self.served_by.clone());
        headers.insert(X_MODEL_VERSION, version);
        response
    }
}
