//! Which runtime an ONNX file is for.
//!
//! ```text
//! operators of ai.onnx.ml     onnx_ml, then onnxruntime
//! all others                  onnxruntime, then rten, then onnx_ml
//! ```
//!
//! Operators of `ai.onnx.ml` are what classical models are made of: `onnx_ml` is faster at them than onnxruntime, and rten has
//! none. Where there is no onnxruntime, other models are rten's, except those it would compute otherwise than they mean:
//! `onnx_ml` knows the operators around classical models in 64 bits too, and what they meant in older operator sets. rten counts
//! in 32 bits: what takes, gives or makes 64-bit integers is first tried there, and a constant beyond 32 bits is refused here.

use std::path::Path;

use tracing::info;

use crate::error::{LoadError, OnnxRuntimeError};
use crate::graph_signature::graph_signature;
use crate::interface::ModelRuntime;
use crate::onnx::{self, Attribute, Graph, NodeProto, OnnxModel};
use crate::onnx_ml::OnnxMl;
use crate::onnxruntime::{self, OnnxRuntime};
use crate::rten::Rten;
use crate::signature::Signature;
use crate::tensor::DataType;
use crate::threads::Parallelism;

const ML: &str = "ai.onnx.ml";
const OLDEST_OPSET: i64 = 11;
const NEW_SOFTMAX: i64 = 13;
/// From here on a whole number stands for an end that is never reached.
const ENDS: u64 = 1 << 62;

/// The runtime that a model's configuration asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RuntimeChoice {
    /// As the file is.
    #[default]
    Auto,
    OnnxMl,
    OnnxRuntime,
    Rten,
}

impl RuntimeChoice {
    const ALL: [Self; 4] = [Self::Auto, Self::OnnxMl, Self::OnnxRuntime, Self::Rten];
    pub const NAMES: &'static [&'static str] = &["auto", "onnx_ml", "onnxruntime", "rten"];

    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::OnnxMl => "onnx_ml",
            Self::OnnxRuntime => "onnxruntime",
            Self::Rten => "rten",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.name() == name)
    }
}

/// The runtimes that there are for ONNX files.
#[derive(Debug, Clone)]
pub struct Runtimes {
    onnxruntime: Result<OnnxRuntime, OnnxRuntimeError>,
}

/// Those that are part of the program.
impl Default for Runtimes {
    fn default() -> Self {
        let why = match onnxruntime::IS_BUILT_IN {
            true => OnnxRuntimeError::NotLoaded,
            false => OnnxRuntimeError::NotBuilt,
        };
        Self { onnxruntime: Err(why) }
    }
}

impl From<OnnxRuntime> for Runtimes {
    fn from(onnxruntime: OnnxRuntime) -> Self {
        Self {
            onnxruntime: Ok(onnxruntime),
        }
    }
}

impl Runtimes {
    /// With onnxruntime's library at `path`. Without a path it is taken where there is one, and a program without it is whole.
    pub fn find(path: Option<&Path>, parallelism: Parallelism) -> Result<Self, OnnxRuntimeError> {
        let found = match path {
            Some(path) => Ok(OnnxRuntime::load(path, parallelism)?),
            None => OnnxRuntime::load(Path::new(onnxruntime::DEFAULT_LIBRARY), parallelism),
        };
        match &found {
            Ok(loaded) => info!(path = %loaded.path().display(), "onnxruntime loaded"),
            Err(OnnxRuntimeError::NotBuilt) => {}
            Err(why) => info!(%why, "running models without onnxruntime"),
        }
        Ok(Self { onnxruntime: found })
    }

    /// Makes a model of a file's content.
    pub fn open(&self, file: Vec<u8>, choice: RuntimeChoice) -> Result<Box<dyn ModelRuntime>, LoadError> {
        match (choice, &self.onnxruntime) {
            (RuntimeChoice::Auto, Ok(onnxruntime)) => open_with(onnxruntime, file),
            (RuntimeChoice::Auto, Err(_none)) => open_without(file),
            (RuntimeChoice::OnnxMl, _) => on_onnx_ml(&onnx::parse(&file)?),
            (RuntimeChoice::OnnxRuntime, Ok(onnxruntime)) => onnxruntime.open(&file, &onnx::parse(&file)?),
            (RuntimeChoice::OnnxRuntime, Err(why)) => Err(LoadError::Runtime(why.clone())),
            (RuntimeChoice::Rten, _) => {
                let signature = rten_signature(&onnx::parse(&file)?)?;
                on_rten(file, signature)
            }
        }
    }
}

fn is_classical(model: &OnnxModel<'_>) -> bool {
    model.graph.nodes.iter().any(|node| node.domain == ML)
}

/// Opens a file where onnxruntime is loaded. If no runtime takes it, onnxruntime's error is returned: it has all operators.
fn open_with(onnxruntime: &OnnxRuntime, file: Vec<u8>) -> Result<Box<dyn ModelRuntime>, LoadError> {
    let model = onnx::parse(&file)?;
    if is_classical(&model) {
        return on_onnx_ml(&model).or_else(|_narrower| onnxruntime.open(&file, &model));
    }
    let opened = onnxruntime.open(&file, &model);
    opened.or_else(|refused| open_without(file).map_err(|_narrower| refused))
}

/// rten has more operators than `onnx_ml`: what it says is nearer to what is wrong.
fn open_without(file: Vec<u8>) -> Result<Box<dyn ModelRuntime>, LoadError> {
    let model = onnx::parse(&file)?;
    if is_classical(&model) {
        return on_onnx_ml(&model);
    }
    // What counts in 64 bits is counted in 64 bits wherever that can be.
    if has_int64(&model)
        && OnnxMl::knows(&model)
        && let Ok(opened) = on_onnx_ml(&model)
    {
        return Ok(opened);
    }
    let signature = match rten_signature(&model) {
        Ok(signature) => signature,
        Err(refused) => return on_onnx_ml(&model).map_err(|_narrower| refused),
    };
    // rten takes the file. Only what `onnx_ml` knows whole is worth another in memory: few operators, so hardly ever a large model.
    let second = OnnxMl::knows(&model).then(|| file.clone());
    on_rten(file, signature).or_else(|refused| {
        let Some(file) = second else {
            return Err(refused);
        };
        on_onnx_ml(&onnx::parse(&file)?).map_err(|_narrower| refused)
    })
}

fn on_onnx_ml(model: &OnnxModel<'_>) -> Result<Box<dyn ModelRuntime>, LoadError> {
    Ok(Box::new(OnnxMl::of(model)?))
}

fn on_rten(file: Vec<u8>, signature: Signature) -> Result<Box<dyn ModelRuntime>, LoadError> {
    Ok(Box::new(Rten::load(file, signature)?))
}

/// True if the model takes, returns or makes 64-bit integers as values, not just as shapes.
fn has_int64(model: &OnnxModel<'_>) -> bool {
    let makes = |node: &NodeProto<'_>| {
        let to_int64 = |(name, to): &(&str, Attribute<'_>)| match to {
            Attribute::Int(to) => *name == "to" && onnx::data_type(*to) == Some(DataType::Int64),
            _ => false,
        };
        node.operator == "Cast" && node.attributes.iter().any(to_int64)
    };
    let ends = model.graph.inputs.iter().chain(&model.graph.outputs);
    let is_int64 = |value: &onnx::ValueInfo<'_>| value.spec().is_ok_and(|spec| spec.data_type == DataType::Int64);
    ends.into_iter().any(is_int64) || model.graph.nodes.iter().any(makes)
}

/// rten counts in 32 bits. The ends of what 64 bits hold stand for "all of it" in slices, which it knows.
fn check_constants(graph: &Graph<'_>) -> Result<(), LoadError> {
    let of_nodes = graph.nodes.iter().flat_map(|node| &node.attributes);
    let of_nodes = of_nodes.filter_map(|(_, attribute)| match attribute {
        Attribute::Tensor(tensor) => Some(tensor),
        _ => None,
    });
    for constant in graph.initializers.iter().chain(of_nodes) {
        let Some(tensor) = constant.read_int64()? else { continue };
        let mut values = tensor.values::<i64>().unwrap_or_default().iter();
        let is_wide = |value: &&i64| i32::try_from(**value).is_err() && value.unsigned_abs() < ENDS;
        if let Some(value) = values.find(is_wide) {
            let problem = format!(
                "the constant `{}` has the number {value}, and rten computes with 32-bit integers",
                constant.name
            );
            return Err(LoadError::Graph(problem));
        }
    }
    Ok(())
}

fn rten_signature(model: &OnnxModel<'_>) -> Result<Signature, LoadError> {
    check_opset(model)?;
    check_constants(&model.graph)?;
    graph_signature(&model.graph)
}

/// rten gives every operator its meaning of now. Until version 13 these three put all dimensions from `axis` on together, and
/// before version 11 more than one operator was another.
fn check_opset(model: &OnnxModel<'_>) -> Result<(), LoadError> {
    let opset = model.opset("").unwrap_or(OLDEST_OPSET);
    if opset < OLDEST_OPSET {
        let problem = format!("made for version {opset} of ONNX's operators; export it for {OLDEST_OPSET} or newer");
        return Err(LoadError::Graph(problem));
    }
    let is_other = |name: &str| matches!(name, "Softmax" | "LogSoftmax" | "Hardmax");
    let mut nodes = model.graph.nodes.iter();
    match nodes.find(|node| opset < NEW_SOFTMAX && is_other(node.operator)) {
        None => Ok(()),
        Some(node) => Err(LoadError::Node {
            node: format!("`{}` ({})", node.name, node.operator),
            problem: format!("of version {opset} of ONNX's operators; export the model for {NEW_SOFTMAX} or newer"),
        }),
    }
}
