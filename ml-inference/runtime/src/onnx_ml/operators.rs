//! Every operator that is known, by its name.

use super::node::{Operator, OperatorNode};
use super::{cast, constant, elementwise, encoders, gather, linear, matrix, preprocessing, reduce, shape, svm, trees};
use crate::error::LoadError;

const ML: &str = "ai.onnx.ml";

/// Constructor of an operator. Some make several, and get its name.
pub(super) type Make = fn(&str, &OperatorNode<'_>) -> Result<Operator, LoadError>;

/// Constructor of an operator, or `None` when it is not known.
pub(super) fn find(domain: &str, operator: &str) -> Option<Make> {
    Some(match (domain, operator) {
        (ML, "ArrayFeatureExtractor") => |_, node| preprocessing::array_feature_extractor(node),
        (ML, "Binarizer") => |_, node| preprocessing::binarizer(node),
        (ML, "FeatureVectorizer") => |_, node| preprocessing::feature_vectorizer(node),
        (ML, "Imputer") => |_, node| preprocessing::imputer(node),
        (ML, "LabelEncoder") => |_, node| encoders::label_encoder(node),
        (ML, "LinearClassifier") => |_, node| linear::classifier(node),
        (ML, "LinearRegressor") => |_, node| linear::regressor(node),
        (ML, "Normalizer") => |_, node| preprocessing::normalizer(node),
        (ML, "OneHotEncoder") => |_, node| encoders::one_hot_encoder(node),
        (ML, "Scaler") => |_, node| preprocessing::scaler(node),
        (ML, "SVMClassifier") => |_, node| svm::classifier(node),
        (ML, "SVMRegressor") => |_, node| svm::regressor(node),
        (ML, "TreeEnsemble") => |_, node| trees::ensemble(node),
        (ML, "TreeEnsembleClassifier") => |_, node| trees::classifier(node),
        (ML, "TreeEnsembleRegressor") => |_, node| trees::regressor(node),
        (ML, "ZipMap") => |_, node| preprocessing::zip_map(node),
        ("", name) => return own(name),
        _ => return None,
    })
}

/// ONNX's own operators.
fn own(operator: &str) -> Option<Make> {
    Some(match operator {
        "Abs" | "Ceil" | "Exp" | "Floor" | "Log" | "Neg" | "Reciprocal" | "Relu" | "Sigmoid" | "Sign" | "Sqrt"
        | "Tanh" => elementwise::unary,
        "Add" | "Div" | "Mul" | "Pow" | "Sub" => elementwise::arithmetic,
        "Max" | "Min" | "Sum" => elementwise::many,
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" => elementwise::comparison,
        "And" | "Or" | "Xor" => elementwise::logic,
        "Not" => |_, node| elementwise::not(node),
        "IsNaN" => |_, node| elementwise::is_nan(node),
        "Where" => |_, node| elementwise::choose(node),
        "ArgMax" | "ArgMin" => reduce::arg,
        "ReduceL1" | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceMax" | "ReduceMean" | "ReduceMin"
        | "ReduceProd" | "ReduceSum" | "ReduceSumSquare" => reduce::reduce,
        "Softmax" => |_, node| reduce::softmax(node),
        "Cast" => |_, node| cast::cast(node),
        "Concat" => |_, node| gather::concat(node),
        "Constant" => |_, node| constant::constant(node),
        "ConstantOfShape" => |_, node| constant::constant_of_shape(node),
        "Flatten" => |_, node| shape::flatten(node),
        "Gather" => |_, node| gather::gather(node),
        "Identity" => |_, node| constant::identity(node),
        "Reshape" => |_, node| shape::reshape(node),
        "Shape" => |_, node| shape::shape(node),
        "Slice" => |_, node| gather::slice(node),
        "Squeeze" => |_, node| shape::squeeze(node),
        "Transpose" => |_, node| gather::transpose(node),
        "Unsqueeze" => |_, node| shape::unsqueeze(node),
        "Gemm" => |_, node| matrix::gemm(node),
        "MatMul" => |_, node| matrix::matmul(node),
        _ => return None,
    })
}
