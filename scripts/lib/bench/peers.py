"""The proxies that are compared: how each is configured and started, with one worker and nothing that another lacks.

nginx and HAProxy get what an expert would set for speed (keep-alive to the upstream, no limit on requests a connection,
bodies streamed); the lab's nginx.conf stays as it is.
"""

import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from process import Process, free_port

REQUEST_PATH = "/predict"


@dataclass
class Peer:
    """What is needed to start one proxy and to reach it."""

    command: list
    port: int
    h2_port: int
    ready_port: int
    ready_path: str = REQUEST_PATH
    env: dict = field(default_factory=dict)


class Peers:
    """Starts peers by name in front of one backend."""

    def __init__(self, args, directory, cpu):
        self.nginx_binary = args.nginx
        self.old_nginx_binary = args.old_nginx
        self.gateway_binary = args.gateway
        self.before_binary = args.before
        self.rust = Path(args.rust_peers)
        self.access_log = args.access_log
        self.directory = Path(directory)
        self.nginx_log = self.directory / "nginx-access.log"
        self.cpu = cpu
        self.makers = {
            "nginx": self.nginx,
            "haproxy": self.haproxy,
            "pingora": self.pingora,
            "relay": self.relay,
            "lab-nginx": self.lab_nginx,
            "lab-nginx-1.26": lambda backend_port: self.lab_nginx(backend_port, self.old_nginx_binary),
            "gateway": self.gateway,
            "before": lambda backend_port: self.gateway(backend_port, binary=self.before_binary),
        }

    def start(self, name, backend_port, **options):
        """The running process and how to reach it."""
        self.nginx_log.unlink(missing_ok=True)
        peer = self.makers[name](backend_port, **options)
        log = self.directory / f"{name}.log"
        env = {"PATH": os.environ["PATH"], **peer.env}
        return Process(name, peer.command, self.cpu, log, env), peer

    def version(self, name):
        binaries = {
            "nginx": [self.nginx_binary, "-v"],
            "lab-nginx": [self.nginx_binary, "-v"],
            "lab-nginx-1.26": [self.old_nginx_binary, "-v"],
            "haproxy": ["haproxy", "-v"],
            "gateway": [self.gateway_binary, "--version"],
            "before": [self.before_binary, "--version"],
        }
        if name not in binaries:
            return locked_version("pingora-proxy") if name == "pingora" else "tokio " + locked_version("tokio")
        shown = subprocess.run(binaries[name], capture_output=True, text=True, check=True)
        return first_version(shown.stdout + shown.stderr)

    def nginx(self, backend_port):
        port, h2_port = free_port(), free_port()
        text = f"""
            worker_processes 1;
            worker_rlimit_nofile 16384;
            events {{ worker_connections 8192; }}
            http {{
                {self.nginx_surroundings()}
                keepalive_requests 100000000;
                upstream backend {{
                    server 127.0.0.1:{backend_port};
                    keepalive 256;
                    keepalive_requests 100000000;
                }}
                server {{
                    listen 127.0.0.1:{port} backlog=4096;
                    {NGINX_LOCATION}
                }}
                server {{
                    listen 127.0.0.1:{h2_port} backlog=4096;
                    http2 on;
                    {NGINX_LOCATION}
                }}
            }}
        """
        return Peer(self.nginx_command("nginx", text), port, h2_port, port)

    def lab_nginx(self, backend_port, binary=None):
        """The lab's nginx.conf. Changed: the two addresses and the listener's; added: where files go, and the log."""
        port = free_port()
        text = f"""
            events {{
                worker_connections 1024;
            }}

            http {{
                {self.nginx_surroundings()}
                upstream ml_backend {{
                    server 127.0.0.1:{backend_port};
                }}

                server {{
                    listen 127.0.0.1:{port};

                    # Health check endpoint for the gateway itself
                    location /health {{
                        return 200 'Gateway OK\\n';
                        add_header Content-Type text/plain;
                    }}

                    # Route prediction requests to ML service
                    location /predict {{
                        proxy_pass http://ml_backend/;
                        proxy_set_header Host $host;
                        proxy_set_header X-Real-IP $remote_addr;
                        proxy_set_header X-Request-ID $request_id;
                        proxy_connect_timeout 10s;
                        proxy_read_timeout 30s;
                    }}

                    # Status page
                    location /status {{
                        return 200 'API Gateway v1.0\\nBackend: ml-inference-service:5000\\n';
                        add_header Content-Type text/plain;
                    }}
                }}
            }}
        """
        return Peer(self.nginx_command("lab-nginx", text, binary), port, port, port)

    def nginx_surroundings(self):
        """Compiled in are directories that belong to a system's own nginx."""
        kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        paths = [f"{kind}_temp_path {self.directory}/nginx-{kind};" for kind in kinds]
        log = f"access_log {self.nginx_log};" if self.access_log else "access_log off;"
        return " ".join([*paths, log])

    def nginx_command(self, name, text, binary=None):
        conf = self.directory / f"{name}.conf"
        conf.write_text(text)
        # As root it would give its workers to a user that may not read the directory.
        user = "user root;" if os.geteuid() == 0 else ""
        globals_ = f"daemon off; {user} pid {self.directory}/{name}.pid;"
        return [binary or self.nginx_binary, "-e", "stderr", "-p", self.directory, "-c", conf, "-g", globals_]

    def haproxy(self, backend_port):
        port, h2_port = free_port(), free_port()
        conf = self.directory / "haproxy.cfg"
        conf.write_text(f"""
global
    nbthread 1
    maxconn 6000
    {"log stdout format raw local0" if self.access_log else ""}
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    http-reuse always
    {"log global" if self.access_log else ""}
    {"option httplog" if self.access_log else ""}
frontend front
    bind 127.0.0.1:{port} backlog 4096
    bind 127.0.0.1:{h2_port} backlog 4096 proto h2
    default_backend back
backend back
    server backend 127.0.0.1:{backend_port}
""")
        return Peer(["haproxy", "-db", "-f", conf], port, h2_port, port)

    def pingora(self, backend_port):
        return self.rust_peer("pingora", backend_port, ["--access-log"] if self.access_log else [])

    def relay(self, backend_port):
        return self.rust_peer("relay", backend_port, [])

    def rust_peer(self, name, backend_port, more):
        port = free_port()
        command = [self.rust / name, f"127.0.0.1:{port}", f"127.0.0.1:{backend_port}", *more]
        return Peer(command, port, port, port)

    def gateway(self, backend_port, endpoints=1, routes=1, binary=None):
        """With one route and one endpoint it has the lab's routes, which are the default."""
        port, admin_port = free_port(), free_port()
        conf = self.directory / "gateway.yaml"
        conf.write_text(gateway_yaml(backend_port, endpoints, routes))
        env = {
            "CONFIG_FILE": str(conf),
            "LISTEN_ADDRESS": f"127.0.0.1:{port}",
            "ADMIN_ADDRESS": f"127.0.0.1:{admin_port}",
            "WORKERS": "1",
            "ACCESS_LOG": "true" if self.access_log else "false",
            "LOG_FORMAT": "json",
            # Not part of what is measured: how long it waits before it ends.
            "DRAIN_WINDOW": "0",
        }
        return Peer([binary or self.gateway_binary], port, port, admin_port, "/readyz", env)


NGINX_LOCATION = """
                    location / {
                        proxy_pass http://backend;
                        proxy_http_version 1.1;
                        proxy_set_header Connection "";
                        proxy_request_buffering off;
                        client_body_buffer_size 64k;
                    }"""


def first_version(text):
    return re.search(r"\d+\.\d+\.\d+", text)[0]


def locked_version(crate):
    """The version of a crate that the peers in Rust are built with."""
    lock = (Path(__file__).resolve().parents[2] / "bench-peers" / "Cargo.lock").read_text()
    return re.search(rf'name = "{crate}"\nversion = "([^"]+)"', lock)[1]


def gateway_yaml(backend_port, endpoints, routes):
    addresses = ", ".join(f'"{address}:{backend_port}"' for address in loopback_addresses(endpoints))
    text = f'clusters:\n  - name: ml-inference-service:5000\n    endpoints: [{addresses}]\n'
    if routes > 1:
        # The others are longer and begin alike, so that a search from the longest on would meet all of them first.
        prefixes = [f"{REQUEST_PATH}-{number:04}" for number in range(1, routes)] + [REQUEST_PATH]
        text += "routes:\n" + "".join(
            f"  - prefix: {prefix}\n    cluster: ml-inference-service:5000\n    rewrite: /\n    idempotent: true\n"
            for prefix in prefixes
        )
    return text


def loopback_addresses(count):
    """127.0.0.1 and its neighbours: the whole of 127.0.0.0/8 is this machine."""
    return [f"127.0.{number // 250}.{number % 250 + 1}" for number in range(count)]
