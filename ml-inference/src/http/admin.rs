//! The admin listener: what changes which models are served, and a look inside. It is for those who run the service, and answers
//! no question to a model.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use http_body::Body;
use jiff::Timestamp;
use serde_json::{Value, json};
use shared::reload::Progress;
use tokio::sync::watch;
use tracing::error;

use super::context::ParsedRequest;
use super::error::{Dialect, RequestError, check};
use super::path::{ParsedPath, Probe};
use super::response::{ResponseBody, json};
use super::state::ServiceState;
use super::{body, open_inference, probes};
use crate::catalog::{Servable, Version};
use crate::protocol::open_inference::{self as protocol, Call};
use crate::registry::{self, Location};
use crate::repository::{CommandError, Commands};

/// State of the admin listener.
#[derive(Debug)]
pub struct Admin {
    pub state: Arc<ServiceState>,
    /// Without MODELS_DIR there is none.
    pub commands: Option<Commands>,
    pub registry: Option<Followed>,
    pub reloads: Arc<Progress>,
    pub pod_name: String,
    pub environment: String,
    pub workers: usize,
    pub started: Instant,
}

/// The registry that a model is pulled from.
#[derive(Debug)]
pub struct Followed {
    pub location: Location,
    pub status: watch::Receiver<registry::PullStatus>,
}

/// Answers one request; what goes wrong is an answer too.
pub async fn answer<B>(admin: &Admin, parsed: ParsedRequest<B>) -> Response<ResponseBody>
where
    B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
{
    let ParsedRequest { path, request, .. } = parsed;
    let (head, body) = request.into_parts();
    let dialect = match path {
        ParsedPath::OpenInference(_) => Dialect::Protocol,
        _ => Dialect::Problem,
    };
    let answered = match check(path.route(), &head.method) {
        Ok(()) => admin.answer(path, &head, body).await,
        Err(RequestError::UnknownPath) => Err(RequestError::UnknownAdminPath),
        Err(wrong_method) => Err(wrong_method),
    };
    answered.unwrap_or_else(|error| error.into_response(dialect))
}

impl Admin {
    async fn answer<B>(&self, path: ParsedPath, head: &Parts, body: B) -> Result<Response<ResponseBody>, RequestError>
    where
        B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
    {
        let state = &self.state;
        match path {
            ParsedPath::Probe(probe @ (Probe::Livez | Probe::Readyz | Probe::Metrics)) => probes::answer(state, probe),
            ParsedPath::Status => Ok(json(format!("{:#}\n", self.status()))),
            ParsedPath::OpenInference(Call::Server) => Ok(open_inference::server(state, true)),
            ParsedPath::OpenInference(Call::Load(model)) => {
                protocol::parse_load(&self.read(head, body).await?)?;
                self.load(open_inference::named(model)?.model).await
            }
            ParsedPath::OpenInference(Call::Unload(model)) => {
                protocol::parse_unload(&self.read(head, body).await?)?;
                self.unload(open_inference::named(model)?.model).await
            }
            ParsedPath::OpenInference(Call::Infer(_))
            | ParsedPath::Probe(Probe::Health)
            | ParsedPath::Lab(_)
            | ParsedPath::TfServing(_)
            | ParsedPath::Unknown => Err(RequestError::UnknownAdminPath),
            ParsedPath::OpenInference(call) => open_inference::answer(state, call, head, body).await,
        }
    }

    async fn read<B>(&self, head: &Parts, body: B) -> Result<Bytes, RequestError>
    where
        B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
    {
        let limits = **self.state.limits.load();
        Ok(body::read_decoded(&head.headers, body, limits.into()).await?)
    }

    async fn load(&self, model: String) -> Result<Response<ResponseBody>, RequestError> {
        match &self.commands {
            Some(commands) => commands.load(&model).await?,
            // Only built-in models are there, and they stay.
            None if self.state.catalog.load().model(&model).is_ok() => {}
            None => return Err(CommandError::NoDirectory { model }.into()),
        }
        Ok(Response::new(ResponseBody::default()))
    }

    async fn unload(&self, model: String) -> Result<Response<ResponseBody>, RequestError> {
        match &self.commands {
            Some(commands) => commands.unload(&model).await?,
            None if self.state.catalog.load().model(&model).is_ok() => {
                return Err(CommandError::BuiltIn { model }.into());
            }
            None => return Err(CommandError::NoModel { model }.into()),
        }
        Ok(Response::new(ResponseBody::default()))
    }

    fn status(&self) -> Value {
        let state = &self.state;
        let catalog = state.catalog.load();
        let models: Vec<Value> = catalog
            .models
            .iter()
            .map(|(name, servable)| model_status(name, servable))
            .collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pod": self.pod_name,
            "environment": self.environment,
            "ready": probes::is_ready(state),
            "draining": state.phase.is_draining(),
            "uptime_seconds": self.started.elapsed().as_secs(),
            "workers": self.workers,
            "config": self.reloads.state().json(),
            "models": models,
            "registry": self.registry.as_ref().map(Followed::status),
        })
    }
}

fn model_status(name: &str, servable: &Servable) -> Value {
    let versions: Vec<Value> = servable.versions.iter().map(version_status).collect();
    json!({ "name": name, "unloaded": servable.unloaded, "labels": servable.labels, "versions": versions })
}

fn version_status(version: &Version) -> Value {
    json!({
        "version": version.number,
        "state": version.state.name(),
        "problem": version.problem,
        "runtime": version.loaded.as_ref().map(|loaded| loaded.model.runtime.name()),
    })
}

impl Followed {
    fn status(&self) -> Value {
        let status = self.status.borrow().clone();
        let last_success = status.last_success.map(Timestamp::try_from).transpose();
        let last_success = last_success.unwrap_or_else(|error| {
            error!(%error, "system clock is out of range");
            None
        });
        let progress = status
            .progress
            .map(|progress| json!({ "file": progress.file, "bytes": progress.bytes, "size": progress.size }));
        json!({
            "location": self.location.to_string(),
            "state": status.state.name(),
            "problem": status.problem,
            "last_success": last_success.map(|at| format!("{at:.3}")),
            "progress": progress,
        })
    }
}
