#!/usr/bin/env python3
"""Makes the zoo: models as ONNX files, with inputs and what Python's onnxruntime answers to them.

    python3 -m venv /tmp/zoo && /tmp/zoo/bin/pip install onnx skl2onnx scikit-learn onnxruntime pandas
    /tmp/zoo/bin/python ml-inference/tests/zoo/make.py ml-inference/tests/zoo/small            # the models that are checked in
    /tmp/zoo/bin/python ml-inference/tests/zoo/make.py --large /tmp/zoo/large                  # those that are not
    /tmp/zoo/bin/python ml-inference/tests/zoo/make.py --only-onnxruntime ml-inference/tests/zoo/only_onnxruntime
    ZOO_DIR=/tmp/zoo/large cargo nextest run -p ml-inference --test zoo

A model is two files: NAME.onnx, and NAME.answers.onnx, a graph of nothing but constants, which are the inputs and outputs by their
names. The maps that a ZipMap makes are written as the table they were made of.
"""

import argparse
import os
import pathlib
import warnings

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import StringTensorType
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris, make_classification, make_regression
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer, MinMaxScaler, Normalizer, OneHotEncoder, PolynomialFeatures, StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC
from sklearn.tree import DecisionTreeClassifier

warnings.filterwarnings("ignore")
ML = "ai.onnx.ml"

# skl2onnx 1.20 gives lists of NumPy's unsigned numbers and truth values, which onnx 1.23 refuses.
make_attribute = helper.make_attribute


def plain(value):
    value = value.item() if isinstance(value, np.generic) else value
    return int(value) if isinstance(value, bool) else value


def make_attribute_of_plain(key, value, *args, **kwargs):
    if isinstance(value, (list, tuple)):
        value = [plain(item) for item in value]
    return make_attribute(key, plain(value), *args, **kwargs)


helper.make_attribute = make_attribute_of_plain


def save(directory, name, model, inputs):
    """Writes a model with its inputs and onnxruntime's outputs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    outputs = session.run(None, inputs)
    tensors = [numpy_helper.from_array(np.asarray(array), input_name) for input_name, array in inputs.items()]
    for value, output in zip(session.get_outputs(), outputs):
        if isinstance(output, list):
            output = np.array([list(row.values()) for row in output], dtype=np.float32)
        tensors.append(numpy_helper.from_array(np.asarray(output), value.name))
    answers = helper.make_model(helper.make_graph([], name, [], [], tensors))
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.onnx").write_bytes(model.SerializeToString())
    (directory / f"{name}.answers.onnx").write_bytes(answers.SerializeToString())
    print(f"{name}: {model.ByteSize()} bytes")


def save_learned(directory, name, learner, x, y, rows=9, options=None):
    """Fits a scikit-learn model and writes what skl2onnx makes of it."""
    learner.fit(x, y)
    if callable(options):
        options = options(learner)
    model = to_onnx(learner, x[:1], options=options)
    step = max(1, len(x) // rows)
    save(directory, name, model, {model.graph.input[0].name: np.ascontiguousarray(x[::step][:rows])})


def small(directory):
    x, y = load_iris(return_X_y=True)
    x = x.astype(np.float32)
    two = (y > 0).astype(np.int64)
    words = np.array(["setosa", "versicolor", "virginica"])[y]
    diabetes, target = load_diabetes(return_X_y=True)
    diabetes = diabetes.astype(np.float32)

    def learned(name, learner, x=x, y=y, **kwargs):
        save_learned(directory, name, learner, x, y, **kwargs)

    learned("linear_regression", LinearRegression(), diabetes, target)
    learned("ridge_double", make_pipeline(StandardScaler(), Ridge()), diabetes.astype(np.float64), target)
    learned("ridge_two_targets", Ridge(), diabetes, np.stack([target, -target], 1))
    learned("logistic_scaled", make_pipeline(StandardScaler(), LogisticRegression()))
    learned("logistic_words", make_pipeline(StandardScaler(), LogisticRegression()), y=words)
    learned("logistic_two", make_pipeline(MinMaxScaler(), LogisticRegression()), y=two)
    learned("logistic_normalized", make_pipeline(Normalizer("l1"), LogisticRegression()))
    learned("logistic_binarized", make_pipeline(Binarizer(threshold=2.5), LogisticRegression()))
    table = lambda model: {id(model): {"zipmap": False}}
    learned("logistic_table", LogisticRegression(), options=table)
    few = {"n_estimators": 6, "max_depth": 3, "random_state": 1}
    learned("decision_tree", DecisionTreeClassifier(max_depth=4, random_state=1), y=words)
    learned("forest_classifier", RandomForestClassifier(**few))
    learned("forest_classifier_two", RandomForestClassifier(**few), y=two)
    learned("forest_classifier_words", RandomForestClassifier(**few), y=words)
    learned("forest_classifier_double", RandomForestClassifier(**few), x.astype(np.float64))
    learned("extra_trees", ExtraTreesClassifier(**few))
    learned("forest_regressor", RandomForestRegressor(**few), diabetes, target, rows=19)
    learned("forest_two_targets", RandomForestRegressor(**few), diabetes, np.stack([target, -target], 1))
    learned("boosting_classifier", GradientBoostingClassifier(**few))
    learned("boosting_classifier_two", GradientBoostingClassifier(**few), y=two)
    learned("boosting_regressor", GradientBoostingRegressor(**few), diabetes, target)
    holes = x.copy()
    holes[::7, 2] = np.nan
    holes[::5, 3] = np.nan
    hist = {"max_iter": 6, "max_depth": 3, "random_state": 1}
    learned("hist_boosting_classifier", HistGradientBoostingClassifier(**hist), holes, y, rows=21)
    learned("hist_boosting_classifier_two", HistGradientBoostingClassifier(**hist), holes, two, rows=21)
    learned("hist_boosting_regressor", HistGradientBoostingRegressor(**hist), holes, y, rows=21)
    mlp = {"hidden_layer_sizes": (8,), "max_iter": 60, "random_state": 1}
    learned("mlp_classifier", MLPClassifier(**mlp))
    learned("mlp_classifier_words", MLPClassifier(**mlp), y=words)
    learned("mlp_classifier_two", MLPClassifier(**mlp), y=two)
    learned("mlp_regressor", MLPRegressor(activation="tanh", **mlp), diabetes, target)
    learned("svc", SVC(), x[::3], y[::3])
    learned("svc_two", SVC(kernel="poly"), x[::3], two[::3])
    learned("svc_probability", SVC(probability=True, random_state=1), x[::3], y[::3])
    learned("svc_probability_two", SVC(probability=True, kernel="sigmoid", random_state=1), x[::3], words[::3] == "setosa")
    learned("svr", SVR(), x[::4], y[::4])
    learned("linear_svc", LinearSVC(random_state=1))
    learned("naive_bayes", GaussianNB())
    learned("ada_boost", AdaBoostClassifier(n_estimators=5, random_state=1), y=words)
    learned("polynomial", make_pipeline(PolynomialFeatures(2), Ridge()), y=y + 1.0)
    learned("stacking", StackingClassifier([("logistic", LogisticRegression()), ("bayes", GaussianNB())]))
    learned("bagging", BaggingClassifier(n_estimators=3, random_state=1))
    learned("calibrated", CalibratedClassifierCV(LogisticRegression(), cv=2))
    learned("principal_components", make_pipeline(PCA(2, random_state=1), LogisticRegression()))
    learned("clusters", KMeans(3, n_init=2, random_state=1))
    learned("imputer", make_pipeline(SimpleImputer(), LogisticRegression()), holes)
    save_mixed_columns(directory)
    by_hand(directory)
    neural(directory)


def save_mixed_columns(directory):
    """Several inputs of several types: what a table of columns becomes."""
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType

    import pandas

    table = pandas.DataFrame(
        {
            "age": [20, 35, 50, 65, 30, 41, 52, 63],
            "income": np.array([1.5, 2.5, 3.5, 1.0, 2.0, 4.0, 3.0, 2.2], dtype=np.float32),
            "city": ["Bern", "Chur", "Bern", "Genf", "Chur", "Genf", "Bern", "Chur"],
        }
    )
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), ["age", "income"]), ("words", OneHotEncoder(handle_unknown="ignore"), ["city"])]
    )
    learner = make_pipeline(columns, LogisticRegression()).fit(table, [0, 1, 1, 0, 1, 0, 0, 1])
    types = [
        ("age", Int64TensorType([None, 1])),
        ("income", FloatTensorType([None, 1])),
        ("city", StringTensorType([None, 1])),
    ]
    model = to_onnx(learner, initial_types=types)
    inputs = {name: table[[name]].to_numpy() for name in table}
    inputs["city"] = np.array([["Bern"], ["Chur"], ["Rom"], ["Genf"], ["Bern"], ["Bern"], ["Chur"], ["Rom"]], dtype=object)
    save(directory, "mixed_columns", model, inputs)


X3 = np.array([[-1, 0.5, 2], [0, 0, 0], [1, -3, 0.25], [2, 2, -2], [0.5, 9, 9], [3, 3, 3]], dtype=np.float32)


class Corners:
    """A model of many nodes, none of which hangs together with another."""

    def __init__(self, directory, name, ml=3, opset=21):
        self.directory, self.name, self.ml, self.opset = directory, name, ml, opset
        self.inputs, self.nodes, self.outputs = {}, [], []

    def add(self, name, operator, x, kinds, domain=ML, **attributes):
        source = f"x_{x.dtype.name}_{x.ndim}_{'holes' if x.dtype.kind == 'f' and np.isnan(x).any() else 'whole'}"
        assert np.array_equal(self.inputs.setdefault(source, x), x, equal_nan=x.dtype.kind == "f"), source
        names = [f"{name}_{index}" for index in range(len(kinds))]
        self.nodes.append(helper.make_node(operator, [source], names, domain=domain, name=name, **attributes))
        self.outputs += [helper.make_tensor_value_info(name, kind, None) for name, kind in zip(names, kinds)]

    def save(self):
        kind = lambda x: TensorProto.STRING if x.dtype == object else helper.np_dtype_to_tensor_dtype(x.dtype)
        inputs = [
            helper.make_tensor_value_info(name, kind(x), [None] + list(x.shape[1:])) for name, x in self.inputs.items()
        ]
        graph = helper.make_graph(self.nodes, self.name, inputs, self.outputs)
        sets = [helper.make_opsetid("", self.opset), helper.make_opsetid(ML, self.ml)]
        save(self.directory, self.name, helper.make_model(graph, opset_imports=sets, ir_version=10), self.inputs)


# Two trees of depth two over three features.
TREES = {
    "nodes_treeids": [0, 0, 0, 0, 0, 1, 1, 1],
    "nodes_nodeids": [0, 1, 2, 3, 4, 0, 1, 2],
    "nodes_featureids": [0, 1, 0, 0, 0, 2, 0, 0],
    "nodes_values": [0.5, 1.0, 0.0, 0.0, 0.0, 0.25, 0.0, 0.0],
    "nodes_truenodeids": [1, 3, 0, 0, 0, 1, 0, 0],
    "nodes_falsenodeids": [2, 4, 0, 0, 0, 2, 0, 0],
}


def trees(mode="BRANCH_LEQ", second=None):
    modes = [mode, second or mode, "LEAF", "LEAF", "LEAF", mode, "LEAF", "LEAF"]
    return {**TREES, "nodes_modes": modes}


def votes(prefix, targets, weights):
    """Every leaf votes for each of `targets`; the weights are used one after the other, over and over."""
    leaves = [(0, 2), (0, 3), (0, 4), (1, 1), (1, 2)]
    each = [(tree, node, target) for tree, node in leaves for target in targets]
    return {
        f"{prefix}_treeids": [tree for tree, _, _ in each],
        f"{prefix}_nodeids": [node for _, node, _ in each],
        f"{prefix}_ids": [target for _, _, target in each],
        f"{prefix}_weights": [weights[index % len(weights)] for index in range(len(each))],
    }


def by_hand(directory):
    """The corners that scikit-learn's models do not reach."""
    y = [TensorProto.FLOAT]
    both = [TensorProto.INT64, TensorProto.FLOAT]
    holes = X3.copy()
    holes[1, 0] = np.nan
    holes[2, 2] = np.nan
    mixed = [0.25, -0.5, 0.75, 0.1]
    positive = [0.2, 0.3, 0.05, 0.4]

    trees_by_hand = Corners(directory, "corners_tree_regressor")
    for mode in ["LEQ", "LT", "GTE", "GT", "EQ", "NEQ"]:
        attributes = {**trees(f"BRANCH_{mode}"), **votes("target", [0], mixed), "n_targets": 1}
        trees_by_hand.add(f"tree_{mode.lower()}", "TreeEnsembleRegressor", holes, y, **attributes)
        attributes["nodes_missing_value_tracks_true"] = [1, 0, 0, 0, 0, 1, 0, 0]
        trees_by_hand.add(f"tree_{mode.lower()}_missing", "TreeEnsembleRegressor", holes, y, **attributes)
    attributes = {**trees("BRANCH_LEQ", "BRANCH_GT"), **votes("target", [0], mixed), "n_targets": 1}
    trees_by_hand.add("tree_mixed_tests", "TreeEnsembleRegressor", holes, y, **attributes)
    for aggregate in ["SUM", "AVERAGE", "MIN", "MAX"]:
        for targets in [1, 2]:
            attributes = {**trees(), **votes("target", range(targets), mixed), "n_targets": targets}
            attributes.update(aggregate_function=aggregate, base_values=[0.5, -1.5][:targets])
            name = f"tree_{aggregate.lower()}_{targets}"
            trees_by_hand.add(name, "TreeEnsembleRegressor", X3, y, **attributes)
    for transform in ["SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"]:
        weights = [0.1, 0.2, 0.3, 0.15] if transform == "PROBIT" else mixed
        for targets in [1, 2, 3]:
            attributes = {**trees(), **votes("target", range(targets), weights), "n_targets": targets}
            name = f"tree_{transform.lower()}_{targets}"
            trees_by_hand.add(name, "TreeEnsembleRegressor", X3, y, post_transform=transform, **attributes)
    classifiers = Corners(directory, "corners_tree_classifier")
    for transform in ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"]:
        for kind, weights in [("mixed", mixed), ("positive", positive)]:
            for label, targets, classes, base in [
                ("first", [0], 2, []),
                ("second", [1], 2, []),
                ("first_base", [0], 2, [0.125]),
                ("second_base", [1], 2, [0.125]),
                ("both", [0, 1], 2, []),
                # Of two base values onnxruntime leaves one out, where the standard says that each class gets its own.
                ("three", [0, 1, 2], 3, []),
                ("three_base", [0, 1, 2], 3, [0.5, -0.25, 0.125]),
                ("two_of_three", [0, 2], 3, []),
            ]:
                attributes = {**trees(), **votes("class", targets, weights), "post_transform": transform}
                # Where both of two classes have votes, onnxruntime answers 0 and 1 whatever the labels are.
                attributes["classlabels_int64s"] = [0, 1] if label.startswith("both") else [10, 20, 30][:classes]
                if base:
                    attributes["base_values"] = base
                name = f"classifier_{label}_{kind}_{transform.lower()}"
                classifiers.add(name, "TreeEnsembleClassifier", X3, both, **attributes)
    doubles = {**trees(), **votes("target", [0], mixed), "n_targets": 1}
    for key in ["nodes_values", "target_weights"]:
        doubles[f"{key}_as_tensor"] = numpy_helper.from_array(np.array(doubles.pop(key), dtype=np.float64), key)
    trees_by_hand.add("tree_double", "TreeEnsembleRegressor", X3.astype(np.float64), y, **doubles)
    attributes = {**trees(), **votes("class", [0, 1, 2], mixed), "classlabels_int64s": [1, 2, 3]}
    classifiers.add("tree_whole_numbers", "TreeEnsembleClassifier", X3.astype(np.int64), both, **attributes)
    trees_by_hand.save()
    classifiers.save()
    newest = Corners(directory, "corners_tree_ensemble", ml=5)
    newer = {
        "n_targets": 2,
        "aggregate_function": 1,
        "post_transform": 0,
        "tree_roots": [0, 2],
        "nodes_modes": numpy_helper.from_array(np.array([0, 1, 0], dtype=np.uint8), "modes"),
        "nodes_featureids": [0, 1, 2],
        "nodes_truenodeids": [1, 0, 3],
        "nodes_trueleafs": [0, 1, 1],
        "nodes_falsenodeids": [2, 1, 4],
        "nodes_falseleafs": [1, 1, 1],
        "leaf_targetids": [0, 1, 0, 1, 0],
    }
    for kind in [np.float32, np.float64]:
        of = lambda values: numpy_helper.from_array(np.array(values, dtype=kind), "values")
        attributes = {**newer, "nodes_splits": of([0.5, 1.0, 0.25]), "leaf_weights": of([0.25, -0.5, 0.75, 0.1, 3.0])}
        output = [helper.np_dtype_to_tensor_dtype(np.dtype(kind))]
        name = f"tree_ensemble_{np.dtype(kind).name}"
        newest.add(name, "TreeEnsemble", X3.astype(kind), output, **attributes)

    newest.save()

    lines_by_hand = Corners(directory, "corners_linear")
    lines = [0.5, -1.0, 2.0, 0.25, 0.5, -0.75, 1.0, 0.0, 0.5]
    for transform in ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"]:
        for classes in [1, 3]:
            small_enough = 0.01 if transform == "PROBIT" else 1.0
            attributes = {
                "coefficients": [value * small_enough for value in lines[: 3 * classes]],
                "intercepts": [0.5, 0.4, 0.6][:classes],
                "post_transform": transform,
            }
            name = f"linear_{transform.lower()}_{classes}"
            labels = [7, 8, 9][: max(2, classes)]
            if (transform, classes) == ("PROBIT", 1):
                # onnxruntime's scores of a row overwrite those of the next.
                continue
            lines_by_hand.add(f"{name}_classes", "LinearClassifier", X3, both, classlabels_ints=labels, **attributes)
            lines_by_hand.add(f"{name}_targets", "LinearRegressor", X3, y, targets=classes, **attributes)
    lines_by_hand.save()

    others = Corners(directory, "corners_preprocessing")
    for norm in ["MAX", "L1", "L2"]:
        others.add(f"normalizer_{norm.lower()}", "Normalizer", X3, y, norm=norm)
        others.add(f"normalizer_{norm.lower()}_whole", "Normalizer", X3.astype(np.int64), y, norm=norm)
    words = np.array(["a", "b", "z", "a"], dtype=object)
    others.add(
        "label_encoder", "LabelEncoder", words, [TensorProto.INT64], keys_strings=["a", "b"],
        values_int64s=[5, 6], default_int64=-7,
    )  # fmt: skip
    others.add(
        "label_decoder", "LabelEncoder", np.array([5, 6, 7]), [TensorProto.STRING],
        keys_int64s=[5, 6], values_strings=["a", "ü"],
    )  # fmt: skip
    others.save()
    for opset in [9, 12, 13]:
        x = X3.reshape(2, 3, 3)
        softmax = Corners(directory, f"corners_softmax_{opset}", opset=opset)
        softmax.add("softmax", "Softmax", x, y, domain="", axis=1)
        softmax.save()
    casts = Corners(directory, "corners_cast")
    for source in [np.float32, np.float64, np.int64, np.int32, np.bool_]:
        for to in [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.INT32, TensorProto.STRING, TensorProto.BOOL]:
            x = np.array([0, 1, -1.75, 2.5, 1e6, 0.1], dtype=np.float64).astype(source)
            name = f"cast_{np.dtype(source).name}_{helper.tensor_dtype_to_string(to).split('.')[-1].lower()}"
            casts.add(name, "Cast", x, [to], domain="", to=to)
    casts.save()


class Net:
    """Collects the nodes and weights of a neural network whose weights are drawn from a fixed seed."""

    def __init__(self, seed=7):
        self.random = np.random.default_rng(seed)
        self.nodes, self.weights, self.count = [], [], 0

    def constant(self, array):
        self.count += 1
        name = f"w{self.count}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weight(self, *shape):
        scale = 1.0 / np.sqrt(shape[-2] if len(shape) == 2 else np.prod(shape[1:]) if len(shape) > 1 else 10.0)
        return self.constant((self.random.standard_normal(shape) * scale).astype(np.float32))

    def add(self, operator, *inputs, output=None, **attributes):
        self.count += 1
        output = output or f"v{self.count}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def dense(self, x, width, out, **kwargs):
        return self.add("Add", self.add("MatMul", x, self.weight(width, out)), self.weight(out), **kwargs)

    def model(self, name, inputs, outputs):
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model)
        return model


def tensor(name, element, *shape):
    return helper.make_tensor_value_info(name, element, list(shape))


def perceptron(widths=(16, 32, 4)):
    net, x = Net(), "x"
    for at, (width, out) in enumerate(zip(widths, widths[1:])):
        x = net.dense(x, width, out)
        x = net.add("Softmax", x, axis=-1, output="y") if at == len(widths) - 2 else net.add("Relu", x)
    inputs = [tensor("x", TensorProto.FLOAT, "rows", widths[0])]
    return net.model("perceptron", inputs, [tensor("y", TensorProto.FLOAT, "rows", widths[-1])])


def cnn(size=12, filters=(4, 8), classes=10):
    net, x, before = Net(), "image", 1
    for count in filters:
        x = net.add("Conv", x, net.weight(count, before, 3, 3), net.weight(count), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        x = net.add("MaxPool", net.add("Relu", x), kernel_shape=[2, 2], strides=[2, 2])
        before = count
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    net.add("Gemm", x, net.weight(before, classes), net.weight(classes), output="scores")
    inputs = [tensor("image", TensorProto.FLOAT, "n", 1, size, size)]
    return net.model("cnn", inputs, [tensor("scores", TensorProto.FLOAT, "n", classes)])


def transformer(layers=2, width=16, heads=2, inner=32, vocabulary=50, longest=24):
    """The shape of BERT-like encoders: ids and mask in, one vector a token out."""
    net = Net()
    length = net.add("Gather", net.add("Shape", "input_ids"), net.constant(np.int64(1)), axis=0)
    places = net.add("Range", net.constant(np.int64(0)), length, net.constant(np.int64(1)))
    words = net.add("Gather", net.weight(vocabulary, width), "input_ids", axis=0)
    x = net.add("Add", words, net.add("Gather", net.weight(longest, width), places, axis=0))
    norm = lambda x: net.add("LayerNormalization", x, net.constant(np.ones(width, np.float32)), net.weight(width), epsilon=1e-5)
    x = norm(x)
    mask = net.add("Cast", "attention_mask", to=TensorProto.FLOAT)
    mask = net.add("Mul", net.add("Sub", net.constant(np.float32(1)), mask), net.constant(np.float32(-1e4)))
    mask = net.add("Unsqueeze", mask, net.constant(np.array([1, 2], np.int64)))
    split, join = net.constant(np.array([0, 0, heads, width // heads], np.int64)), net.constant(np.array([0, 0, width], np.int64))
    for _ in range(layers):
        part = lambda perm: net.add("Transpose", net.add("Reshape", net.dense(x, width, width), split), perm=perm)
        query, key, value = part([0, 2, 1, 3]), part([0, 2, 3, 1]), part([0, 2, 1, 3])
        scores = net.add("Mul", net.add("MatMul", query, key), net.constant(np.float32((width // heads) ** -0.5)))
        attention = net.add("MatMul", net.add("Softmax", net.add("Add", scores, mask), axis=-1), value)
        joined = net.add("Reshape", net.add("Transpose", attention, perm=[0, 2, 1, 3]), join)
        x = norm(net.add("Add", x, net.dense(joined, width, width)))
        wide = net.dense(x, width, inner)
        half = net.add("Add", net.add("Erf", net.add("Div", wide, net.constant(np.float32(2**0.5)))), net.constant(np.float32(1)))
        gelu = net.add("Mul", net.add("Mul", wide, half), net.constant(np.float32(0.5)))
        x = norm(net.add("Add", x, net.dense(gelu, inner, width)))
    net.add("Identity", x, output="last_hidden_state")
    inputs = [tensor(name, TensorProto.INT64, "batch", "length") for name in ("input_ids", "attention_mask")]
    return net.model("transformer", inputs, [tensor("last_hidden_state", TensorProto.FLOAT, "batch", "length", width)])


def comparisons():
    """Whole numbers and truth values in and out."""
    net = Net()
    net.add("Greater", "numbers", net.constant(np.int64(3)), output="is_large")
    net.add("Where", net.add("And", "is_large", "wanted"), "numbers", net.constant(np.int64(-1)), output="chosen")
    inputs = [tensor("numbers", TensorProto.INT64, "n"), tensor("wanted", TensorProto.BOOL, "n")]
    outputs = [tensor("is_large", TensorProto.BOOL, "n"), tensor("chosen", TensorProto.INT64, "n")]
    return net.model("comparisons", inputs, outputs)


def wide_integers():
    """Counts beyond 32 bits, in and out and on the way."""
    net = Net()
    x = net.add("Add", net.add("Mul", "count", net.constant(np.int64(100_000))), net.constant(np.int64(5_000_000_000)))
    net.add("ReduceSum", x, net.constant(np.array([1], np.int64)), keepdims=0, output="sums")
    inputs = [tensor("count", TensorProto.INT64, "n", 2)]
    return net.model("wide_integers", inputs, [tensor("sums", TensorProto.INT64, "n")])


def wide_constant():
    """The same beside an operator that only rten has, which cannot count so far."""
    net = Net()
    far = net.add("Cast", net.add("Add", "count", net.constant(np.int64(5_000_000_000))), to=TensorProto.FLOAT)
    net.add("Erf", net.add("Mul", far, net.constant(np.float32(1e-10))), output="share")
    return net.model("wide_constant", [tensor("count", TensorProto.INT64, "n", 2)], [tensor("share", TensorProto.FLOAT, "n", 2)])


def centred():
    """Rows that have to do with each other: each less the mean of all."""
    net = Net()
    net.add("Sub", "x", net.add("ReduceMean", "x", axes=[0]), output="y")
    return net.model("centred", [tensor("x", TensorProto.FLOAT, "rows", 3)], [tensor("y", TensorProto.FLOAT, "rows", 3)])


def every_type(directory):
    """Each type of element as it is, at the ends of its range."""
    whole = {getattr(TensorProto, kind): np.dtype(kind.lower()) for kind in "UINT8 UINT16 UINT32 UINT64 INT8 INT16 INT32 INT64".split()}
    values = {kind: np.array([np.iinfo(dtype).min, 1, np.iinfo(dtype).max], dtype) for kind, dtype in whole.items()}
    values[TensorProto.BOOL] = np.array([True, False, True])
    values[TensorProto.FLOAT] = np.array([0.1, -np.inf, 3.4e38], np.float32)
    values[TensorProto.DOUBLE] = np.array([0.1, np.inf, 1.7e308])
    values[TensorProto.STRING] = np.array(["", "zwölf", "words"], object)
    nodes, inputs, outputs, given = [], [], [], {}
    for kind, array in values.items():
        name = TensorProto.DataType.Name(kind).lower()
        nodes.append(helper.make_node("Identity", [name], [f"same_{name}"]))
        inputs.append(tensor(name, kind, "n"))
        outputs.append(tensor(f"same_{name}", kind, "n"))
        given[name] = array
    graph = helper.make_graph(nodes, "every_type", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    save(directory, "every_type", model, given)


def sentences(batch, length, vocabulary):
    random = np.random.default_rng(3)
    ids = random.integers(0, vocabulary, (batch, length), dtype=np.int64)
    mask = (np.arange(length) < random.integers(length // 2, length + 1, (batch, 1))).astype(np.int64)
    return {"input_ids": ids, "attention_mask": mask}


def neural(directory):
    random = np.random.default_rng(5)
    save(directory, "neural_perceptron", perceptron(), {"x": random.standard_normal((5, 16)).astype(np.float32)})
    save(directory, "neural_cnn", cnn(), {"image": random.standard_normal((3, 1, 12, 12)).astype(np.float32)})
    save(directory, "neural_transformer", transformer(), sentences(3, 11, 50))
    numbers = {"numbers": np.array([-5, 3, 4, 2**31 - 1], np.int64), "wanted": np.array([True, True, True, False])}
    save(directory, "neural_comparisons", comparisons(), numbers)
    save(directory, "wide_integers", wide_integers(), {"count": np.array([[1, -2], [10**5, 10**9]], np.int64)})
    save(directory, "together_centred", centred(), {"x": np.arange(12, dtype=np.float32).reshape(4, 3) ** 2})
    every_type(directory)


def only_onnxruntime(directory):
    """What neither rten nor onnx_ml runs."""
    random = np.random.default_rng(6)
    # An operator that rten lacks.
    graph = helper.make_graph(
        [helper.make_node("Det", ["matrix"], ["determinant"], "det")],
        "determinant",
        [tensor("matrix", TensorProto.FLOAT, "n", 3, 3)],
        [tensor("determinant", TensorProto.FLOAT, "n")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    save(directory, "determinant", model, {"matrix": random.standard_normal((4, 3, 3)).astype(np.float32)})
    save(directory, "wide_constant", wide_constant(), {"count": np.array([[1, -2], [10**10, 0]], np.int64)})
    # No dimensions, and no rows.
    nodes = [helper.make_node("Det", ["matrix"], ["determinant"])]
    nodes += [helper.make_node("Identity", [name], [f"same_{name}"]) for name in ("none", "one")]
    none = lambda name: tensor(name, TensorProto.INT64, "n", 2)
    one = lambda name: tensor(name, TensorProto.DOUBLE)
    inputs = [tensor("matrix", TensorProto.FLOAT, 2, 2), none("none"), one("one")]
    outputs = [tensor("determinant", TensorProto.FLOAT), none("same_none"), one("same_one")]
    graph = helper.make_graph(nodes, "no_dimensions", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    given = {"matrix": np.array([[1, 2], [3, 4]], np.float32), "none": np.zeros((0, 2), np.int64), "one": np.array(2.5)}
    save(directory, "no_dimensions", model, given)
    # Doubles in a neural network.
    scale, bias = (numpy_helper.from_array(random.standard_normal(6), name) for name in ("scale", "bias"))
    graph = helper.make_graph(
        [helper.make_node("LayerNormalization", ["x", "scale", "bias"], ["y"], epsilon=1e-7)],
        "normalization",
        [tensor("x", TensorProto.DOUBLE, "n", 6)],
        [tensor("y", TensorProto.DOUBLE, "n", 6)],
        [scale, bias],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    save(directory, "normalization_double", model, {"x": random.standard_normal((3, 6))})
    # An operator set in which Softmax puts all dimensions from `axis` on together.
    weights = numpy_helper.from_array(random.standard_normal((2, 1, 3, 3)).astype(np.float32), "weights")
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "weights"], ["features"], kernel_shape=[3, 3]),
            helper.make_node("Softmax", ["features"], ["shares"], axis=1),
        ],
        "old",
        [tensor("image", TensorProto.FLOAT, "n", 1, 5, 5)],
        [tensor("shares", TensorProto.FLOAT, "n", 2, 3, 3)],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=4)
    save(directory, "old_operators", model, {"image": random.standard_normal((2, 1, 5, 5)).astype(np.float32)})
    # Texts in, and maps out. (To lowercase them onnxruntime needs the locale en_US.UTF-8, which not every machine has.)
    texts = np.array(["rain and wind", "sun", "wind and snow", "a warm sun", "snow, rain, wind", "warm and dry"])
    weather = np.array(["bad", "fine", "bad", "fine", "bad", "fine"])
    learner = make_pipeline(TfidfVectorizer(lowercase=False), LogisticRegression()).fit(texts, weather)
    model = to_onnx(learner, initial_types=[("text", StringTensorType([None]))])
    save(directory, "texts", model, {"text": texts.astype(object)})


def neural_large(directory):
    random = np.random.default_rng(5)
    save(directory, "neural_perceptron", perceptron((64, 256, 256, 10)), {"x": random.standard_normal((32, 64)).astype(np.float32)})
    save(directory, "neural_cnn", cnn(28, (16, 32), 10), {"image": random.standard_normal((8, 1, 28, 28)).astype(np.float32)})
    shape = {"layers": 6, "width": 384, "heads": 12, "inner": 1536, "vocabulary": 30522, "longest": 512}
    save(directory, "neural_transformer", transformer(**shape), sentences(2, 128, 30522))


def large(directory):
    x, y = make_classification(20000, 30, n_informative=12, n_classes=3, random_state=1)
    x = x.astype(np.float32)
    # Without maps, which take Python longer to make than the model to run.
    table = lambda model: {id(model): {"zipmap": False}}
    forest = {"n_estimators": 100, "max_depth": 12, "random_state": 1, "n_jobs": -1}
    save_learned(directory, "forest_classifier_100x12", RandomForestClassifier(**forest), x, y, rows=2000, options=table)
    save_learned(directory, "forest_classifier_two_100x12", RandomForestClassifier(**forest), x, y > 0, rows=2000, options=table)
    save_learned(directory, "mlp_64x64", MLPClassifier((64, 64), max_iter=8, random_state=1), x, y, rows=2000, options=table)
    save_learned(directory, "logistic_scaled_30", make_pipeline(StandardScaler(), LogisticRegression()), x, y, rows=2000, options=table)
    x, y = make_regression(20000, 30, n_informative=12, random_state=1)
    x = x.astype(np.float32)
    save_learned(directory, "forest_regressor_100x12", RandomForestRegressor(**forest), x, y, rows=2000)
    save_learned(directory, "linear_regression_30", LinearRegression(), x, y, rows=2000)
    boosting = GradientBoostingRegressor(n_estimators=200, max_depth=5, random_state=1)
    save_learned(directory, "boosting_200x5", boosting, x[:4000], y[:4000], rows=2000)
    neural_large(directory)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="the models that are too large to be checked in")
    parser.add_argument("--only-onnxruntime", action="store_true", help="the models that only onnxruntime runs")
    parser.add_argument("directory", type=pathlib.Path)
    arguments = parser.parse_args()
    (large if arguments.large else only_onnxruntime if arguments.only_onnxruntime else small)(arguments.directory)
