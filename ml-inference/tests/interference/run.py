#!/usr/bin/env python3
"""How much one thing that a model server does disturbs the requests of others: their percentiles with it, as a part of those without.

    cargo build --release -p ml-inference && cargo build --release -p load-test
    python3 -m venv /tmp/zoo && /tmp/zoo/bin/pip install onnx skl2onnx scikit-learn onnxruntime
    /tmp/zoo/bin/python ml-inference/tests/zoo/make.py --large /tmp/zoo/large
    python3 ml-inference/tests/interference/run.py --zoo /tmp/zoo/large

Two windows at a time, one quiet and one disturbed, in turns; the ratio is that of the windows' medians. What is asked is the model that is
part of the program (half_plus_two, run where the request is) and a forest of 100 trees (run on a compute thread). The disturbances:

    load   new versions of a transformer of 90 MB, one after the other: read, opened, warmed up, swapped in, the one before unloaded
    pull   the same from a registry (file://), which copies and digests each before it is loaded
    body   POSTs of a 10 MB JSON body, one at a time
"""

import argparse
import hashlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
ASKED = {
    "half_plus_two": {"instances": [1.0, 2.0, 5.0]},
    "forest": {"instances": [[0.5] * 30]},
}
NEWEST = 1000


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    def __init__(self, binary, models, settings):
        self.port = free_port()
        self.log = open(models.parent / "server.log", "wb")
        environment = {
            "PATH": os.environ["PATH"],
            "BIND_ADDRESS": "127.0.0.1",
            "SERVICE_PORT": str(self.port),
            "ADMIN_ADDRESS": "127.0.0.1:0",
            "MODELS_DIR": str(models),
            "MODELS_INTERVAL": "1",
            "ACCESS_LOG": "false",
            "MAX_BODY_BYTES": str(32 * 1024 * 1024),
            "DRAIN_WINDOW": "0",
            **settings,
        }
        self.process = subprocess.Popen([binary], env=environment, stdout=self.log, stderr=self.log)

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def wait_until(self, what, condition, pause=0.02):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                if condition():
                    return
            except OSError:
                pass
            if self.process.poll() is not None:
                sys.exit(f"the server has ended: see {self.log.name}")
            time.sleep(pause)
        sys.exit(f"waited in vain: {what}; see {self.log.name}")

    def versions(self, model):
        status, body = self.ask("GET", f"/v1/models/{model}")
        if status != 200:
            return {}
        return {version["version"]: version["state"] for version in json.loads(body)["model_version_status"]}

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        self.log.close()


def put(models, name, version, file):
    """Written elsewhere and renamed, as a release should be."""
    directory = models / name / str(version)
    directory.parent.mkdir(parents=True, exist_ok=True)
    staging = models.parent / f"staging-{name}-{version}"
    staging.mkdir()
    os.link(file, staging / "model.onnx")
    staging.rename(directory)


class Disturbance:
    """Goes on in a thread of its own until it is told to end; `done` counts how often it was brought to its end."""

    def __init__(self, once):
        self.once, self.done, self.ending, self.problem = once, 0, threading.Event(), None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        # What is measured is what the server does: this thread takes only what nobody else wants.
        os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))
        try:
            while not self.ending.is_set():
                self.once()
                self.done += 1
        except BaseException as problem:  # told to whoever waits
            self.problem = problem

    def end(self):
        self.ending.set()
        self.thread.join()
        if self.problem:
            raise self.problem
        return self.done


class Loads:
    def __init__(self, server, models, zoo):
        self.server, self.models, self.file, self.version = server, models, zoo / "neural_transformer.onnx", NEWEST
        # The bytes come from memory, so that writing them is not what is measured.
        self.file.read_bytes()

    def once(self):
        self.version += 1
        put(self.models, "transformer", self.version, self.file)
        newest = str(self.version)
        self.server.wait_until("a new version", lambda: self.server.versions("transformer").get(newest) == "AVAILABLE", 0.2)
        before = self.models / "transformer" / str(self.version - 1)
        shutil.rmtree(before, ignore_errors=True)


class Pulls:
    def __init__(self, server, registry, zoo, name):
        self.server, self.registry, self.version, self.name = server, registry, NEWEST, name
        self.file = zoo / "neural_transformer.onnx"
        self.digest = hashlib.sha256(self.file.read_bytes()).hexdigest()

    def once(self):
        self.version += 1
        directory = self.registry / str(self.version)
        directory.mkdir(parents=True)
        os.link(self.file, directory / "model.onnx") if same_device(self.file, directory) else shutil.copyfile(
            self.file, directory / "model.onnx"
        )
        index = self.registry / "SHA256SUMS.new"
        index.write_text(f"{self.digest}  {self.version}/model.onnx\n")
        index.rename(self.registry / "SHA256SUMS")
        newest = str(self.version)
        self.server.wait_until("a pulled version", lambda: self.server.versions(self.name).get(newest) == "AVAILABLE", 0.2)
        shutil.rmtree(self.registry / str(self.version - 1), ignore_errors=True)


def same_device(one, other):
    return os.stat(one).st_dev == os.stat(other).st_dev


class Bodies:
    def __init__(self, server):
        self.server = server
        numbers = ",".join(f"{index}.{index % 1000:03}5" for index in range(10 * 1024 * 1024 // 12))
        self.body = f'{{"instances":[{numbers}]}}'.encode()

    def once(self):
        status, answer = self.server.ask("POST", "/v1/models/half_plus_two:predict", self.body)
        if status != 200:
            sys.exit(f"a large body: {status} {answer[:200]}")


def window(load_test, server, scratch, model, seconds, rate):
    request, report = scratch / f"{model}.json", scratch / "report.json"
    request.write_text(json.dumps(ASKED[model]))
    url = f"http://127.0.0.1:{server.port}/v1/models/{model}:predict"
    command = [load_test, "--url", url, "--post", request, "--rate", str(rate), "--connections", "8", "--warmup", "500ms"]
    command += ["--duration", f"{seconds}s", "--quiet", "--json", report, "--html", scratch / "report.html"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"the load test says {done.returncode}:\n{done.stdout}{done.stderr}")
    latency = json.loads(report.read_text())["latency_ms"]
    return {name: latency[name] for name in ("p50", "p90", "p99")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default=ROOT / "target/release/ml-inference")
    parser.add_argument("--load-test", default=ROOT / "target/release/load-test")
    parser.add_argument("--zoo", type=pathlib.Path, required=True)
    parser.add_argument("--disturbances", default="load,pull,body")
    parser.add_argument("--models", default=",".join(ASKED))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of a window")
    parser.add_argument("--rate", type=int, default=200, help="requests a second")
    options = parser.parse_args()
    for program in (options.server, options.load_test):
        if not os.access(program, os.X_OK):
            sys.exit(f"{program} is missing: see --help for how it is built")
    for disturbance in options.disturbances.split(","):
        with tempfile.TemporaryDirectory() as scratch:
            disturb(options, disturbance, pathlib.Path(scratch))


def disturb(options, disturbance, scratch):
    models, registry = scratch / "models", scratch / "registry"
    models.mkdir()
    put(models, "forest", 1, options.zoo / "forest_classifier_100x12.onnx")
    settings = {}
    if disturbance == "pull":
        first = registry / str(NEWEST)
        first.mkdir(parents=True)
        shutil.copyfile(options.zoo / "neural_transformer.onnx", first / "model.onnx")
        digest = hashlib.sha256((first / "model.onnx").read_bytes()).hexdigest()
        (registry / "SHA256SUMS").write_text(f"{digest}  {NEWEST}/model.onnx\n")
        settings = {"MODEL_NAME": "transformer", "MODEL_URI": f"file://{registry}", "REGISTRY_INTERVAL": "1"}
    server = Server(options.server, models, settings)
    try:
        server.wait_until("the server", lambda: server.ask("GET", "/readyz")[0] == 200)
        server.wait_until("the forest", lambda: "AVAILABLE" in server.versions("forest").values())
        once = {
            "load": lambda: Loads(server, models, options.zoo).once,
            "pull": lambda: Pulls(server, registry, options.zoo, "transformer").once,
            "body": lambda: Bodies(server).once,
        }[disturbance]()
        for model in options.models.split(","):
            if disturbance == "pull" and model == "half_plus_two":
                continue  # MODEL_NAME is the one that is pulled
            compare(options, server, scratch, disturbance, model, once)
    finally:
        server.end()


def compare(options, server, scratch, disturbance, model, once):
    quiet, disturbed, done = [], [], 0
    for _ in range(options.rounds):
        quiet.append(window(options.load_test, server, scratch, model, options.seconds, options.rate))
        running = Disturbance(once)
        disturbed.append(window(options.load_test, server, scratch, model, options.seconds, options.rate))
        done += running.end()
    times = f"{done} times in {options.rounds} windows of {options.seconds} s"
    for name in ("p50", "p90", "p99"):
        without, beside = (statistics.median(one[name] for one in windows) for windows in (quiet, disturbed))
        print(
            f"{disturbance:5} {model:14} {name}  {without:8.3f} ms quiet  {beside:8.3f} ms beside"
            f"  ratio {beside / without:6.2f}  ({times})",
            flush=True,
        )


if __name__ == "__main__":
    main()
