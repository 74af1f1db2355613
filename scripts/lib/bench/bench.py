"""The benchmark behind scripts/bench, which finds or builds what it needs and then starts this.

A round runs every workload; a workload runs every peer, in an order that moves on by one each round. Every run has a
fresh process of the proxy, alone on its CPU, in front of the one backend.
"""

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import load
import report
from peers import REQUEST_PATH, Peers
from process import (
    Cpus,
    Failure,
    Process,
    busy_share,
    end_all,
    end_on_signals,
    exchange,
    free_port,
    raise_file_limit,
)

HERE = Path(__file__).resolve().parent
WARM_UP_SECONDS = 0.5
RATE_CONNECTIONS = 32
FLAT_CONNECTIONS = 32
# The slowest of these sets the rate; the relay is no proxy, and the lab's nginx opens a connection for each request.
SENSIBLE = ["nginx", "haproxy", "pingora", "gateway"]
IDLE_STARTS = 5
# Share of the CPUs that others use, above which figures are not to be trusted.
COMPANY = 0.05
# name, few, many
FLAT = [("endpoints", 1, 1000), ("routes", 1, 1000), ("idle-connections", 10, 5000)]


@dataclass(frozen=True)
class Workload:
    """`name` and `connections` are what a row says; `kind` is the load generator's way."""

    name: str
    connections: int
    kind: str = "closed"
    body: int = 0


WORKLOADS = {
    "get-1": Workload("get", 1),
    "get-32": Workload("get", 32),
    "get-256": Workload("get", 256),
    "get-1000": Workload("get", 1000),
    "post-1k": Workload("post-1k", 32, body=1 << 10),
    "post-64k": Workload("post-64k", 32, body=64 << 10),
    "post-1m": Workload("post-1m", 32, body=1 << 20),
    "rate": Workload("rate", RATE_CONNECTIONS, kind="rate"),
    "h2c": Workload("h2c", load.H2_CONNECTIONS, kind="h2c"),
}


def names(text):
    """Of a comma-separated list, each once."""
    return list(dict.fromkeys(text.split(",")))


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("--peers", type=names)
    parser.add_argument("--workloads", type=names)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=int)
    parser.add_argument("--json")
    parser.add_argument("--access-log", action="store_true")
    parser.add_argument("--gateway", type=Path)
    parser.add_argument("--nginx")
    parser.add_argument("--old-nginx")
    parser.add_argument("--before", type=Path)
    parser.add_argument("--rust-peers", type=Path)
    return parser.parse_args()


class Bench:
    """One backend, the peers in front of it, and the rows so far."""

    def __init__(self, args, directory, stack):
        self.args = args
        self.directory = Path(directory)
        self.h2load_log = self.directory / "h2load.log"
        self.cpus = Cpus()
        self.peers = Peers(args, directory, self.cpus.proxy)
        self.rows = []
        self.left_out = {}
        self.rate = None
        self.backend_port = free_port()
        # On every address, because the endpoints of the workload "endpoints" are 127.0.0.x.
        command = [args.rust_peers / "backend", f"0.0.0.0:{self.backend_port}"]
        backend = Process("backend", command, self.cpus.backend, self.directory / "backend.log")
        stack.enter_context(backend).wait_ready(self.backend_port, "/")

    def run(self):
        self.warn_of_company()
        self.measure_starts()
        for round_ in range(1, self.args.rounds + 1):
            for name in self.args.workloads:
                if name == "flat":
                    if report.OURS in self.args.peers:
                        self.flat_round(round_)
                    continue
                for peer in rotated(self.args.peers, round_ - 1):
                    self.run_peer(peer, WORKLOADS[name], round_)

    def warn_of_company(self):
        busy = busy_share(0.5)
        if busy > COMPANY:
            print(f"warning: others use {busy:.0%} of the CPUs; expect wide spreads", file=sys.stderr)

    def measure_starts(self):
        """From exec to the first 200, and the memory a moment later."""
        for round_ in range(1, IDLE_STARTS + 1):
            for name in self.args.peers:
                process, peer = self.peers.start(name, self.backend_port)
                with process:
                    ready = process.wait_ready(peer.ready_port, peer.ready_path)
                    # Not a state to wait for: whatever it still does after it is ready shall be in its memory.
                    time.sleep(0.2)
                    measured = {"ready_ms": round(ready * 1000, 1), "rss_mb": round(process.rss_mb(), 1)}
                self.rows.append(report.row(name, "idle", 0, round_, **measured))

    def run_peer(self, name, workload, round_):
        if (name, workload.name, workload.connections) in self.left_out:
            return
        process, peer = self.peers.start(name, self.backend_port)
        with process:
            process.wait_ready(peer.ready_port, peer.ready_path)
            why = self.unable(name, peer, workload)
            if why:
                self.left_out[name, workload.name, workload.connections] = why
                return
            if workload.kind == "rate" and self.rate is None:
                self.rate = self.half_of_saturation()
            self.measure(name, process, peer, workload, round_)

    def unable(self, name, peer, workload):
        """Why this peer cannot run this workload, or None."""
        if name.startswith("lab-nginx") and workload.connections >= 1000:
            return "1,024 worker_connections are too few for 1,000 clients and their upstream connections"
        if workload.kind == "h2c" and not self.speaks_h2c(peer):
            return "not supported, no HTTP/2 without TLS"
        return None

    def speaks_h2c(self, peer):
        command = ["h2load", "-n1", "-c1", f"http://127.0.0.1:{peer.h2_port}{REQUEST_PATH}"]
        probe = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        return "1 succeeded" in probe.stdout and "status codes: 1 2xx" in probe.stdout

    def measure(self, name, process, peer, workload, round_):
        """Warms the proxy up, then charges its CPU time to the requests of one load run."""
        self.warm_up(peer, workload)
        cpu_before = process.cpu_seconds()
        result, rss = self.load(peer, workload, process)
        cpu = process.cpu_seconds() - cpu_before
        if result.requests == 0:
            raise Failure(f"{name} answered no request of {workload.name}:\n{process.last_lines()}")
        measured = {"cpu_us_per_request": round(cpu * 1e6 / result.requests, 2), "rss_mb": round(rss, 1)}
        self.rows.append(report.row(name, workload.name, workload.connections, round_, result, **measured))
        self.progress(self.rows[-1])

    def warm_up(self, peer, workload):
        with self.start_load("warm-up", peer, workload, 10):
            # Not a state to wait for either: this is how long it is warmed up.
            time.sleep(WARM_UP_SECONDS)

    def load(self, peer, workload, process):
        """The generator's result, and the proxy's memory shortly before the end, while the connections are open."""
        with self.start_load("load", peer, workload, self.args.seconds) as generator:
            rss = process.rss_mb()
            while generator.running():
                rss = process.rss_mb()
                try:
                    generator.child.wait(0.1)
                except subprocess.TimeoutExpired:
                    pass
        return self.read_load(workload), rss

    def start_load(self, name, peer, workload, seconds):
        return Process(name, self.load_command(peer, workload, seconds), self.cpus.load, self.directory / f"{name}.out")

    def load_command(self, peer, workload, seconds):
        url = f"http://127.0.0.1:{peer.port}{REQUEST_PATH}"
        if workload.kind == "h2c":
            url = f"http://127.0.0.1:{peer.h2_port}{REQUEST_PATH}"
            # h2load appends to its log.
            self.h2load_log.unlink(missing_ok=True)
            return load.h2load_command(url, seconds, self.h2load_log)
        if workload.kind == "rate":
            paced = self.args.rust_peers / "paced"
            return load.paced_command(paced, peer.port, REQUEST_PATH, self.rate, workload.connections, seconds)
        return load.wrk_command(HERE / "wrk.lua", url, workload.connections, seconds, workload.body)

    def read_load(self, workload):
        text = (self.directory / "load.out").read_text()
        if workload.kind == "h2c":
            return load.read_h2load(text, self.h2load_log.read_text())
        return load.read_json(text)

    def half_of_saturation(self):
        """Half of what the slowest sensible peer carries, the same for all."""
        workload = Workload("get", RATE_CONNECTIONS)
        most = []
        for name in [peer for peer in self.args.peers if peer in SENSIBLE] or self.args.peers:
            process, peer = self.peers.start(name, self.backend_port)
            with process:
                process.wait_ready(peer.ready_port, peer.ready_path)
                self.warm_up(peer, workload)
                result, _ = self.load(peer, workload, process)
                most.append(result.rps)
        return int(min(most) / 200) * 100

    def flat_round(self, round_):
        for what, few, many in FLAT:
            for count in rotated([few, many], round_ - 1):
                options = {what: count} if what != "idle-connections" else {}
                process, peer = self.peers.start(report.OURS, self.backend_port, **options)
                with process, ExitStack() as idle:
                    process.wait_ready(peer.ready_port, peer.ready_path)
                    if what == "idle-connections":
                        hold_idle(idle, peer, count)
                    workload = Workload(f"{what}-{count}", FLAT_CONNECTIONS)
                    self.measure(report.OURS, process, peer, workload, round_)

    def progress(self, row):
        errors = f"  {row['errors']} ERRORS" if row["errors"] else ""
        print(
            f"    round {row['round']}  {row['workload']:>12} {row['connections']:>5}  {row['peer']:<10}"
            f"{row['cpu_us_per_request']:>10.1f} µs/request {row['rps']:>10,.0f} requests/s{errors}",
            file=sys.stderr,
            flush=True,
        )

    def show(self):
        order = [(WORKLOADS[name].name, WORKLOADS[name].connections) for name in self.args.workloads if name != "flat"]
        parts = [
            "Peers: " + ", ".join(f"{name} ({self.peers.version(name)})" for name in self.args.peers) + ".",
            f"Rounds: {self.args.rounds}, runs of {self.args.seconds} s. Of {self.cpus.count} CPUs number "
            f"{self.cpus.proxy} for the proxy, {self.cpus.backend} for the backend, {self.cpus.load} for the load.",
            report.workload_tables(self.rows, order),
            report.ratio_table(self.rows, order),
            report.start_table(self.rows),
            report.flat_table(self.rows, FLAT),
        ]
        if self.rate:
            parts.append(f"Workload rate: {self.rate:,} requests/s.")
        parts.append(report.left_out_list(self.left_out))
        print("\n\n".join(part.strip() for part in parts if part))


def hold_idle(stack, peer, count):
    """Connections that have had one answer and then say nothing."""
    for _ in range(count):
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", peer.port), timeout=5))
        if exchange(connection, REQUEST_PATH) != 200:
            raise Failure("a connection that was to be idle was not answered 200")


def rotated(items, by):
    by %= len(items)
    return items[by:] + items[:by]


def main():
    args = arguments()
    end_on_signals()
    raise_file_limit()
    try:
        with tempfile.TemporaryDirectory(prefix="bench.") as directory, ExitStack() as stack:
            bench = Bench(args, directory, stack)
            bench.run()
            if args.json:
                Path(args.json).write_text(json.dumps(bench.rows, indent=1) + "\n")
            bench.show()
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    finally:
        end_all()
    errors = sum(row["errors"] for row in bench.rows)
    if errors:
        print(f"error: {errors} requests failed; the runs are marked above", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
