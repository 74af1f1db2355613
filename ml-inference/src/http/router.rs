//! From a path and a method to an answer.

use std::sync::Arc;

use http::{Method, Request, Response};
use hyper::body::Incoming;

use super::body::{self, BodyLimits};
use super::{Answer, State, json, probes};
use crate::engine::{EngineError, LoadedModel};
use crate::error::RequestError;
use crate::protocol::lab;
use crate::tensor::Tensor;

/// The paths of this service; the discriminants index the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    Root,
    Predict,
    Health,
    Livez,
    Readyz,
    Metrics,
    Unknown,
}

impl Route {
    pub const COUNT: usize = Self::Unknown as usize + 1;

    pub fn of(path: &str) -> Self {
        match path {
            "/" => Self::Root,
            "/predict" => Self::Predict,
            "/health" => Self::Health,
            "/livez" => Self::Livez,
            "/readyz" => Self::Readyz,
            "/metrics" => Self::Metrics,
            _ => Self::Unknown,
        }
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
            Self::Unknown => "unknown",
        }
    }

    /// What a 405 names in Allow.
    pub fn methods(self) -> &'static str {
        match self {
            Self::Root | Self::Predict => "GET, HEAD, POST",
            _ => "GET, HEAD",
        }
    }

    /// Asked every few seconds by machines: such requests would drown the others in the log.
    pub fn is_probe(self) -> bool {
        matches!(self, Self::Health | Self::Livez | Self::Readyz | Self::Metrics)
    }

    fn allows(self, method: &Method) -> bool {
        match *method {
            // HEAD is GET without the body, which hyper leaves out.
            Method::GET | Method::HEAD => true,
            Method::POST => matches!(self, Self::Root | Self::Predict),
            _ => false,
        }
    }
}

/// Answers one request; what goes wrong is an answer too.
pub async fn answer(state: &State, request: Request<Incoming>) -> Response<Answer> {
    let route = Route::of(request.uri().path());
    let answered = match check(route, request.method()) {
        Err(error) => Err(error),
        Ok(()) => dispatch(state, route, request).await,
    };
    answered.unwrap_or_else(RequestError::into_response)
}

fn check(route: Route, method: &Method) -> Result<(), RequestError> {
    if route == Route::Unknown {
        return Err(RequestError::UnknownPath);
    }
    if !route.allows(method) {
        let method = method.clone();
        return Err(RequestError::WrongMethod { method, route });
    }
    Ok(())
}

async fn dispatch(state: &State, route: Route, request: Request<Incoming>) -> Result<Response<Answer>, RequestError> {
    match route {
        Route::Root | Route::Predict if request.method() == Method::POST => predict(state, request).await,
        Route::Root | Route::Predict => show(state).await,
        Route::Health => Ok(probes::health(state)),
        Route::Livez => Ok(probes::livez()),
        Route::Readyz => probes::readyz(state),
        Route::Metrics => probes::scrape(state),
        Route::Unknown => Err(RequestError::UnknownPath),
    }
}

/// GET: the model run on its example inputs.
async fn show(state: &State) -> Result<Response<Answer>, RequestError> {
    let served = state.served()?;
    let example = served.model.example.clone();
    predictions(state, &served, example).await
}

/// POST: the model run on what the client sent, whatever its Content-Type says (`curl -d` says a form).
async fn predict(state: &State, request: Request<Incoming>) -> Result<Response<Answer>, RequestError> {
    let allowed = **state.limits.load();
    let limits = BodyLimits {
        bytes: allowed.max_body_bytes,
        time: allowed.request_timeout,
    };
    let (head, body) = request.into_parts();
    let text = body::read(&head.headers, body, limits).await?;
    // A number takes 8 bytes in memory and as few as two in the text.
    let most_numbers = (allowed.max_body_bytes / size_of::<f64>()).max(1);
    let question = lab::parse(&text, most_numbers)?;
    drop(text);
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
    Ok(json(lab::predictions(&output, &served.model)?))
}

/// The first output of a run.
async fn run(state: &State, model: &Arc<LoadedModel>, inputs: Vec<Tensor>) -> Result<Tensor, RequestError> {
    let limits = state.limits.load().run;
    let outputs = state.engine.run(model, inputs, limits).await?;
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
        ] {
            assert_eq!(Route::of(other), Route::Unknown, "{other:?}");
        }
    }

    #[test]
    fn allow_names_exactly_the_methods_that_work() {
        for route in [
            Route::Root,
            Route::Predict,
            Route::Health,
            Route::Livez,
            Route::Readyz,
            Route::Metrics,
        ] {
            for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::OPTIONS] {
                let named = route.methods().split(", ").any(|name| name == method.as_str());
                assert_eq!(route.allows(&method), named, "{method} {route:?}");
            }
        }
    }
}
