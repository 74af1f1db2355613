//! TensorFlow Serving's REST API: what its own tests ask, and what its users rely on.

mod compressed;
mod describe;
mod examples;
mod mistakes;
mod predict;

use model_runtime::tensor::DataType;
use model_runtime::{Signature, TensorSpec};

use crate::models::{Counting, Echo, spec};

const PREDICT: &str = "/v1/models/half_plus_two:predict";
const REGRESS: &str = "/v1/models/half_plus_two:regress";
const CLASSIFY: &str = "/v1/models/iris:classify";

fn pair() -> Echo {
    Echo::new(&[spec("age", DataType::Int64, &[]), spec("name", DataType::Bytes, &[])])
}

/// A classifier as scikit-learn exports it: the class, and a probability for each.
fn iris() -> Counting {
    let probabilities = TensorSpec {
        labels: ["setosa", "versicolor", "virginica"].map(str::to_owned).to_vec(),
        ..spec("probabilities", DataType::Fp32, &[3])
    };
    Counting(Signature {
        inputs: vec![spec("petal", DataType::Fp32, &[2]), spec("site", DataType::Bytes, &[])],
        outputs: vec![spec("label", DataType::Bytes, &[]), probabilities],
    })
}
