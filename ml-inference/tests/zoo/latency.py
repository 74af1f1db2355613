#!/usr/bin/env python3
"""Latency of the zoo's models against Python's onnxruntime, both with one thread, in turns.

    cargo build --release -p ml-inference --example zoo_latency
    /tmp/zoo/bin/python ml-inference/tests/zoo/latency.py target/release/examples/zoo_latency /tmp/zoo/large

`--runtime onnxruntime` (built with `--features onnxruntime`, with ORT_DYLIB_PATH) or another has all models run by that one.

A line a model and batch: microseconds of a run, the best of the rounds' medians, and ours as a part of onnxruntime's.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import time

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

SECONDS_EACH = 0.3


def theirs(path, batch):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    answers = onnx.load(path.with_suffix(".answers.onnx")).graph.initializer
    answers = {tensor.name: numpy_helper.to_array(tensor) for tensor in answers}
    inputs = {spec.name: answers[spec.name] for spec in session.get_inputs()}
    inputs = {name: np.concatenate([rows] * -(-batch // len(rows))) for name, rows in inputs.items()}
    count = len(next(iter(inputs.values())))
    batches = [
        {name: rows[first : first + batch].copy() for name, rows in inputs.items()}
        for first in range(0, count - batch + 1, batch)
    ]
    times, begun, index = [], time.perf_counter(), 0
    while time.perf_counter() - begun < SECONDS_EACH:
        started = time.perf_counter_ns()
        session.run(None, batches[index % len(batches)])
        times.append((time.perf_counter_ns() - started) / 1000)
        index += 1
    return statistics.median(times)


def ours(program, directory, runtime):
    lines = subprocess.run([program, directory, runtime], check=True, capture_output=True, text=True).stdout.splitlines()
    return {(name, int(batch)): float(micros) for name, batch, micros in (line.split("\t") for line in lines)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    best = {}
    for _ in range(arguments.rounds):
        for (name, batch), micros in ours(arguments.program, arguments.directory, arguments.runtime).items():
            other = theirs(arguments.directory / f"{name}.onnx", batch)
            before = best.get((name, batch), (micros, other))
            best[name, batch] = (min(before[0], micros), min(before[1], other))
    for (name, batch), (mine, other) in best.items():
        print(f"{name:32} {batch:5} rows {mine:10.1f} us {other:10.1f} us  ratio {mine / other:.2f}")
