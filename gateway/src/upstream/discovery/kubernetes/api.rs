//! The two questions asked of the API server: which EndpointSlices does a Service have, and what becomes of them.

use std::time::Duration;

use hickory_resolver::TokioResolver;
use http::{StatusCode, Uri};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Resource;
use kube::core::params::{ListParams, WatchParams};
use kube::core::{ObjectList, Request, Status, WatchEvent};
use tokio::time::{Instant, timeout_at};

use super::http::{ApiAnswer, HttpError, Server};
use super::slices::Slices;
use crate::config::{KubernetesConfig, KubernetesService};

/// Some ten thousand pods. The gateway's own memory is limited.
const LARGEST_LIST: usize = 16 << 20;
const LARGEST_STATUS: usize = 64 << 10;

pub(super) struct Api {
    /// `None` outside of a pod.
    server: Option<Server>,
    service: KubernetesService,
    watch_timeout: Duration,
}

/// Reason why the API server gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListFailure {
    /// It will not change by itself soon: no right to ask, no such API, no pod, no clear port.
    #[error("{0}")]
    Refused(String),
    /// The version that was asked for is too old: 410, and then only a new list helps.
    #[error("{0}")]
    Gone(String),
    /// No answer, a broken one, or a server in trouble.
    #[error("{0}")]
    Passing(String),
}

impl ListFailure {
    fn of_status(code: u16, message: &str) -> Self {
        let text = format!("the API server answers {code}: {message}");
        match code {
            401 | 403 | 404 => Self::Refused(text),
            410 => Self::Gone(text),
            _ => Self::Passing(text),
        }
    }
}

impl From<HttpError> for ListFailure {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Unreadable { .. } | HttpError::Unusable { .. } | HttpError::Ca { .. } => {
                Self::Refused(error.to_string())
            }
            other => Self::Passing(other.to_string()),
        }
    }
}

/// A list, and the version from which a watch goes on.
pub(super) struct Listed {
    pub(super) slices: Slices,
    pub(super) version: String,
}

impl Listed {
    /// Applies an event of a watch.
    pub(super) fn apply(&mut self, event: WatchEvent<EndpointSlice>) {
        let version = match event {
            WatchEvent::Added(slice) | WatchEvent::Modified(slice) => {
                let version = slice.metadata.resource_version.clone();
                self.slices.put(slice);
                version
            }
            WatchEvent::Deleted(slice) => {
                self.slices.remove(&slice);
                slice.metadata.resource_version
            }
            WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version),
            // [`Events`] makes a failure of it.
            WatchEvent::Error(_) => None,
        };
        if let Some(version) = version {
            self.version = version;
        }
    }
}

/// The events of one watch.
pub(super) struct Events {
    answer: ApiAnswer,
    longest: Duration,
    /// The server has ended the watch by then.
    end: Instant,
}

impl Events {
    /// The next event; `None` when the server has ended the watch. Nothing is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Result<Option<WatchEvent<EndpointSlice>>, ListFailure> {
        let Ok(line) = timeout_at(self.end, self.answer.line()).await else {
            // The connection is open at this end only, or leads to somebody else.
            let seconds = self.longest.as_secs_f64();
            return Err(ListFailure::Passing(format!(
                "the watch did not end within {seconds} s"
            )));
        };
        let Some(line) = line? else { return Ok(None) };
        match serde_json::from_slice(&line) {
            Ok(WatchEvent::Error(status)) => Err(ListFailure::of_status(status.code, &status.message)),
            Ok(event) => Ok(Some(event)),
            // What it said is lost, so the following events are no longer the whole story.
            Err(error) => Err(ListFailure::Gone(format!("an event cannot be read: {error}"))),
        }
    }
}

impl Api {
    pub(super) fn new(config: KubernetesConfig, service: KubernetesService, resolver: TokioResolver) -> Self {
        Self {
            server: config.api.map(|url| Server {
                url,
                service_account: config.service_account,
                resolver,
            }),
            service,
            watch_timeout: config.watch_timeout,
        }
    }

    pub(super) async fn list(&self) -> Result<Listed, ListFailure> {
        let parameters = ListParams::default().labels(&self.selector());
        let server = self.server()?;
        let request = self.slices(server)?.list(&parameters).map_err(unasked)?;
        let list = ask(server, request.uri()).await?.whole(LARGEST_LIST).await?;
        let list: ObjectList<EndpointSlice> = serde_json::from_slice(&list)
            .map_err(|error| ListFailure::Passing(format!("the list cannot be read: {error}")))?;
        let version = list.metadata.resource_version.unwrap_or_default();
        if version.is_empty() {
            return Err(ListFailure::Passing("the list has no resourceVersion".to_owned()));
        }
        Ok(Listed {
            slices: Slices::new(list.items),
            version,
        })
    }

    pub(super) async fn watch(&self, version: &str) -> Result<Events, ListFailure> {
        let seconds = u32::try_from(self.watch_timeout.as_secs()).unwrap_or(u32::MAX);
        let parameters = WatchParams::default().labels(&self.selector()).timeout(seconds);
        let server = self.server()?;
        let request = self.slices(server)?.watch(&parameters, version).map_err(unasked)?;
        let answer = ask(server, request.uri()).await?;
        let longest = self.watch_timeout.mul_f64(1.25);
        Ok(Events {
            answer,
            longest,
            end: Instant::now() + longest,
        })
    }

    fn selector(&self) -> String {
        format!("kubernetes.io/service-name={}", self.service.name)
    }

    fn server(&self) -> Result<&Server, ListFailure> {
        self.server.as_ref().ok_or_else(|| {
            let problem = "this is no pod: neither KUBERNETES_SERVICE_HOST nor KUBERNETES_API is set";
            ListFailure::Refused(problem.to_owned())
        })
    }

    /// The place of the Service's slices: the namespace of its name, or the pod's own.
    fn slices(&self, server: &Server) -> Result<Request, ListFailure> {
        let namespace = match &self.service.namespace {
            Some(namespace) => namespace.clone(),
            None => server.own_namespace()?,
        };
        Ok(Request::new(EndpointSlice::url_path(&(), Some(&namespace))))
    }
}

/// The answer, when it is 200.
async fn ask(server: &Server, target: &Uri) -> Result<ApiAnswer, ListFailure> {
    let answer = server.get(target).await?;
    if answer.status == StatusCode::OK {
        return Ok(answer);
    }
    let code = answer.status.as_u16();
    let body = answer.whole(LARGEST_STATUS).await?;
    // What stands before the API server may answer something else than a Status.
    let status: Option<Status> = serde_json::from_slice(&body).ok();
    let message = status.map_or_else(|| "no reason given".to_owned(), |status| status.message);
    Err(ListFailure::of_status(code, &message))
}

fn unasked(error: kube::core::request::Error) -> ListFailure {
    ListFailure::Refused(format!("the question cannot be asked: {error}"))
}
