//! The paths of this service as metrics and logs name them. Which path a request has is the router's to find out.

use http::Method;

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
    Invocations,
    Ping,
    Version,
    Grpc,
    Unknown,
}

impl Route {
    pub const COUNT: usize = Self::Unknown as usize + 1;

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
            Self::Invocations => "/invocations",
            Self::Ping => "/ping",
            Self::Version => "/version",
            Self::Grpc => "grpc",
            Self::Unknown => "unknown",
        }
    }

    /// Methods that a 405 names in Allow.
    pub fn methods(self) -> &'static str {
        match self {
            Self::Root | Self::Predict => "GET, HEAD, POST",
            Self::TfServingPredict
            | Self::TfServingClassify
            | Self::TfServingRegress
            | Self::OpenInferenceInfer
            | Self::Invocations
            | Self::OpenInferenceIndex
            | Self::OpenInferenceLoad
            | Self::OpenInferenceUnload => "POST",
            _ => "GET, HEAD",
        }
    }

    /// True for probes, which machines send every few seconds: they would drown the other requests in the log.
    pub fn is_probe(self) -> bool {
        matches!(
            self,
            Self::Health
                | Self::Livez
                | Self::Readyz
                | Self::Metrics
                | Self::Ping
                | Self::OpenInferenceLive
                | Self::OpenInferenceReady
                | Self::OpenInferenceModelReady
        )
    }

    pub fn allows(self, method: &Method) -> bool {
        // HEAD is GET without the body, which hyper leaves out.
        self.methods().split(", ").any(|allowed| allowed == method.as_str())
    }
}
