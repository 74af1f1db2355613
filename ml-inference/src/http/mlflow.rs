//! Answers what is asked in MLflow's scoring protocol, which is about the model that MODEL_NAME names.

use std::error::Error;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Response};
use http_body::Body;

use super::error::RequestError;
use super::inference::{Parsed, infer};
use super::path::MlflowPath;
use super::response::{ResponseBody, answered_by, json};
use super::state::ServiceState;
use super::{body, probes};
use crate::protocol::mlflow::{self as protocol, Form, MediaType, Request};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Answers a request that has the right method.
pub(super) async fn answer<B>(
    state: &ServiceState,
    path: MlflowPath,
    head: &Parts,
    body: B,
) -> Result<Response<ResponseBody>, RequestError>
where
    B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
{
    match path {
        MlflowPath::Invocations => invoke(state, head, body).await,
        // MLflow answers a line break, and SageMaker looks at the status alone.
        MlflowPath::Ping => probes::readiness(state).map(|()| json("\n")),
        MlflowPath::Version => Ok(version()),
    }
}

/// The version of this program, where MLflow has its own.
fn version() -> Response<ResponseBody> {
    let mut response = json(env!("CARGO_PKG_VERSION"));
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

async fn invoke<B>(state: &ServiceState, head: &Parts, body: B) -> Result<Response<ResponseBody>, RequestError>
where
    B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
{
    let limits = **state.limits.load();
    let body = body::read_decoded(&head.headers, body, limits.into()).await?;
    let values = head.headers.get_all(CONTENT_TYPE).iter().map(HeaderValue::as_bytes);
    let media_type = MediaType::of(values)?;
    let loaded = state.served()?;
    let most_bytes = limits.max_body_bytes;
    let parse = move |body: &Bytes| {
        let signature = loaded.model.runtime.signature();
        let request = match media_type {
            MediaType::Json => protocol::parse_json(body, signature, most_bytes)?,
            MediaType::Csv => Request {
                form: Form::Rows,
                inputs: protocol::parse_csv(body, signature, most_bytes)?,
            },
        };
        Ok(Parsed {
            loaded,
            inputs: request.inputs,
            form: request.form,
        })
    };
    let (loaded, answer) = infer(state, body, parse, |form, outputs, model| {
        Ok(protocol::predictions(outputs, model.runtime.signature(), form))
    })
    .await?;
    Ok(answered_by(&loaded, json(answer)))
}
