"""Starts Triton, ml-inference and a gateway before it, on free ports of this machine, and ends them."""

import http.client
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import sysconfig
import time

HOST = "127.0.0.1"
SECONDS = 60
SITE = pathlib.Path(sysconfig.get_path("purelib"))
WHEEL = SITE / "pytriton" / "tritonserver"


def free_port():
    with socket.create_server((HOST, 0)) as listener:
        return listener.getsockname()[1]


class Server:
    """A process that serves at `address`, and is up when it answers 200 on `ready`, a port and a path."""

    def __init__(self, name, command, environment, directory, address, ready):
        self.name, self.command, self.environment, self.ready = name, command, environment, ready
        self.address, self.log = address, directory / f"{name}.log"
        self.process = None

    def __enter__(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, env=self.environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            self.wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def wait(self):
        deadline = time.monotonic() + SECONDS
        while not answers(*self.ready):
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{self.name} does not serve:\n{self.log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.05)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def died(self):
        """Whether the process has ended within a second; then it is started anew."""
        try:
            self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return False
        self.__enter__()
        return True


def answers(port, path):
    try:
        connection = http.client.HTTPConnection(HOST, port, timeout=1)
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


def triton(directory, models):
    """The server of the wheel, with the Python backend. It is given the virtual environment by PATH, which is where the
    backend's interpreter, isolated from the environment's variables, finds its packages."""
    backends = directory / "backends"
    shutil.copytree(WHEEL / "backends", backends)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = WHEEL / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        known = ", ".join(sorted(path.name for path in stub.parent.parent.iterdir()))
        sys.exit(f"the wheel's Triton has nothing for Python {version}, only for {known}: set PYTHON to one of these")
    shutil.copy(stub, backends / "python")
    libraries = [SITE / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR")]
    environment = os.environ | {
        "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
        "PATH": f"{pathlib.Path(sys.prefix) / 'bin'}:{os.environ['PATH']}",
    }
    port = free_port()
    command = [
        WHEEL / "bin" / "tritonserver",
        f"--model-repository={models}",
        f"--backend-directory={backends}",
        f"--http-address={HOST}",
        f"--http-port={port}",
        "--allow-grpc=false",
        "--allow-metrics=false",
        "--model-control-mode=explicit",
        "--load-model=*",
        "--exit-timeout-secs=5",
    ]
    return Server("triton", command, environment, directory, (HOST, port), (port, "/v2/health/ready"))


def ml_inference(directory, models, binary, model):
    port = free_port()
    environment = os.environ | {
        "BIND_ADDRESS": HOST,
        "SERVICE_PORT": str(port),
        "ADMIN_ADDRESS": f"{HOST}:0",
        "MODELS_DIR": str(models),
        "MODEL_NAME": model,
        "DRAIN_WINDOW": "0",
    }
    return Server("ml-inference", [binary], environment, directory, (HOST, port), (port, "/readyz"))


def gateway(directory, binary, upstream):
    port, admin = free_port(), free_port()
    cluster = "ml-inference-service:5000"
    config = directory / "gateway.yaml"
    config.write_text(f"clusters:\n  - name: {cluster}\n    endpoints: ['{upstream[0]}:{upstream[1]}']\n")
    environment = os.environ | {
        "CONFIG_FILE": str(config),
        "LISTEN_ADDRESS": f"{HOST}:{port}",
        "ADMIN_ADDRESS": f"{HOST}:{admin}",
        "DRAIN_WINDOW": "0",
    }
    return Server("gateway", [binary], environment, directory, (HOST, port), (admin, "/readyz"))
