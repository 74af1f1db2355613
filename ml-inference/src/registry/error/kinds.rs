//! The kinds of errors that ml-inference/docs/registry.md lists are those of the code.

use std::io;
use std::path::{Path, PathBuf};

use shared::samples;
use shared::test_util::docs::{Table, check_page, code};

use super::{IndexFault, RegistryError, Sha256};

const MEND: &str = "cargo test -p ml-inference --lib kinds";

fn errors() -> Vec<RegistryError> {
    let object = || "https://models.example/iris/1/model.onnx".to_owned();
    let index = || "https://models.example/iris/SHA256SUMS".to_owned();
    let path = || PathBuf::from("/models/iris/1");
    let answer = || "404 Not Found".to_owned();
    let problem = || "…".to_owned();
    samples!(RegistryError:
        RegistryError::Authority { .. } => RegistryError::Authority { path: "/ca.pem".into(), problem: problem() },
        RegistryError::HalfCredentials { .. } => RegistryError::HalfCredentials {
            given: "REGISTRY_USER", missing: "REGISTRY_PASSWORD",
        },
        RegistryError::Client(_) => RegistryError::Client(problem()),
        RegistryError::Unreachable { .. } => RegistryError::Unreachable {
            server: "https://models.example".to_owned(), problem: problem(),
        },
        RegistryError::Refused { .. } => RegistryError::Refused {
            object: index(), user: "reader".to_owned(), answer: "401 Unauthorized".to_owned(),
        },
        RegistryError::NoCredentials { .. } => RegistryError::NoCredentials {
            object: index(), answer: "401 Unauthorized".to_owned(),
        },
        RegistryError::Missing { .. } => RegistryError::Missing { object: object(), answer: answer() },
        RegistryError::Answer { .. } => RegistryError::Answer {
            object: object(), answer: "500 Internal Server Error".to_owned(),
        },
        RegistryError::Redirect { .. } => RegistryError::Redirect {
            object: object(), to: "http://models.example/".to_owned(),
        },
        RegistryError::BrokeOff { .. } => RegistryError::BrokeOff { object: object(), problem: problem() },
        RegistryError::Index { .. } => RegistryError::Index { object: index(), fault: IndexFault::CutOff },
        RegistryError::TooLarge { .. } => RegistryError::TooLarge {
            object: object(), limit: 1024, setting: "MAX_MODEL_BYTES",
        },
        RegistryError::Digest { .. } => RegistryError::Digest {
            object: object(), expected: Sha256::of(b"1"), found: Sha256::of(b"2"),
        },
        RegistryError::Changed { .. } => RegistryError::Changed { object: object(), version: 1 },
        RegistryError::ByHand { .. } => RegistryError::ByHand { path: path() },
        RegistryError::ConfigByHand { .. } => RegistryError::ConfigByHand {
            path: "/models/iris/config.yaml".into(),
        },
        RegistryError::Config { .. } => RegistryError::Config { object: index(), problem: problem() },
        RegistryError::Busy { .. } => RegistryError::Busy { path: path() },
        RegistryError::Files { .. } => RegistryError::Files {
            doing: "write", path: path(), source: io::ErrorKind::StorageFull.into(),
        },
        RegistryError::GivenUp { .. } => RegistryError::GivenUp { path: path() },
    )
}

#[test]
fn the_page_of_the_registry_lists_every_error() {
    let mut table = Table::new(["`kind`", "`problem`, for example"]);
    for error in errors() {
        table.row([code(error.kind()), error.to_string()]);
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/registry.md");
    check_page(&page, MEND, &[("errors", &table)]);
}
