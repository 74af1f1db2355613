//! The paths of the API. Case does not matter, except in names.

use super::super::model_ref::{ModelRef, ModelRefError, RawModelRef, VersionSpec};

const PREFIX: &str = "/v1/";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Predict,
    Classify,
    Regress,
}

/// A parsed path of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    Run(Verb, Result<ModelRef, ModelRefError>),
    Status(Result<ModelRef, ModelRefError>),
    Metadata(Result<ModelRef, ModelRefError>),
    /// The names of all models, for KServe's clients: `/v1/models`.
    Models,
    /// A path of the API that it does not have.
    Unknown,
}

impl Call {
    /// `None` for a path that is not the API's.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let start = path.get(..PREFIX.len())?;
        let rest = &path[PREFIX.len()..];
        start
            .eq_ignore_ascii_case(PREFIX)
            .then(|| call(rest).unwrap_or(Self::Unknown))
    }

    /// The method that the call is made with.
    pub(crate) fn is_post(&self) -> bool {
        matches!(self, Self::Run(..))
    }
}

fn call(rest: &str) -> Option<Call> {
    let (place, verb) = match rest.rsplit_once(':') {
        Some((place, verb)) => (place, Some(self::verb(verb)?)),
        None => (rest, None),
    };
    let mut segments = place.split('/');
    if !segments.next()?.eq_ignore_ascii_case("models") {
        return None;
    }
    let Some(model) = segments.next() else {
        return verb.is_none().then_some(Call::Models);
    };
    let mut next = segments.next();
    let mut version = VersionSpec::Latest;
    if let Some(of) = next.filter(|segment| !segment.eq_ignore_ascii_case("metadata")) {
        version = self::version(of, segments.next()?)?;
        next = segments.next();
    }
    let is_metadata = match next {
        None => false,
        Some(segment) => segment.eq_ignore_ascii_case("metadata") && segments.next().is_none(),
    };
    if !is_name(model) || next.is_some() != is_metadata {
        return None;
    }
    let model = RawModelRef { model, version }.decode();
    match verb {
        Some(verb) => (!is_metadata).then_some(Call::Run(verb, model)),
        None if is_metadata => Some(Call::Metadata(model)),
        None => Some(Call::Status(model)),
    }
}

fn verb(text: &str) -> Option<Verb> {
    let named = |name: &str| text.eq_ignore_ascii_case(name);
    match () {
        () if named("predict") => Some(Verb::Predict),
        () if named("classify") => Some(Verb::Classify),
        () if named("regress") => Some(Verb::Regress),
        () => None,
    }
}

fn version<'a>(of: &str, text: &'a str) -> Option<VersionSpec<'a>> {
    if of.eq_ignore_ascii_case("versions") {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // Versions begin at 1; OpenVINO's client says 0 for the latest.
        let wanted = if text == "0" {
            VersionSpec::Latest
        } else {
            VersionSpec::Number(text)
        };
        return is_number.then_some(wanted);
    }
    (of.eq_ignore_ascii_case("labels") && is_name(text)).then_some(VersionSpec::Label(text))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(model: &str, version: VersionSpec<'_>) -> Result<ModelRef, ModelRefError> {
        RawModelRef { model, version }.decode()
    }

    fn latest(model: &str) -> Result<ModelRef, ModelRefError> {
        reference(model, VersionSpec::Latest)
    }

    #[test]
    fn every_path_of_the_api_is_known() {
        let numbered = || reference("m", VersionSpec::Number("3"));
        let labelled = || reference("m", VersionSpec::Label("stable"));
        for (path, call) in [
            ("/v1/models/m:predict", Call::Run(Verb::Predict, latest("m"))),
            ("/V1/Models/M:Classify", Call::Run(Verb::Classify, latest("M"))),
            ("/v1/models/m/versions/3:regress", Call::Run(Verb::Regress, numbered())),
            (
                "/v1/models/m/labels/stable:predict",
                Call::Run(Verb::Predict, labelled()),
            ),
            ("/v1/models/m", Call::Status(latest("m"))),
            ("/v1/models/metadata", Call::Status(latest("metadata"))),
            ("/v1/models/m/versions/3", Call::Status(numbered())),
            ("/v1/models/m/labels/stable/METADATA", Call::Metadata(labelled())),
            ("/v1/models/m/metadata", Call::Metadata(latest("m"))),
            ("/v1/models/m/versions/0/metadata", Call::Metadata(latest("m"))),
            ("/v1/models", Call::Models),
        ] {
            assert_eq!(Call::parse(path), Some(call), "{path}");
        }
    }

    #[test]
    fn what_is_not_a_path_of_the_api_is_unknown() {
        for path in [
            "/v1/",
            "/v1/foo",
            "/v1/models/",
            "/v1/models:predict",
            "/v1/models/:predict",
            "/v1/models/m:",
            "/v1/models/m:explain",
            "/v1/models/m:predict:predict",
            "/v1/models/m:predict/",
            "/v1/models/m/",
            "/v1/models/m/x",
            "/v1/models/m/metadata/x",
            "/v1/models/m/metadata:predict",
            "/v1/models/m/version/50:predict",
            "/v1/models/m/versions/HELLO:regress",
            "/v1/models/m/versions/-1",
            "/v1/models/m/versions/",
            "/v1/models/m/versions",
            "/v1/models/m/labels/",
            "/v1/models/m/versions/1/labels/x",
        ] {
            assert_eq!(Call::parse(path), Some(Call::Unknown), "{path}");
        }
        for path in ["/", "/v1", "/v12/", "/v2/models/m", "v1/models", "/vü/"] {
            assert_eq!(Call::parse(path), None, "{path}");
        }
    }
}
