//! A registry that is a bucket of S3, or of what speaks as it does.

use std::error::Error as StdError;

use async_trait::async_trait;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Limited};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use object_store::path::Path;
use object_store::{Error as StoreError, GetOptions, GetRange, ObjectStore, RetryConfig};
use reqwest::StatusCode;

use super::object::{Body, Got, Object, Want, strong};
use crate::registry::client;
use crate::registry::error::{RegistryError, root_cause};
use crate::registry::settings::RegistrySettings;

pub(in crate::registry) struct S3Source {
    store: AmazonS3,
    server: String,
    prefix: Path,
    user: Option<String>,
}

impl S3Source {
    pub(super) fn open(settings: &RegistrySettings, bucket: &str, prefix: &str) -> Result<Self, RegistryError> {
        let unusable = |error: String| RegistryError::Client(error);
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(&settings.s3_region)
            .with_http_connector(OurClient(client::staying(settings)?))
            // Whoever pulls tries again, with pauses of its own.
            .with_retry(RetryConfig {
                max_retries: 0,
                ..RetryConfig::default()
            });
        let mut server = format!("s3.{}.amazonaws.com", settings.s3_region);
        if let Some(endpoint) = &settings.s3_endpoint {
            server = endpoint.origin().ascii_serialization();
            let endpoint = endpoint.as_str().trim_end_matches('/');
            builder = builder.with_endpoint(endpoint).with_allow_http(true);
        }
        builder = match settings.credentials()? {
            Some((user, password)) => builder
                .with_access_key_id(user.expose())
                .with_secret_access_key(password.expose()),
            None => builder.with_skip_signature(true),
        };
        Ok(Self {
            store: builder.build().map_err(|error| unusable(error.to_string()))?,
            server,
            prefix: Path::parse(prefix).map_err(|error| unusable(error.to_string()))?,
            user: settings.user.as_ref().map(|user| user.expose().to_owned()),
        })
    }

    pub(super) async fn get(&self, path: &str, name: &str, want: Want<'_>) -> Result<Got, RegistryError> {
        // The index's names need no encoding, so the key is what the index says.
        let key = path.split('/').fold(self.prefix.clone(), Path::join);
        let options = match want {
            Want::Whole => GetOptions::default(),
            Want::Unless { etag } => GetOptions {
                if_none_match: Some(etag.to_owned()),
                ..GetOptions::default()
            },
            Want::From { offset, etag } => GetOptions {
                range: Some(GetRange::Offset(offset)),
                if_match: etag.map(str::to_owned),
                ..GetOptions::default()
            },
        };
        match self.store.get_opts(&key, options).await {
            Ok(found) => Ok(Got::Object(Object {
                offset: found.range.start,
                size: Some(found.meta.size),
                etag: strong(found.meta.e_tag.as_deref()),
                body: Body::S3(found.into_stream().boxed()),
            })),
            Err(StoreError::NotModified { .. }) => Ok(Got::Unchanged),
            Err(StoreError::Precondition { .. }) => Ok(Got::Other),
            Err(error) => match (refusal(&error), want) {
                (Some(refusal), Want::From { .. }) if refusal.status == StatusCode::RANGE_NOT_SATISFIABLE => {
                    Ok(Got::Other)
                }
                (Some(Refusal { status, detail }), _) => {
                    let user = self.user.as_deref();
                    Err(RegistryError::answered(name.to_owned(), *status, detail, user))
                }
                (None, _) => Err(RegistryError::Unreachable {
                    server: self.server.clone(),
                    problem: root_cause(&error),
                }),
            },
        }
    }
}

/// Has the store use our client, with its authorities and its one TLS provider, and looks at refusals first: the store
/// would read a body of any length, and not tell the status.
#[derive(Debug, Clone)]
struct OurClient(reqwest::Client);

impl HttpConnector for OurClient {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for OurClient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        // Objects are only read, and a request to read has no body.
        debug_assert!(body.is_empty());
        let request = self.0.request(head.method, head.uri.to_string()).headers(head.headers);
        let response = request.send().await.map_err(|error| failed(&error))?;
        let status = response.status();
        let (head, body) = http::Response::<reqwest::Body>::from(response).into_parts();
        let body = HttpResponseBody::new(body.map_err(|error| failed(&error)));
        let response = HttpResponse::from_parts(head, body);
        let is_understood = matches!(status, StatusCode::NOT_MODIFIED | StatusCode::PRECONDITION_FAILED);
        if status.is_success() || is_understood {
            return Ok(response);
        }
        let body = Limited::new(response.into_body(), LARGEST_REFUSAL).collect().await;
        // Without it the status has to do.
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        let detail = detail(&String::from_utf8_lossy(&body));
        Err(HttpError::new(HttpErrorKind::Unknown, Refusal { status, detail }))
    }
}

/// Error for the store. Its kind does not matter, as the store does not retry.
fn failed(error: &reqwest::Error) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, NoAnswer(root_cause(error)))
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoAnswer(String);

const LARGEST_REFUSAL: usize = 16 * 1024;
const LONGEST_CODE: usize = 64;
const IN_ANOTHER_REGION: &str = "the bucket seems to be in another region: AWS_REGION";

/// The server's answer in place of an object.
#[derive(Debug, thiserror::Error)]
#[error("{status} {detail}")]
struct Refusal {
    status: StatusCode,
    detail: String,
}

/// The client's refusal inside the store's error.
fn refusal(error: &StoreError) -> Option<&Refusal> {
    let mut cause: &(dyn StdError + 'static) = error;
    loop {
        match cause.downcast_ref::<Refusal>() {
            Some(refusal) => return Some(refusal),
            None => cause = cause.source()?,
        }
    }
}

/// The code out of S3's XML, and for some of them what is not obvious.
fn detail(body: &str) -> String {
    let code = body
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"));
    match code.map(|(code, _)| code) {
        Some("AccessDenied") => "AccessDenied: also for what is not there, to those who may not list".to_owned(),
        Some("PermanentRedirect" | "AuthorizationHeaderMalformed") => IN_ANOTHER_REGION.to_owned(),
        Some(code) if code.len() <= LONGEST_CODE && code.chars().all(|c| c.is_ascii_alphanumeric()) => code.to_owned(),
        _ => String::new(),
    }
}
