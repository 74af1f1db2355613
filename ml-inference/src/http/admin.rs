//! The admin listener: what changes which models are served, and a look inside. It is for those who run the service, and answers
//! no question to a model.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use http_body::Body;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use shared::admin::ServiceStatus;
use shared::problem::Problem;
use tokio::sync::watch;
use tracing::error;

use super::context::ParsedRequest;
use super::error::{Dialect, RequestError, check};
use super::path::ParsedPath;
use super::response::{ResponseBody, no_grpc};
use super::state::ServiceState;
use super::{body, open_inference, probes};
use crate::catalog::{Servable, Version};
use crate::protocol::open_inference::{self as protocol, Call};
use crate::registry::{self, Location};
use crate::repository::{CommandError, Commands};

/// State of the admin listener: what every service has, and the models.
pub type Admin = shared::admin::Admin<ModelAdmin>;

/// The part of the admin listener that other services do not have.
#[derive(Debug)]
pub struct ModelAdmin {
    pub state: Arc<ServiceState>,
    /// Without MODELS_DIR there is none.
    pub commands: Option<Commands>,
    pub registry: Option<Followed>,
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
        ParsedPath::Grpc => return no_grpc(),
        ParsedPath::OpenInference(_) => Dialect::Protocol,
        _ => Dialect::Problem,
    };
    let answered = match check(path.route(), &head.method) {
        Ok(()) => answer_allowed(admin, path, &head, body).await,
        Err(RequestError::UnknownPath) => Err(RequestError::UnknownAdminPath),
        Err(wrong_method) => Err(wrong_method),
    };
    answered.unwrap_or_else(|error| error.into_response(dialect))
}

/// Answers a request whose path has its method.
async fn answer_allowed<B>(
    admin: &Admin,
    path: ParsedPath,
    head: &Parts,
    body: B,
) -> Result<Response<ResponseBody>, RequestError>
where
    B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
{
    if let Some(answer) = admin.answer(&head.method, head.uri.path()) {
        return Ok(answer);
    }
    let models = &admin.service;
    match path {
        ParsedPath::OpenInference(Call::Server) => Ok(open_inference::server(&models.state, true)),
        ParsedPath::OpenInference(Call::Load(model)) => {
            protocol::parse_load(&models.read(head, body).await?)?;
            models.load(open_inference::named(model)?.model).await
        }
        ParsedPath::OpenInference(Call::Unload(model)) => {
            protocol::parse_unload(&models.read(head, body).await?)?;
            models.unload(open_inference::named(model)?.model).await
        }
        ParsedPath::OpenInference(Call::Infer(_))
        | ParsedPath::Probe(_)
        | ParsedPath::Status
        | ParsedPath::Lab(_)
        | ParsedPath::TfServing(_)
        | ParsedPath::Mlflow(_)
        | ParsedPath::Grpc
        | ParsedPath::Unknown => Err(RequestError::UnknownAdminPath),
        ParsedPath::OpenInference(call) => open_inference::answer(&models.state, call, head, body).await,
    }
}

impl ModelAdmin {
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
}

impl ServiceStatus for ModelAdmin {
    fn not_ready(&self) -> Option<Problem> {
        probes::readiness(&self.state).err().map(|error| error.problem())
    }

    fn status(&self) -> Map<String, Value> {
        let catalog = self.state.catalog.load();
        let models = catalog
            .models
            .iter()
            .map(|(name, servable)| model_status(name, servable));
        let registry = self.registry.as_ref().map(Followed::status);
        Map::from_iter([
            ("models".to_owned(), models.collect()),
            ("registry".to_owned(), json!(registry)),
        ])
    }
}

fn model_status(name: &str, servable: &Servable) -> Value {
    let versions: Vec<Value> = servable.versions.iter().map(version_status).collect();
    json!({
        "name": name,
        "unloaded": servable.unloaded,
        "problem": servable.problem,
        "labels": servable.labels,
        "versions": versions,
    })
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
