//! The error body both services answer with: problem details for HTTP APIs, RFC 9457.
//!
//! ```json
//! {"type":"about:blank","title":"Bad Request","status":400,"detail":"…","error":"…","field":"instances[2]"}
//! ```
//!
//! `error` repeats `detail` for clients of the model-server protocols, which look for that member.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::{Map, Value};

/// The media type of RFC 9457.
pub const CONTENT_TYPE_PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// A failure in words for the client: it never names internals such as addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    detail: Cow<'static, str>,
    field: Option<String>,
    limit: Option<u64>,
    allow: Option<&'static str>,
    challenge: Option<&'static str>,
    retry_after_seconds: Option<u32>,
    request_id: Option<String>,
}

impl Problem {
    /// A problem without any optional member.
    pub fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            detail: detail.into(),
            field: None,
            limit: None,
            allow: None,
            challenge: None,
            retry_after_seconds: None,
            request_id: None,
        }
    }

    /// The member of the request that is at fault, such as `instances[2]`.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// The number that was exceeded.
    #[must_use]
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The methods a 405 must name, RFC 9110 section 15.5.6.
    #[must_use]
    pub fn allow(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    /// The scheme a 401 must name, RFC 9110 section 15.5.2.
    #[must_use]
    pub fn challenge(mut self, scheme: &'static str) -> Self {
        self.challenge = Some(scheme);
        self
    }

    /// The time after which a retry may succeed, for `Retry-After`.
    #[must_use]
    pub fn retry_after_seconds(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// The id of the request, repeated in the body.
    #[must_use]
    pub fn request_id(mut self, id: &str) -> Self {
        self.request_id = Some(id.to_owned());
        self
    }

    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The text for the client.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The JSON body, ended by a line break for people at a terminal.
    pub fn body(&self) -> Bytes {
        let mut members = Map::new();
        members.insert("type".to_owned(), Value::from("about:blank"));
        members.insert(
            "title".to_owned(),
            Value::from(self.status.canonical_reason().unwrap_or("Error")),
        );
        members.insert("status".to_owned(), Value::from(self.status.as_u16()));
        members.insert("detail".to_owned(), Value::from(self.detail.as_ref()));
        members.insert("error".to_owned(), Value::from(self.detail.as_ref()));
        if let Some(field) = &self.field {
            members.insert("field".to_owned(), Value::from(field.as_str()));
        }
        if let Some(limit) = self.limit {
            members.insert("limit".to_owned(), Value::from(limit));
        }
        if let Some(id) = &self.request_id {
            members.insert("request_id".to_owned(), Value::from(id.as_str()));
        }
        let mut body = Value::Object(members).to_string();
        body.push('\n');
        Bytes::from(body)
    }

    /// The response with this problem as its body.
    pub fn into_response<B: From<Bytes>>(self) -> Response<B> {
        let mut response = Response::new(B::from(self.body()));
        *response.status_mut() = self.status;
        self.write_headers(response.headers_mut());
        response
    }

    fn write_headers(&self, headers: &mut HeaderMap) {
        headers.insert(CONTENT_TYPE, CONTENT_TYPE_PROBLEM);
        if let Some(methods) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        if let Some(scheme) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_has_the_members_of_rfc_9457_and_the_same_text_as_error() {
        let problem = Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body over 10 bytes")
            .limit(10)
            .field("body");
        let body: Value = serde_json::from_slice(&problem.body()).expect("JSON");
        assert_eq!(body["type"], "about:blank");
        assert_eq!(body["title"], "Payload Too Large");
        assert_eq!(body["status"], 413);
        assert_eq!(body["detail"], "body over 10 bytes");
        assert_eq!(body["error"], body["detail"]);
        assert_eq!(body["limit"], 10);
        assert_eq!(body["field"], "body");
    }

    #[test]
    fn quotes_and_control_characters_in_the_detail_stay_inside_their_string() {
        let problem = Problem::new(StatusCode::BAD_REQUEST, "found \"\u{1}\n\"");
        let body: Value = serde_json::from_slice(&problem.body()).expect("JSON");
        assert_eq!(body["detail"], "found \"\u{1}\n\"");
    }

    #[test]
    fn a_405_names_the_methods() {
        let response: Response<Bytes> = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "use GET")
            .allow("GET, HEAD")
            .into_response();
        assert_eq!(response.headers()[ALLOW], "GET, HEAD");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    }
}
