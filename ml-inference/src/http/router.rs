//! From a path and a method to an answer.

use std::error::Error;

use bytes::Bytes;
use http::Response;
use http_body::Body;

use super::context::ParsedRequest;
use super::error::{Dialect, RequestError, check};
use super::path::ParsedPath;
use super::response::{ResponseBody, no_grpc};
use super::state::ServiceState;
use super::{lab, mlflow, open_inference, probes, tf_serving};

/// Answers one request; what goes wrong is an answer too.
pub async fn answer<B>(state: &ServiceState, parsed: ParsedRequest<B>) -> Response<ResponseBody>
where
    B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
{
    let ParsedRequest { path, request, .. } = parsed;
    let (head, body) = request.into_parts();
    let route = path.route();
    let (answered, dialect) = match path {
        ParsedPath::Lab(_) => {
            let answered = match check(route, &head.method) {
                Ok(()) => lab::answer(state, &head, body).await,
                Err(error) => Err(error),
            };
            (answered, Dialect::Problem)
        }
        ParsedPath::Probe(probe) => {
            let answered = check(route, &head.method).and_then(|()| probes::answer(state, probe));
            (answered, Dialect::Problem)
        }
        ParsedPath::Grpc => return no_grpc(),
        ParsedPath::Status | ParsedPath::Unknown => (Err(RequestError::UnknownPath), Dialect::Problem),
        ParsedPath::Mlflow(path) => {
            let answered = match check(route, &head.method) {
                Ok(()) => mlflow::answer(state, path, &head, body).await,
                Err(error) => Err(error),
            };
            (answered, Dialect::Mlflow)
        }
        ParsedPath::TfServing(call) => (tf_serving::answer(state, call, &head, body).await, Dialect::Protocol),
        ParsedPath::OpenInference(call) => {
            let answered = match check(route, &head.method) {
                Ok(()) => open_inference::answer(state, call, &head, body).await,
                Err(error) => Err(error),
            };
            (answered, Dialect::Protocol)
        }
    };
    answered.unwrap_or_else(|error| error.into_response(dialect))
}
