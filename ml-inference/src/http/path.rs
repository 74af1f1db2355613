//! Paths of both listeners, parsed once for every layer and handler.

use crate::protocol::open_inference::Call as OpenInferenceCall;
use crate::protocol::tf_serving::{Call as TfServingCall, Verb};
use crate::route::Route;

/// A path in the language it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ParsedPath {
    /// `/` and `/predict`, which are one.
    Lab(LabPath),
    Probe(Probe),
    /// `/status.json`, at the admin listener only.
    Status,
    TfServing(TfServingCall),
    OpenInference(OpenInferenceCall),
    Mlflow(MlflowPath),
    /// A gRPC call, whatever its path.
    Grpc,
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LabPath {
    Root,
    Predict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    Health,
    Livez,
    Readyz,
    Metrics,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MlflowPath {
    Invocations,
    Ping,
    Version,
}

impl ParsedPath {
    pub(super) fn parse(path: &str) -> Self {
        match path {
            "/" => Self::Lab(LabPath::Root),
            "/predict" => Self::Lab(LabPath::Predict),
            "/health" => Self::Probe(Probe::Health),
            "/livez" => Self::Probe(Probe::Livez),
            "/readyz" => Self::Probe(Probe::Readyz),
            "/metrics" => Self::Probe(Probe::Metrics),
            "/status.json" => Self::Status,
            "/invocations" => Self::Mlflow(MlflowPath::Invocations),
            "/ping" => Self::Mlflow(MlflowPath::Ping),
            "/version" => Self::Mlflow(MlflowPath::Version),
            path => {
                let tf_serving = || TfServingCall::parse(path).map(Self::TfServing);
                let open_inference = OpenInferenceCall::parse(path).map(Self::OpenInference);
                open_inference.or_else(tf_serving).unwrap_or(Self::Unknown)
            }
        }
    }

    /// The label of metrics and logs.
    pub(crate) fn route(&self) -> Route {
        match self {
            Self::Lab(LabPath::Root) => Route::Root,
            Self::Lab(LabPath::Predict) => Route::Predict,
            Self::Probe(Probe::Health) => Route::Health,
            Self::Probe(Probe::Livez) => Route::Livez,
            Self::Probe(Probe::Readyz) => Route::Readyz,
            Self::Probe(Probe::Metrics) => Route::Metrics,
            Self::Status => Route::Status,
            Self::Mlflow(MlflowPath::Invocations) => Route::Invocations,
            Self::Mlflow(MlflowPath::Ping) => Route::Ping,
            Self::Mlflow(MlflowPath::Version) => Route::Version,
            Self::TfServing(call) => match call {
                TfServingCall::Run(Verb::Predict, _) => Route::TfServingPredict,
                TfServingCall::Run(Verb::Classify, _) => Route::TfServingClassify,
                TfServingCall::Run(Verb::Regress, _) => Route::TfServingRegress,
                TfServingCall::Status(_) | TfServingCall::Models => Route::TfServingStatus,
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
            Self::Grpc => Route::Grpc,
            Self::Unknown => Route::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn route_of(path: &str) -> Route {
        ParsedPath::parse(path).route()
    }

    #[test]
    fn only_the_exact_paths_match() {
        for known in [
            Route::Root,
            Route::Predict,
            Route::Health,
            Route::Livez,
            Route::Readyz,
            Route::Metrics,
            Route::Invocations,
            Route::Ping,
            Route::Version,
        ] {
            assert_eq!(route_of(known.label()), known);
        }
        for other in [
            "",
            "//",
            "/predict/",
            "/invocations/",
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
            ("/invocations", "POST"),
            ("/ping", "GET, HEAD"),
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
