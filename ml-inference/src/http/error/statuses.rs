//! The statuses that ml-inference/docs/api.md lists are those of the code.

use std::path::Path;
use std::time::Duration;

use http::{Method, Response};
use model_runtime::RuntimeError;
use shared::samples;
use shared::serve::Refusal;
use shared::test_util::docs::{Table, check_page, code};

use super::{Dialect, RequestError};
use crate::catalog::{FindError, VersionState};
use crate::engine::EngineError;
use crate::http::body::BodyError;
use crate::http::response::ResponseBody;
use crate::protocol::{InputError, mlflow, open_inference, tf_serving};
use crate::repository::{CommandError, CommandKind};
use crate::route::Route;

const MEND: &str = "cargo test -p ml-inference --lib statuses";
const LIMIT: usize = 1024;

fn model() -> String {
    "iris".to_owned()
}

fn problem() -> String {
    "…".to_owned()
}

fn errors() -> Vec<RequestError> {
    let mut errors = samples!(RequestError:
        RequestError::UnknownPath => RequestError::UnknownPath,
        RequestError::UnknownAdminPath => RequestError::UnknownAdminPath,
        RequestError::AtAdminListener => RequestError::AtAdminListener,
        RequestError::WrongMethod { .. } => RequestError::WrongMethod { method: Method::GET, route: Route::OpenInferenceInfer },
        RequestError::Body(_) => BodyError::Broken.into(),
        RequestError::Input(_) => InputError::Document { problem: "broken JSON".to_owned() }.into(),
        RequestError::TfServing(_) => tf_serving::Error::Empty.into(),
        RequestError::OpenInference(_) => open_inference::Error::Path.into(),
        RequestError::Mlflow(_) => mlflow_errors().remove(0).into(),
        RequestError::Find(_) => RequestError::Find(FindError::NoModel { model: model() }),
        RequestError::Control(_) => CommandError::Gone.into(),
        RequestError::Engine(_) => EngineError::BadOutput.into(),
        RequestError::Loading => RequestError::Loading,
        RequestError::Unloaded { .. } => RequestError::Unloaded { model: model() },
        RequestError::NotServed(_) => RequestError::NotServed(FindError::NoneAvailable {
            model: model(), problem: Some(problem()),
        }),
        RequestError::Draining => RequestError::Draining,
    );
    errors.extend(body_errors());
    errors.extend(protocol_errors());
    errors.extend(model_errors());
    errors
}

fn body_errors() -> Vec<RequestError> {
    let bodies = samples!(BodyError:
        BodyError::TooLarge { .. } => BodyError::TooLarge { limit: LIMIT },
        BodyError::TooSlow { .. } => BodyError::TooSlow { limit: Duration::from_secs(30) },
        BodyError::Broken => BodyError::Broken,
        BodyError::Coding { .. } => BodyError::Coding { coding: "gzip" },
        BodyError::UnknownCoding => BodyError::UnknownCoding,
        BodyError::Refused(_) => BodyError::Refused(Refusal::ChunkSize),
    );
    let inputs = samples!(InputError:
        InputError::Document { .. } => InputError::Document { problem: "broken JSON".to_owned() },
        InputError::Member { .. } => InputError::Member { field: "instances[3]".to_owned(), problem: problem() },
        InputError::TooMany { .. } => InputError::TooMany { field: "instances".to_owned(), limit: LIMIT },
    );
    let bodies = bodies.into_iter().map(RequestError::from);
    bodies.chain(inputs.into_iter().map(RequestError::from)).collect()
}

/// Errors of reading JSON and of inputs that do not fit have the words of the reader and of the signature.
fn protocol_errors() -> Vec<RequestError> {
    use open_inference::Error as V2;
    use tf_serving::Error as V1;

    let v1 = samples!(V1:
        V1::Malformed { .. } => V1::Malformed { method: "GET".to_owned(), path: "/v1/…".to_owned() },
        V1::VersionNumber { .. } => V1::VersionNumber { version: "one".to_owned() },
        V1::NoServable { .. } => V1::NoServable { request: "Latest(iris)".to_owned() },
        V1::NoVersions { .. } => V1::NoVersions { model: model() },
        V1::NoVersion { .. } => V1::NoVersion { version: 7, model: model() },
        V1::NoLabel { .. } => V1::NoLabel { label: "stable".to_owned() },
        V1::Empty | V1::Json(_) => V1::Empty,
        V1::Argument { .. } => V1::Argument { problem: "instances: …".to_owned() },
        V1::TooLarge { .. } => V1::TooLarge { limit: LIMIT },
    );
    let v2 = samples!(V2:
        V2::Json(_) | V2::InputMismatch(_) | V2::Path => V2::Path,
        V2::HeaderLength { .. } => V2::HeaderLength { found: "x".to_owned(), body: LIMIT },
        V2::SeveralHeaderLengths => V2::SeveralHeaderLengths,
        V2::Member { .. } => V2::Member { field: "inputs[x].data".to_owned(), problem: problem() },
        V2::TooLarge { .. } => V2::TooLarge { field: "inputs[x].data".to_owned(), limit: LIMIT },
    );
    let v1 = v1.into_iter().map(RequestError::from);
    let mlflow = mlflow_errors().into_iter().map(RequestError::from);
    v1.chain(v2.into_iter().map(RequestError::from)).chain(mlflow).collect()
}

fn mlflow_errors() -> Vec<mlflow::Error> {
    use mlflow::Error;

    samples!(Error:
        Error::Json(_) | Error::Document { .. } => Error::Document { problem: "expected an object with …".to_owned() },
        Error::MediaType { .. } => Error::MediaType { found: "text/plain".to_owned() },
        Error::Member { .. } => Error::Member { field: "dataframe_split.data[3][0]".to_owned(), problem: problem() },
        Error::Line { .. } => Error::Line { line: 5, problem: "column `age`: …".to_owned() },
        Error::TooLarge { .. } => Error::TooLarge { limit: LIMIT },
    )
}

fn model_errors() -> Vec<RequestError> {
    let found = samples!(FindError:
        FindError::NoModel { .. } => FindError::NoModel { model: model() },
        FindError::NoneAvailable { .. } => FindError::NoneAvailable { model: model(), problem: None },
        FindError::NoVersion { .. } => FindError::NoVersion { model: model(), version: 7 },
        FindError::NotAvailable { .. } => FindError::NotAvailable {
            model: model(), version: 7, state: VersionState::Loading, problem: None,
        },
        FindError::NoLabel { .. } => FindError::NoLabel { model: model(), label: "stable".to_owned() },
    );
    let commands = samples!(CommandError:
        CommandError::NoModel { .. } => CommandError::NoModel { model: model() },
        CommandError::NoDirectory { .. } => CommandError::NoDirectory { model: model() },
        CommandError::BuiltIn { .. } => CommandError::BuiltIn { model: model() },
        CommandError::Refused { .. } => CommandError::Refused { model: model(), problem: problem() },
        CommandError::Unreadable { .. } => CommandError::Unreadable { problem: problem() },
        CommandError::Busy { .. } => CommandError::Busy { limit: LIMIT },
        CommandError::TooManyUnloaded { .. } => CommandError::TooManyUnloaded { limit: LIMIT },
        CommandError::Late { .. } => CommandError::Late { model: model(), kind: CommandKind::Load, limit: Duration::from_secs(50) },
        CommandError::Gone => CommandError::Gone,
    );
    let engine = samples!(EngineError:
        EngineError::Input(_) | EngineError::BadOutput => EngineError::BadOutput,
        EngineError::Runtime(_) => RuntimeError::Refused { problem: problem() }.into(),
        EngineError::Busy { .. } => EngineError::Busy { limit: LIMIT },
        EngineError::TooLarge { .. } => EngineError::TooLarge { limit: LIMIT },
        EngineError::Panicked | EngineError::Abandoned => EngineError::Panicked,
    );
    let found = found.into_iter().map(RequestError::Find);
    let commands = commands.into_iter().map(RequestError::from);
    found
        .chain(commands)
        .chain(engine.into_iter().map(RequestError::from))
        .collect()
}

fn retry_after(error: RequestError) -> String {
    let response: Response<ResponseBody> = error.into_response(Dialect::Problem);
    let value = response.headers().get(http::header::RETRY_AFTER);
    value.map_or_else(String::new, |value| code(value.to_str().expect("a number")))
}

#[test]
fn the_page_of_the_api_lists_every_status() {
    let rows = errors().into_iter().map(|error| {
        let (status, text) = (error.status().as_u16().to_string(), error.to_string());
        [status, text, retry_after(error)]
    });
    let mut rows: Vec<[String; 3]> = rows.collect();
    rows.sort();
    rows.dedup();
    let mut statuses = Table::new(["Status", "`detail` or `error` of the answer", "`Retry-After`"]);
    rows.into_iter().for_each(|row| statuses.row(row));
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md");
    check_page(&page, MEND, &[("statuses", &statuses)]);
}
