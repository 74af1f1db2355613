"""Makes the same models twice: for Triton's Python backend, and as ONNX files for ml-inference."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

TYPES = ["BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP32", "FP64", "BYTES"]
ONNX_TYPES = {"FP32": TensorProto.FLOAT, "FP64": TensorProto.DOUBLE, "BYTES": TensorProto.STRING}

BACKEND = """\
import numpy as np
import triton_python_backend_utils as backend


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        {inputs} = [backend.get_input_tensor_by_name(request, name).as_numpy() for name in {names}]
        outputs = {outputs}
        return backend.InferenceResponse([backend.Tensor(name, data) for name, data in outputs.items()])
"""


def make(triton, ours):
    """Fills the directory of each server."""
    for datatype in TYPES:
        x, y = (("x", datatype, [-1]), ("y", datatype, [-1]))
        model = Model(f"identity_{datatype.lower()}", [x], [y], '{"y": x}', [node("Identity", "x", "y")])
        model.write(triton, ours, 1)
    x, y = (("x", "FP32", [-1, 1]), ("y", "FP32", [-1, 1]))
    for name in ("half_plus_two", "spare"):
        Model(name, [x], [y], '{"y": x / 2 + 2}', affine(0.5, 2, "y")).write(triton, ours, 1)
    x, y = (("x", "FP32", [-1]), ("y", "FP32", [-1]))
    for version, plus in ((1, 1), (3, 3)):
        model = Model("halves", [x], [y], f'{{"y": x / 2 + {plus}}}', affine(0.5, plus, "y"))
        model.write(triton, ours, version)
    (ours / "halves" / "config.yaml").write_text("version_policy: all\n")
    less, more = (("less", "FP32", [-1]), ("more", "FP32", [-1]))
    code = '{"less": x - 1, "more": x + 1}'
    Model("both", [x], [less, more], code, affine(1, -1, "less") + affine(1, 1, "more")).write(triton, ours, 1)
    a, b, total = (("a", "FP32", [-1, 2]), ("b", "FP32", [-1, 2]), ("sum", "FP32", [-1, 2]))
    Model("add", [a, b], [total], '{"sum": a + b}', [node("Add", "a b", "sum")]).write(triton, ours, 1)
    rows = numpy_helper.from_array(np.array([-1, 2], dtype=np.int64), "rows")
    pairs = [helper.make_node("Constant", [], ["rows"], value=rows), node("Reshape", "x rows", "y")]
    y = ("y", "FP32", [-1, 2])
    Model("pairs", [x], [y], '{"y": x.reshape((-1, 2))}', pairs).write(triton, ours, 1)


def node(operator, inputs, output):
    return helper.make_node(operator, inputs.split(), [output])


def affine(factor, plus, output):
    """output = x * factor + plus"""
    constant = lambda name, value: helper.make_node(
        "Constant", [], [name], value=numpy_helper.from_array(np.array(value, dtype=np.float32), name)
    )
    names = [f"{output}_{part}" for part in ("factor", "plus", "product")]
    return [
        constant(names[0], factor),
        constant(names[1], plus),
        node("Mul", f"x {names[0]}", names[2]),
        node("Add", f"{names[2]} {names[1]}", output),
    ]


class Model:
    """A model's tensors (name, type, shape), and what it computes in both languages."""

    def __init__(self, name, inputs, outputs, code, nodes):
        self.name, self.inputs, self.outputs, self.code, self.nodes = name, inputs, outputs, code, nodes

    def write(self, triton, ours, version):
        directory = triton / self.name / str(version)
        directory.mkdir(parents=True)
        names = [name for name, _, _ in self.inputs]
        code = BACKEND.format(inputs=", ".join(names) + ",", names=names, outputs=self.code)
        (directory / "model.py").write_text(code)
        (directory.parent / "config.pbtxt").write_text(self.config())
        directory = ours / self.name / str(version)
        directory.mkdir(parents=True)
        (directory / "model.onnx").write_bytes(self.onnx())

    def config(self):
        def tensors(kind, specs):
            for name, datatype, shape in specs:
                datatype = "STRING" if datatype == "BYTES" else datatype
                yield f'{kind} [{{ name: "{name}" data_type: TYPE_{datatype} dims: {shape} }}]\n'

        lines = [
            f'name: "{self.name}"\nbackend: "python"\nmax_batch_size: 0\nversion_policy: {{ all {{}} }}\n',
            *tensors("input", self.inputs),
            *tensors("output", self.outputs),
            "instance_group [{ count: 1 kind: KIND_CPU }]\n",
        ]
        return "".join(lines)

    def onnx(self):
        def values(specs):
            for name, datatype, shape in specs:
                kind = ONNX_TYPES.get(datatype) or getattr(TensorProto, datatype)
                yield helper.make_tensor_value_info(name, kind, [None if length < 0 else length for length in shape])

        graph = helper.make_graph(self.nodes, self.name, [*values(self.inputs)], [*values(self.outputs)])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        return model.SerializeToString()
