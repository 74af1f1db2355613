//! From a path and a method to an answer.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body::Body;

use super::aside::aside;
use super::{Answer, State, answered_by, body, json, open_inference, probes, tf_serving, written_bytes};
use crate::engine::{EngineError, LoadedModel};
use crate::error::{Dialect, RequestError};
use crate::protocol::lab;
use crate::protocol::open_inference::Call as OpenInferenceCall;
use crate::protocol::tf_serving::{Call as TfServingCall, Verb};
use crate::tensor::Tensor;

/// The paths of this service, those that differ in a model's name or version as one; the discriminants index the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    Root,
    Predict,
    Health,
    Livez,
    Readyz,
    Metrics,
    Status,
    TfServingPredict,
    TfServingClassify,
    TfServingRegress,
    TfServingStatus,
    TfServingMetadata,
    OpenInferenceServer,
    OpenInferenceLive,
    OpenInferenceReady,
    OpenInferenceModel,
    OpenInferenceModelReady,
    OpenInferenceStatistics,
    OpenInferenceInfer,
    OpenInferenceConfig,
    OpenInferenceIndex,
    OpenInferenceLoad,
    OpenInferenceUnload,
    Unknown,
}

impl Route {
    pub const COUNT: usize = Self::Unknown as usize + 1;

    pub fn of(path: &str) -> Self {
        Asked::of(path).route()
    }

    /// The path, or a word that no client can choose: metric labels must stay few.
    pub fn label(self) -> &'static str {
        match self {
            Self::Root => "/",
            Self::Predict => "/predict",
            Self::Health => "/health",
            Self::Livez => "/livez",
            Self::Readyz => "/readyz",
            Self::Metrics => "/metrics",
            Self::Status => "/status.json",
            Self::TfServingPredict => "/v1/models/:predict",
            Self::TfServingClassify => "/v1/models/:classify",
            Self::TfServingRegress => "/v1/models/:regress",
            Self::TfServingStatus => "/v1/models",
            Self::TfServingMetadata => "/v1/models/metadata",
            Self::OpenInferenceServer => "/v2",
            Self::OpenInferenceLive => "/v2/health/live",
            Self::OpenInferenceReady => "/v2/health/ready",
            Self::OpenInferenceModel => "/v2/models",
            Self::OpenInferenceModelReady => "/v2/models/ready",
            Self::OpenInferenceStatistics => "/v2/models/stats",
            Self::OpenInferenceInfer => "/v2/models/infer",
            Self::OpenInferenceConfig => "/v2/models/config",
            Self::OpenInferenceIndex => "/v2/repository/index",
            Self::OpenInferenceLoad => "/v2/repository/models/load",
            Self::OpenInferenceUnload => "/v2/repository/models/unload",
            Self::Unknown => "unknown",
        }
    }

    /// What a 405 names in Allow.
    pub fn methods(self) -> &'static str {
        match self {
            Self::Root | Self::Predict => "GET, HEAD, POST",
            Self::TfServingPredict
            | Self::TfServingClassify
            | Self::TfServingRegress
            | Self::OpenInferenceInfer
            | Self::OpenInferenceIndex
            | Self::OpenInferenceLoad
            | Self::OpenInferenceUnload => "POST",
            _ => "GET, HEAD",
        }
    }

    /// Asked every few seconds by machines: such requests would drown the others in the log.
    pub fn is_probe(self) -> bool {
        matches!(
            self,
            Self::Health
                | Self::Livez
                | Self::Readyz
                | Self::Metrics
                | Self::OpenInferenceLive
                | Self::OpenInferenceReady
                | Self::OpenInferenceModelReady
        )
    }

    pub(super) fn allows(self, method: &Method) -> bool {
        // HEAD is GET without the body, which hyper leaves out.
        self.methods().split(", ").any(|allowed| allowed == method.as_str())
    }
}

/// A path in the language it belongs to.
pub(super) enum Asked<'a> {
    Lab(Route),
    TfServing(TfServingCall<'a>),
    OpenInference(OpenInferenceCall<'a>),
}

impl<'a> Asked<'a> {
    pub(super) fn of(path: &'a str) -> Self {
        match path {
            "/" => Self::Lab(Route::Root),
            "/predict" => Self::Lab(Route::Predict),
            "/health" => Self::Lab(Route::Health),
            "/livez" => Self::Lab(Route::Livez),
            "/readyz" => Self::Lab(Route::Readyz),
            "/metrics" => Self::Lab(Route::Metrics),
            "/status.json" => Self::Lab(Route::Status),
            path => {
                let tf_serving = || TfServingCall::parse(path).map(Self::TfServing);
                let open_inference = OpenInferenceCall::parse(path).map(Self::OpenInference);
                open_inference.or_else(tf_serving).unwrap_or(Self::Lab(Route::Unknown))
            }
        }
    }

    pub(super) fn route(&self) -> Route {
        match self {
            Self::Lab(route) => *route,
            Self::TfServing(call) => match call {
                TfServingCall::Run(Verb::Predict, _) => Route::TfServingPredict,
                TfServingCall::Run(Verb::Classify, _) => Route::TfServingClassify,
                TfServingCall::Run(Verb::Regress, _) => Route::TfServingRegress,
                TfServingCall::Status(_) | TfServingCall::NoModel => Route::TfServingStatus,
                TfServingCall::Metadata(_) => Route::TfServingMetadata,
                TfServingCall::Unknown => Route::Unknown,
            },
            Self::OpenInference(call) => match call {
                OpenInferenceCall::Server => Route::OpenInferenceServer,
                OpenInferenceCall::Live => Route::OpenInferenceLive,
                OpenInferenceCall::Ready => Route::OpenInferenceReady,
                OpenInferenceCall::Model(_) => Route::OpenInferenceModel,
                OpenInferenceCall::ModelReady(_) => Route::OpenInferenceModelReady,
                OpenInferenceCall::Statistics(_) => Route::OpenInferenceStatistics,
                OpenInferenceCall::Infer(_) => Route::OpenInferenceInfer,
                OpenInferenceCall::Config(_) => Route::OpenInferenceConfig,
                OpenInferenceCall::Index => Route::OpenInferenceIndex,
                OpenInferenceCall::Load(_) => Route::OpenInferenceLoad,
                OpenInferenceCall::Unload(_) => Route::OpenInferenceUnload,
                OpenInferenceCall::Unknown => Route::Unknown,
            },
        }
    }
}

/// Answers one request; what goes wrong is an answer too.
pub async fn answer<B>(state: &State, request: Request<B>) -> Response<Answer>
where
    B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
{
    let (head, body) = request.into_parts();
    let asked = Asked::of(head.uri.path());
    let route = asked.route();
    let (answered, dialect) = match asked {
        Asked::Lab(route) => (lab(state, route, &head, body).await, Dialect::Problem),
        Asked::TfServing(call) => (tf_serving::answer(state, call, &head, body).await, Dialect::Protocol),
        Asked::OpenInference(call) => {
            let answered = match check(route, &head.method) {
                Err(error) => Err(error),
                Ok(()) => open_inference::answer(state, call, &head, body).await,
            };
            (answered, Dialect::Protocol)
        }
    };
    answered.unwrap_or_else(|error| error.into_response(dialect))
}

pub(super) fn check(route: Route, method: &Method) -> Result<(), RequestError> {
    if route == Route::Unknown {
        return Err(RequestError::UnknownPath);
    }
    if !route.allows(method) {
        let method = method.clone();
        return Err(RequestError::WrongMethod { method, route });
    }
    Ok(())
}

async fn lab<B>(state: &State, route: Route, head: &Parts, body: B) -> Result<Response<Answer>, RequestError>
where
    B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
{
    if route == Route::Status {
        return Err(RequestError::UnknownPath);
    }
    check(route, &head.method)?;
    match route {
        Route::Root | Route::Predict if head.method == Method::POST => predict(state, head, body).await,
        Route::Root | Route::Predict => show(state).await,
        Route::Health => Ok(probes::health(state)),
        Route::Livez => Ok(probes::livez()),
        Route::Readyz => probes::readyz(state),
        Route::Metrics => probes::scrape(state),
        _ => Err(RequestError::UnknownPath),
    }
}

/// GET: the model run on its example inputs.
async fn show(state: &State) -> Result<Response<Answer>, RequestError> {
    let served = state.served()?;
    let example = served.model.example.clone();
    predictions(state, &served, example).await
}

/// POST: the model run on what the client sent, whatever its Content-Type says (`curl -d` says a form).
async fn predict<B>(state: &State, head: &Parts, body: B) -> Result<Response<Answer>, RequestError>
where
    B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
{
    let limits = **state.limits.load();
    let text = body::read(&head.headers, body, limits.into()).await?;
    // A number takes 8 bytes in memory and as few as two in the text.
    let most_numbers = (limits.max_body_bytes / size_of::<f64>()).max(1);
    let question = aside(text.len(), move || lab::parse(&text, most_numbers)).await?;
    match question {
        lab::Question::Instances(instances) => {
            let served = state.served()?;
            let input = lab::model_input(instances, served.model.runtime.signature())?;
            predictions(state, &served, vec![input]).await
        }
        lab::Question::Features(row) => {
            let output = run(state, &state.sum()?, vec![row]).await?;
            Ok(json(lab::prediction(&output, &state.model_label)?))
        }
    }
}

async fn predictions(
    state: &State,
    served: &Arc<LoadedModel>,
    inputs: Vec<Tensor>,
) -> Result<Response<Answer>, RequestError> {
    let output = run(state, served, inputs).await?;
    let (bytes, writing) = (written_bytes(std::slice::from_ref(&output)), Arc::clone(served));
    let write = move || lab::predictions(&output, &writing.model);
    Ok(answered_by(served, json(aside(bytes, write).await?)))
}

/// The first output of a run.
async fn run(state: &State, model: &Arc<LoadedModel>, inputs: Vec<Tensor>) -> Result<Tensor, RequestError> {
    let outputs = state.run(model, inputs).await?;
    Ok(outputs.into_iter().next().ok_or(EngineError::BadOutput)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_paths_match() {
        for known in [
            Route::Root,
            Route::Predict,
            Route::Health,
            Route::Livez,
            Route::Readyz,
            Route::Metrics,
        ] {
            assert_eq!(Route::of(known.label()), known);
        }
        for other in [
            "",
            "//",
            "/predict/",
            "/Predict",
            "/predictx",
            "/%70redict",
            "*",
            "unknown",
            "/v1",
            "/v1/",
            "/v2/x",
        ] {
            assert_eq!(Route::of(other), Route::Unknown, "{other:?}");
        }
    }

    #[test]
    fn a_model_in_the_path_is_no_route_of_its_own() {
        for (path, label) in [
            ("/v1/models/m:predict", "/v1/models/:predict"),
            ("/v1/models/m/versions/3:regress", "/v1/models/:regress"),
            ("/v1/models/m/labels/stable:classify", "/v1/models/:classify"),
            ("/v1/models/m/versions/3", "/v1/models"),
            ("/v1/models/m/metadata", "/v1/models/metadata"),
            ("/v2/models/m/versions/3", "/v2/models"),
            ("/v2/models/m/ready", "/v2/models/ready"),
            ("/v2/models/m/infer", "/v2/models/infer"),
            ("/v2/models/m/stats", "/v2/models/stats"),
            ("/v2/models/m/config", "/v2/models/config"),
            ("/v2/repository/models/m/load", "/v2/repository/models/load"),
            ("/v2/repository/models/m/unload", "/v2/repository/models/unload"),
        ] {
            assert_eq!(Route::of(path).label(), label, "{path}");
        }
    }

    #[test]
    fn only_what_runs_a_model_or_is_about_the_repository_is_posted() {
        for (path, methods) in [
            ("/", "GET, HEAD, POST"),
            ("/health", "GET, HEAD"),
            ("/v1/models/m:predict", "POST"),
            ("/v1/models/m", "GET, HEAD"),
            ("/v2", "GET, HEAD"),
            ("/v2/models/m/infer", "POST"),
            ("/v2/models/m/config", "GET, HEAD"),
            ("/v2/repository/index", "POST"),
            ("/v2/repository/models/m/load", "POST"),
            ("/v2/repository/models/m/unload", "POST"),
        ] {
            let route = Route::of(path);
            assert_eq!(route.methods(), methods, "{path}");
            assert!(!route.allows(&Method::PUT), "{path}");
            assert_eq!(route.allows(&Method::POST), methods.contains("POST"), "{path}");
        }
    }
}
