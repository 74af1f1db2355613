//! From a path and a method to an answer.

use std::error::Error;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;

use super::answer::Answer;
use super::error::{Dialect, check};
use super::state::State;
use super::{lab, open_inference, tf_serving};
use crate::protocol::open_inference::Call as OpenInferenceCall;
use crate::protocol::tf_serving::{Call as TfServingCall, Verb};
use crate::route::Route;

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
        Asked::Lab(route) => (lab::answer(state, route, &head, body).await, Dialect::Problem),
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

/// The label of a path.
pub fn route_of(path: &str) -> Route {
    Asked::of(path).route()
}

#[cfg(test)]
mod tests {
    use http::Method;

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
            assert_eq!(route_of(known.label()), known);
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
            assert_eq!(route_of(other), Route::Unknown, "{other:?}");
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
            assert_eq!(route_of(path).label(), label, "{path}");
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
            let route = route_of(path);
            assert_eq!(route.methods(), methods, "{path}");
            assert!(!route.allows(&Method::PUT), "{path}");
            assert_eq!(route.allows(&Method::POST), methods.contains("POST"), "{path}");
        }
    }
}
