//! A model as clients know it: a name, a version, something that runs it, and inputs to show it with.

mod version;

use model_runtime::tensor::{Tensor, TensorError};
use model_runtime::{
    HalfPlusTwo, LoadError, MLP_INPUTS, Mlp, ModelRuntime, RuntimeChoice, Runtimes, Sum, probe_row_independence,
};

pub use version::ModelVersion;

/// The models that are part of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuiltIn {
    HalfPlusTwo,
    Sum,
    Mlp,
}

impl BuiltIn {
    const ALL: [Self; 3] = [Self::HalfPlusTwo, Self::Sum, Self::Mlp];

    pub const EXPECTS: &'static str = "the name of a known model: half_plus_two, sum or mlp";

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::HalfPlusTwo => "half_plus_two",
            Self::Sum => "sum",
            Self::Mlp => "mlp",
        }
    }

    /// Example inputs of a GET: the lab's three numbers, the lesson's five features as one row, or one row of the right length.
    fn example(self) -> Result<Tensor, TensorError> {
        match self {
            Self::HalfPlusTwo => Tensor::of(vec![3], vec![1.0_f64, 2.0, 5.0]),
            Self::Sum => Tensor::of(vec![1, 5], vec![1.0_f64, 2.0, 3.0, 4.0, 5.0]),
            Self::Mlp => Tensor::of(vec![1, MLP_INPUTS], vec![0.5_f32; MLP_INPUTS]),
        }
    }

    fn runtime(self) -> Box<dyn ModelRuntime> {
        match self {
            Self::HalfPlusTwo => Box::new(HalfPlusTwo::default()),
            Self::Sum => Box::new(Sum::default()),
            Self::Mlp => Box::new(Mlp::untrained()),
        }
    }
}

/// A model that is loaded and can run.
#[derive(Debug)]
pub struct Model {
    pub name: String,
    pub version: ModelVersion,
    pub example: Vec<Tensor>,
    pub runtime: Box<dyn ModelRuntime>,
    /// True if a row's result does not depend on the other rows ([`probe_row_independence`]): requests may be split into batches.
    pub rows_independent: bool,
}

impl Model {
    /// # Panics
    /// When a built-in model's own example is no tensor, which the tests of this module exclude.
    pub fn built_in(model: BuiltIn, version: ModelVersion) -> Self {
        Self {
            name: model.name().to_owned(),
            version,
            example: vec![model.example().expect("the examples of built-in models are tensors")],
            runtime: model.runtime(),
            rows_independent: true,
        }
    }

    /// A model out of an ONNX file, run by what is part of the program; it is shown with a row of zeros.
    pub fn from_onnx(name: impl Into<String>, version: ModelVersion, file: Vec<u8>) -> Result<Self, LoadError> {
        let runtime = Runtimes::default().open(file, RuntimeChoice::Auto)?;
        let example = runtime.signature().zeros(1);
        Ok(Self {
            name: name.into(),
            version,
            example: example.map_err(|error| LoadError::Graph(error.to_string()))?,
            rows_independent: probe_row_independence(runtime.as_ref(), &[]),
            runtime,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_model_loads_under_the_name_it_is_found_by() {
        for built_in in BuiltIn::ALL {
            let version = ModelVersion::parse("1.0").expect("a version");
            let model = Model::built_in(built_in, version);
            assert_eq!(BuiltIn::parse(&model.name), Some(built_in));
            assert!(BuiltIn::EXPECTS.contains(&model.name), "{}", model.name);
            assert_eq!(model.runtime.signature().check(&model.example), Ok(()));
        }
        assert_eq!(BuiltIn::parse("resnet"), None);
    }
}
