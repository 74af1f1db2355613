"""The load generators: what each is called with, and their reports read into one form."""

import json
import re
from dataclasses import dataclass

from process import Failure

H2_CONNECTIONS = 8
H2_STREAMS = 16


@dataclass
class Result:
    """What a load generator saw."""

    requests: int
    seconds: float
    errors: int
    p50_ms: float
    p99_ms: float

    @property
    def rps(self):
        return self.requests / self.seconds


def wrk_command(script, url, connections, seconds, body):
    # One thread: it shares its CPU with the backend anyway.
    return ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", script, url, "--", body]


def paced_command(binary, port, path, rate, connections, seconds):
    return [binary, f"127.0.0.1:{port}", path, rate, connections, seconds]


def h2load_command(url, seconds, log):
    return ["h2load", "-t1", f"-c{H2_CONNECTIONS}", f"-m{H2_STREAMS}", f"-D{seconds}", f"--log-file={log}", url]


def read_json(text):
    """The one line of JSON that wrk.lua and bench-peers/paced end with."""
    lines = [line for line in text.splitlines() if line.startswith("{")]
    if not lines:
        raise Failure(f"the load generator gave no result:\n{text}")
    return Result(**json.loads(lines[-1]))


def read_h2load(report, log):
    """h2load's report has the counts; its log has a line a request: start in µs, status, duration in µs."""
    counts = re.search(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", report)
    finished = re.search(r"finished in ([\d.]+)(ms|s|us)", report)
    if not counts or not finished:
        raise Failure(f"h2load gave no result:\n{report}")
    succeeded, failed, _errored, timed_out = (int(count) for count in counts.groups())
    seconds = float(finished[1]) * {"s": 1, "ms": 1e-3, "us": 1e-6}[finished[2]]
    durations = sorted(int(line.split("\t")[2]) for line in log.splitlines())
    return Result(
        requests=succeeded,
        seconds=seconds,
        # What errored is counted among the failed.
        errors=failed + timed_out,
        p50_ms=percentile(durations, 0.50) / 1000,
        p99_ms=percentile(durations, 0.99) / 1000,
    )


def percentile(ordered, share):
    """The value that this share of the others does not exceed; 0 of none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
