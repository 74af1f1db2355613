//! Models run by onnxruntime. Needs its library, `ORT_DYLIB_PATH=$(scripts/onnxruntime.sh)`, and `ORT_DISABLE_TELEMETRY=1`, which only
//! the real process sees to itself.

#[path = "../zoo/compare.rs"]
mod compare;
mod models;
mod process;
#[path = "../service/server.rs"]
#[expect(dead_code, reason = "the tests of the service need more of it")]
mod server;

use std::path::PathBuf;

/// The library that the tests are run with.
fn library() -> PathBuf {
    assert!(
        std::env::var_os("ORT_DISABLE_TELEMETRY").is_some(),
        "set ORT_DISABLE_TELEMETRY=1"
    );
    let path = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from);
    path.expect("set ORT_DYLIB_PATH to what scripts/onnxruntime.sh prints")
}

/// The models that only onnxruntime runs.
fn only_onnxruntime() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/zoo/only_onnxruntime")
}
