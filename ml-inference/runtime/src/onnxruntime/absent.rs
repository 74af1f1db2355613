//! Stand-in for onnxruntime in a program without it.

use std::io;
use std::path::Path;

use crate::error::{LoadError, OnnxRuntimeError};
use crate::interface::ModelRuntime;
use crate::onnx::OnnxModel;
use crate::threads::Parallelism;

/// There is no value of it.
#[derive(Debug, Clone)]
pub enum OnnxRuntime {}

pub fn begin_without_telemetry() -> io::Result<()> {
    Ok(())
}

impl OnnxRuntime {
    pub fn load(_path: &Path, _parallelism: Parallelism) -> Result<Self, OnnxRuntimeError> {
        Err(OnnxRuntimeError::NotBuilt)
    }

    pub fn path(&self) -> &Path {
        match *self {}
    }

    pub(crate) fn open(&self, _file: &[u8], _model: &OnnxModel<'_>) -> Result<Box<dyn ModelRuntime>, LoadError> {
        match *self {}
    }
}
