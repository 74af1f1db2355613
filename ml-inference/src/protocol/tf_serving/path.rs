//! The paths of the API. Case does not matter, except in names.

use super::super::model_ref::{Place, Wanted};

const PREFIX: &str = "/v1/";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Predict,
    Classify,
    Regress,
}

/// What a path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call<'a> {
    Run(Verb, Place<'a>),
    Status(Place<'a>),
    Metadata(Place<'a>),
    /// The status of nothing: `/v1/models`.
    NoModel,
    /// A path of the API that it does not have.
    Unknown,
}

impl<'a> Call<'a> {
    /// `None` for a path that is not the API's.
    pub(crate) fn parse(path: &'a str) -> Option<Self> {
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

    pub(super) fn version_text(&self) -> &'a str {
        match self {
            Self::Run(_, place) | Self::Status(place) | Self::Metadata(place) => match place.version {
                Wanted::Latest => "",
                Wanted::Number(text) | Wanted::Label(text) => text,
            },
            Self::NoModel | Self::Unknown => "",
        }
    }
}

fn call(rest: &str) -> Option<Call<'_>> {
    let (place, verb) = match rest.rsplit_once(':') {
        Some((place, verb)) => (place, Some(self::verb(verb)?)),
        None => (rest, None),
    };
    let mut segments = place.split('/');
    if !segments.next()?.eq_ignore_ascii_case("models") {
        return None;
    }
    let Some(model) = segments.next() else {
        return verb.is_none().then_some(Call::NoModel);
    };
    let mut next = segments.next();
    let mut version = Wanted::Latest;
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
    let place = Place { model, version };
    match verb {
        Some(verb) => (!is_metadata).then_some(Call::Run(verb, place)),
        None if is_metadata => Some(Call::Metadata(place)),
        None => Some(Call::Status(place)),
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

fn version<'a>(of: &str, text: &'a str) -> Option<Wanted<&'a str>> {
    if of.eq_ignore_ascii_case("versions") {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // Versions begin at 1; OpenVINO's client says 0 for the latest.
        let wanted = if text == "0" {
            Wanted::Latest
        } else {
            Wanted::Number(text)
        };
        return is_number.then_some(wanted);
    }
    (of.eq_ignore_ascii_case("labels") && is_name(text)).then_some(Wanted::Label(text))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latest(model: &str) -> Place<'_> {
        let version = Wanted::Latest;
        Place { model, version }
    }

    #[test]
    fn every_path_of_the_api_is_known() {
        let numbered = Place {
            model: "m",
            version: Wanted::Number("3"),
        };
        let labelled = Place {
            model: "m",
            version: Wanted::Label("stable"),
        };
        for (path, call) in [
            ("/v1/models/m:predict", Call::Run(Verb::Predict, latest("m"))),
            ("/V1/Models/M:Classify", Call::Run(Verb::Classify, latest("M"))),
            ("/v1/models/m/versions/3:regress", Call::Run(Verb::Regress, numbered)),
            ("/v1/models/m/labels/stable:predict", Call::Run(Verb::Predict, labelled)),
            ("/v1/models/m", Call::Status(latest("m"))),
            ("/v1/models/metadata", Call::Status(latest("metadata"))),
            ("/v1/models/m/versions/3", Call::Status(numbered)),
            ("/v1/models/m/labels/stable/METADATA", Call::Metadata(labelled)),
            ("/v1/models/m/metadata", Call::Metadata(latest("m"))),
            ("/v1/models/m/versions/0/metadata", Call::Metadata(latest("m"))),
            ("/v1/models", Call::NoModel),
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
