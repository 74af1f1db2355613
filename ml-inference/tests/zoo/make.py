#!/usr/bin/env python3
"""Makes the zoo: scikit-learn models as ONNX files, with inputs and what Python's onnxruntime answers to them.

    python3 -m venv /tmp/zoo && /tmp/zoo/bin/pip install onnx skl2onnx scikit-learn onnxruntime
    /tmp/zoo/bin/python ml-inference/tests/zoo/make.py ml-inference/tests/zoo/small          # the models that are checked in
    /tmp/zoo/bin/python ml-inference/tests/zoo/make.py --large /tmp/zoo/large                # those that are not

Each model is a directory: model.onnx, and cases.onnx-data with tensors in ONNX's own TensorProto (input_N.pb, output_N.pb),
the layout of the ONNX project's backend tests. A classifier's ZipMap is left out of the answers: its probabilities are kept
as the tensor they were before.
"""
