//! Every operator that is known, by its name.

use super::node::{Operator, OperatorNode};
use super::{cast, constant, elementwise, encoders, gather, linear, matrix, preprocessing, reduce, shape, svm, trees};
use crate::error::LoadError;

/// The domain of the operators of classical machine learning; that of ONNX's own is the empty name.
const ML: &str = "ai.onnx.ml";

/// Constructor of an operator. Some make several, and get its name.
pub(super) type Make = fn(&str, &OperatorNode<'_>) -> Result<Operator, LoadError>;

/// Constructor of an operator, or `None` when it is not known.
pub(super) fn find(domain: &str, operator: &str) -> Option<Make> {
    let known = match domain {
        ML => ML_OPERATORS,
        "" => ONNX_OPERATORS,
        _ => return None,
    };
    let row = known.iter().find(|(names, _)| names.contains(&operator));
    row.map(|(_, make)| *make)
}

/// The names of all operators of ONNX's domain for machine learning.
pub(super) fn ml_names() -> impl Iterator<Item = &'static str> {
    names(ML_OPERATORS)
}

/// The names of all operators of ONNX's own domain.
pub(super) fn onnx_names() -> impl Iterator<Item = &'static str> {
    names(ONNX_OPERATORS)
}

fn names(known: &'static [(&[&str], Make)]) -> impl Iterator<Item = &'static str> {
    known.iter().flat_map(|(names, _)| *names).copied()
}

const ML_OPERATORS: &[(&[&str], Make)] = &[
    (&["ArrayFeatureExtractor"], |_, node| {
        preprocessing::array_feature_extractor(node)
    }),
    (&["Binarizer"], |_, node| preprocessing::binarizer(node)),
    (&["FeatureVectorizer"], |_, node| {
        preprocessing::feature_vectorizer(node)
    }),
    (&["Imputer"], |_, node| preprocessing::imputer(node)),
    (&["LabelEncoder"], |_, node| encoders::label_encoder(node)),
    (&["LinearClassifier"], |_, node| linear::classifier(node)),
    (&["LinearRegressor"], |_, node| linear::regressor(node)),
    (&["Normalizer"], |_, node| preprocessing::normalizer(node)),
    (&["OneHotEncoder"], |_, node| encoders::one_hot_encoder(node)),
    (&["Scaler"], |_, node| preprocessing::scaler(node)),
    (&["SVMClassifier"], |_, node| svm::classifier(node)),
    (&["SVMRegressor"], |_, node| svm::regressor(node)),
    (&["TreeEnsemble"], |_, node| trees::ensemble(node)),
    (&["TreeEnsembleClassifier"], |_, node| trees::classifier(node)),
    (&["TreeEnsembleRegressor"], |_, node| trees::regressor(node)),
    (&["ZipMap"], |_, node| preprocessing::zip_map(node)),
];

/// ONNX's own operators.
const ONNX_OPERATORS: &[(&[&str], Make)] = &[
    (
        &[
            "Abs",
            "Ceil",
            "Exp",
            "Floor",
            "Log",
            "Neg",
            "Reciprocal",
            "Relu",
            "Sigmoid",
            "Sign",
            "Sqrt",
            "Tanh",
        ],
        elementwise::unary,
    ),
    (&["Add", "Div", "Mul", "Pow", "Sub"], elementwise::arithmetic),
    (&["Max", "Min", "Sum"], elementwise::many),
    (
        &["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"],
        elementwise::comparison,
    ),
    (&["And", "Or", "Xor"], elementwise::logic),
    (&["Not"], |_, node| elementwise::not(node)),
    (&["IsNaN"], |_, node| elementwise::is_nan(node)),
    (&["Where"], |_, node| elementwise::choose(node)),
    (&["ArgMax", "ArgMin"], reduce::arg),
    (
        &[
            "ReduceL1",
            "ReduceL2",
            "ReduceLogSum",
            "ReduceLogSumExp",
            "ReduceMax",
            "ReduceMean",
            "ReduceMin",
            "ReduceProd",
            "ReduceSum",
            "ReduceSumSquare",
        ],
        reduce::reduce,
    ),
    (&["Softmax"], |_, node| reduce::softmax(node)),
    (&["Cast"], |_, node| cast::cast(node)),
    (&["Concat"], |_, node| gather::concat(node)),
    (&["Constant"], |_, node| constant::constant(node)),
    (&["ConstantOfShape"], |_, node| constant::constant_of_shape(node)),
    (&["Flatten"], |_, node| shape::flatten(node)),
    (&["Gather"], |_, node| gather::gather(node)),
    (&["Identity"], |_, node| constant::identity(node)),
    (&["Reshape"], |_, node| shape::reshape(node)),
    (&["Shape"], |_, node| shape::shape(node)),
    (&["Slice"], |_, node| gather::slice(node)),
    (&["Squeeze"], |_, node| shape::squeeze(node)),
    (&["Transpose"], |_, node| gather::transpose(node)),
    (&["Unsqueeze"], |_, node| shape::unsqueeze(node)),
    (&["Gemm"], |_, node| matrix::gemm(node)),
    (&["MatMul"], |_, node| matrix::matmul(node)),
];
