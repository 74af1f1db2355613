//! Answers what is asked in the lab's protocol.

use std::error::Error;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};
use http_body::Body;

use super::body;
use super::error::RequestError;
use super::inference::{Parsed, infer};
use super::response::{ResponseBody, answered_by, json};
use super::state::ServiceState;
use crate::engine::EngineError;
use crate::protocol::lab;

/// Form of a request's numbers, and of its answer.
#[derive(Clone, Copy)]
enum Form {
    Instances,
    Features,
}

/// Answers one request.
pub(super) async fn answer<B>(
    state: &ServiceState,
    head: &Parts,
    body: B,
) -> Result<Response<ResponseBody>, RequestError>
where
    B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
{
    if head.method == Method::POST {
        predict(state, head, body).await
    } else {
        predict_example(state).await
    }
}

/// GET: the model run on its example inputs.
async fn predict_example(state: &ServiceState) -> Result<Response<ResponseBody>, RequestError> {
    let loaded = state.served()?;
    let parse = |_no_body: &Bytes| {
        Ok(Parsed {
            inputs: loaded.model.example.clone(),
            loaded,
            form: Form::Instances,
        })
    };
    run_predict(state, Bytes::new(), parse).await
}

/// POST: the model run on what the client sent, whatever its Content-Type says (`curl -d` says a form).
async fn predict<B>(state: &ServiceState, head: &Parts, body: B) -> Result<Response<ResponseBody>, RequestError>
where
    B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
{
    let limits = **state.limits.load();
    let body = body::read(&head.headers, body, limits.into()).await?;
    // A number takes 8 bytes in memory and as few as two in the text.
    let most_numbers = (limits.max_body_bytes / size_of::<f64>()).max(1);
    // Which of the two it is for, only the body says.
    let (served, sum) = (state.served(), state.sum());
    let parse = move |body: &Bytes| match lab::parse(body, most_numbers)? {
        lab::PredictRequest::Instances(instances) => {
            let loaded = served?;
            let input = lab::model_input(instances, loaded.model.runtime.signature())?;
            Ok(Parsed {
                loaded,
                inputs: vec![input],
                form: Form::Instances,
            })
        }
        lab::PredictRequest::Features(row) => Ok(Parsed {
            loaded: sum?,
            inputs: vec![row],
            form: Form::Features,
        }),
    };
    run_predict(state, body, parse).await
}

async fn run_predict(
    state: &ServiceState,
    body: Bytes,
    parse: impl FnOnce(&Bytes) -> Result<Parsed<Form>, RequestError> + Send + 'static,
) -> Result<Response<ResponseBody>, RequestError> {
    let (loaded, answer) = infer(state, body, parse, |form, outputs, model| {
        let output = outputs.first().ok_or(EngineError::BadOutput)?;
        Ok(match form {
            Form::Instances => lab::predictions(output, model)?,
            Form::Features => lab::prediction(output, model)?,
        })
    })
    .await?;
    Ok(answered_by(&loaded, json(answer)))
}
