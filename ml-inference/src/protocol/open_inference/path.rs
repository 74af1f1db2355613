//! The paths of the protocol.

use super::super::model_ref::{ModelRef, ModelRefError, RawModelRef, VersionSpec};

/// A parsed path of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    Server,
    Live,
    Ready,
    Model(Result<ModelRef, ModelRefError>),
    ModelReady(Result<ModelRef, ModelRefError>),
    /// Statistics of one model, or of all.
    Statistics(Option<Result<ModelRef, ModelRefError>>),
    Infer(Result<ModelRef, ModelRefError>),
    Config(Result<ModelRef, ModelRefError>),
    Index,
    Load(Result<ModelRef, ModelRefError>),
    Unload(Result<ModelRef, ModelRefError>),
    /// A path under `/v2` that the protocol does not have.
    Unknown,
}

impl Call {
    /// `None` for a path that is not the protocol's.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        match path.strip_prefix("/v2")? {
            "" | "/" => Some(Self::Server),
            rest => Some(call(rest.strip_prefix('/')?).unwrap_or(Self::Unknown)),
        }
    }
}

fn call(rest: &str) -> Option<Call> {
    match rest {
        "health/live" => return Some(Call::Live),
        "health/ready" => return Some(Call::Ready),
        "models/stats" => return Some(Call::Statistics(None)),
        "repository/index" => return Some(Call::Index),
        _ => {}
    }
    if let Some(rest) = rest.strip_prefix("repository/models/") {
        return control(rest);
    }
    let mut segments = rest.strip_prefix("models/")?.split('/');
    let model = segments.next().filter(|model| !model.is_empty())?;
    let mut next = segments.next();
    let mut version = VersionSpec::Latest;
    if next == Some("versions") {
        let text = segments.next().filter(|text| !text.is_empty())?;
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        version = if is_number {
            VersionSpec::Number(text)
        } else {
            VersionSpec::Label(text)
        };
        next = segments.next();
    }
    let model = RawModelRef { model, version }.decode();
    let call = match next {
        None => Call::Model(model),
        Some("ready") => Call::ModelReady(model),
        Some("stats") => Call::Statistics(Some(model)),
        Some("infer") => Call::Infer(model),
        Some("config") => Call::Config(model),
        Some(_) => return None,
    };
    segments.next().is_none().then_some(call)
}

/// Load or unload of a model.
fn control(rest: &str) -> Option<Call> {
    let (model, verb) = rest.split_once('/').filter(|(model, _)| !model.is_empty())?;
    let version = VersionSpec::Latest;
    let model = RawModelRef { model, version }.decode();
    match verb {
        "load" => Some(Call::Load(model)),
        "unload" => Some(Call::Unload(model)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_the_protocol_is_known() {
        let reference = |version| RawModelRef { model: "m", version }.decode();
        let latest = || reference(VersionSpec::Latest);
        let second = || reference(VersionSpec::Number("2"));
        let canary = || reference(VersionSpec::Label("canary"));
        for (path, call) in [
            ("/v2", Call::Server),
            ("/v2/", Call::Server),
            ("/v2/health/live", Call::Live),
            ("/v2/health/ready", Call::Ready),
            ("/v2/models/m", Call::Model(latest())),
            ("/v2/models/m/versions/2", Call::Model(second())),
            ("/v2/models/m/ready", Call::ModelReady(latest())),
            ("/v2/models/m/versions/canary/ready", Call::ModelReady(canary())),
            ("/v2/models/m/infer", Call::Infer(latest())),
            ("/v2/models/m/versions/2/infer", Call::Infer(second())),
            ("/v2/models/stats", Call::Statistics(None)),
            ("/v2/models/m/stats", Call::Statistics(Some(latest()))),
            ("/v2/models/m/versions/2/stats", Call::Statistics(Some(second()))),
            ("/v2/models/m/config", Call::Config(latest())),
            ("/v2/models/m/versions/2/config", Call::Config(second())),
            ("/v2/repository/index", Call::Index),
            ("/v2/repository/models/m/load", Call::Load(latest())),
            ("/v2/repository/models/m/unload", Call::Unload(latest())),
        ] {
            assert_eq!(Call::parse(path), Some(call), "{path}");
        }
    }

    #[test]
    fn other_paths_are_unknown() {
        for path in [
            "/v2/x",
            "/v2//",
            "/v2/health",
            "/v2/health/live/",
            "/v2/models",
            "/v2/models/",
            "/v2/models//infer",
            "/v2/models/m/",
            "/v2/models/m/infer/",
            "/v2/models/m/predict",
            "/v2/models/m/versions",
            "/v2/models/m/versions/",
            "/v2/models/m/versions//infer",
            "/v2/models/m/infer/versions/2",
            "/v2/repository/models/m",
            "/v2/repository/models/m/",
            "/v2/repository/models//load",
            "/v2/repository/models/m/load/",
            "/v2/repository/models/m/versions/2/load",
            "/v2/repository/models/m/reload",
        ] {
            assert_eq!(Call::parse(path), Some(Call::Unknown), "{path}");
        }
        for path in ["/", "/v1/models/m", "/v2x", "/V2", "v2/models/m"] {
            assert_eq!(Call::parse(path), None, "{path}");
        }
    }
}
