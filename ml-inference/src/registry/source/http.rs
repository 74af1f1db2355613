//! A registry that is an HTTP server: any that serves files, with or without Basic authentication.

use reqwest::header::{
    CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, IF_NONE_MATCH, IF_RANGE, LOCATION, RANGE,
};
use reqwest::{Client, Response, StatusCode, Url};
use shared::config::Secret;

use super::object::{Body, Got, Object, Want, strong};
use crate::registry::client;
use crate::registry::error::{RegistryError, root_cause};
use crate::registry::settings::RegistrySettings;

pub(in crate::registry) struct HttpSource {
    client: Client,
    directory: Url,
    credentials: Option<(Secret, Secret)>,
}

impl HttpSource {
    pub(super) fn open(settings: &RegistrySettings, directory: Url) -> Result<Self, RegistryError> {
        let credentials = settings.credentials()?;
        Ok(Self {
            client: client::following(settings)?,
            directory,
            credentials: credentials.map(|(user, password)| (user.clone(), password.clone())),
        })
    }

    pub(super) async fn get(&self, path: &str, name: &str, want: Want<'_>) -> Result<Got, RegistryError> {
        let mut request = self.client.get(self.url(path));
        if let Some((user, password)) = &self.credentials {
            request = request.basic_auth(user.expose(), Some(password.expose()));
        }
        match want {
            Want::Whole => {}
            Want::Unless { etag } => request = request.header(IF_NONE_MATCH, etag),
            Want::From { offset, etag } => {
                request = request.header(RANGE, format!("bytes={offset}-"));
                if let Some(etag) = etag {
                    request = request.header(IF_RANGE, etag);
                }
            }
        }
        let response = request.send().await.map_err(|error| RegistryError::Unreachable {
            server: self.directory.origin().ascii_serialization(),
            problem: problem(&error),
        })?;
        self.judge(response, name, want)
    }

    fn judge(&self, response: Response, name: &str, want: Want<'_>) -> Result<Got, RegistryError> {
        let headers = response.headers();
        let etag = strong(text(headers, &ETAG));
        match (response.status(), want) {
            // What was asked for beyond the whole was not understood, or is no longer so (If-Range).
            (StatusCode::OK, _) => Ok(Got::Object(Object {
                offset: 0,
                size: text(headers, &CONTENT_LENGTH).and_then(|length| length.parse().ok()),
                etag,
                body: Body::Http(response),
            })),
            (StatusCode::NOT_MODIFIED, Want::Unless { .. }) => Ok(Got::Unchanged),
            (StatusCode::PARTIAL_CONTENT, Want::From { offset, etag: asked }) => {
                let range = text(headers, &CONTENT_RANGE).and_then(content_range);
                let is_same = asked.is_none_or(|asked| etag.as_deref().is_none_or(|etag| etag == asked));
                match range {
                    Some((start, size)) if start == offset && is_same => Ok(Got::Object(Object {
                        offset,
                        size,
                        etag,
                        body: Body::Http(response),
                    })),
                    _ => Ok(Got::Other),
                }
            }
            (StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PRECONDITION_FAILED, Want::From { .. }) => Ok(Got::Other),
            (status, _) if status.is_redirection() => Err(RegistryError::Redirect {
                object: name.to_owned(),
                to: redirected_to(&response),
            }),
            (status, _) => {
                let user = self.credentials.as_ref().map(|(user, _)| user.expose());
                Err(RegistryError::answered(name.to_owned(), status, "", user))
            }
        }
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.directory.clone();
        // An `https` URL has a path, and the index's paths are made of plain names.
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(path.split('/'));
        }
        url
    }
}

/// Without the query, which in a redirect may be a signature.
fn redirected_to(response: &Response) -> String {
    let location = text(response.headers(), &LOCATION).unwrap_or("nowhere");
    location.split('?').next().unwrap_or_default().to_owned()
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// `bytes 5-9/10`: where it begins, and the size of the whole, which may be `*`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _end) = range.split_once('-')?;
    Some((start.parse().ok()?, size.parse().ok()))
}

fn problem(error: &reqwest::Error) -> String {
    match error.is_timeout() {
        true => "no answer in time (REGISTRY_TIMEOUT)".to_owned(),
        false => root_cause(error),
    }
}
