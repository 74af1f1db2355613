//! Every operator that is known, by its name.

use super::node::{LoadError, Node, Operator};
use super::{cast, elementwise, encoders, layout, linear, matrix, preprocessing, reduce, svm, trees};

const ML: &str = "ai.onnx.ml";

/// Makes what runs `node`, or `None` when the operator is not known.
pub(super) fn make(domain: &str, operator: &str, node: &Node<'_>) -> Option<Result<Operator, LoadError>> {
    Some(match (domain, operator) {
        (ML, "ArrayFeatureExtractor") => preprocessing::array_feature_extractor(node),
        (ML, "Binarizer") => preprocessing::binarizer(node),
        (ML, "FeatureVectorizer") => preprocessing::feature_vectorizer(node),
        (ML, "Imputer") => preprocessing::imputer(node),
        (ML, "LabelEncoder") => encoders::label_encoder(node),
        (ML, "LinearClassifier") => linear::classifier(node),
        (ML, "LinearRegressor") => linear::regressor(node),
        (ML, "Normalizer") => preprocessing::normalizer(node),
        (ML, "OneHotEncoder") => encoders::one_hot_encoder(node),
        (ML, "Scaler") => preprocessing::scaler(node),
        (ML, "SVMClassifier") => svm::classifier(node),
        (ML, "SVMRegressor") => svm::regressor(node),
        (ML, "TreeEnsemble") => trees::ensemble(node),
        (ML, "TreeEnsembleClassifier") => trees::classifier(node),
        (ML, "TreeEnsembleRegressor") => trees::regressor(node),
        (ML, "ZipMap") => preprocessing::zip_map(node),
        ("", name) => return own(name, node),
        _ => return None,
    })
}

/// ONNX's own operators.
fn own(operator: &str, node: &Node<'_>) -> Option<Result<Operator, LoadError>> {
    Some(match operator {
        "Abs" | "Ceil" | "Exp" | "Floor" | "Log" | "Neg" | "Reciprocal" | "Relu" | "Sigmoid" | "Sign" | "Sqrt"
        | "Tanh" => elementwise::unary(operator, node),
        "Add" | "Div" | "Mul" | "Pow" | "Sub" => elementwise::arithmetic(operator, node),
        "Max" | "Min" | "Sum" => elementwise::many(operator, node),
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" => elementwise::comparison(operator, node),
        "And" | "Or" | "Xor" => elementwise::logic(operator, node),
        "Not" => elementwise::not(node),
        "IsNaN" => elementwise::is_nan(node),
        "Where" => elementwise::choose(node),
        "ArgMax" | "ArgMin" => reduce::arg(operator, node),
        "ReduceL1" | "ReduceL2" | "ReduceMax" | "ReduceMean" | "ReduceMin" | "ReduceSum" | "ReduceSumSquare" => {
            reduce::reduce(operator, node)
        }
        "Softmax" => reduce::softmax(node),
        "Cast" => cast::cast(node),
        "Concat" => layout::concat(node),
        "Constant" => layout::constant(node),
        "Flatten" => layout::flatten(node),
        "Gather" => layout::gather(node),
        "Identity" => layout::identity(node),
        "Reshape" => layout::reshape(node),
        "Shape" => layout::shape(node),
        "Slice" => layout::slice(node),
        "Squeeze" => layout::squeeze(node),
        "Transpose" => layout::transpose(node),
        "Unsqueeze" => layout::unsqueeze(node),
        "Gemm" => matrix::gemm(node),
        "MatMul" => matrix::matmul(node),
        _ => return None,
    })
}
