"""Processes of the benchmark: started on a chosen CPU, measured, and always ended."""

import ctypes
import os
import resource
import signal
import socket
import subprocess
import time

LIBC = ctypes.CDLL(None, use_errno=True)


def raise_file_limit():
    """1,000 and 5,000 connections need more than the usual 1,024 files; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Cpus:
    """Which CPU runs what. The proxy has one for itself, so that what it is charged for is its own work."""

    def __init__(self):
        available = sorted(os.sched_getaffinity(0))
        self.count = len(available)
        self.proxy = available[0]
        self.backend = available[1 % self.count]
        self.load = available[2] if self.count > 2 else self.backend


class Process:
    """A child process and its children. Use it in a `with`: whatever ends the block, they are gone after it."""

    def __init__(self, name, command, cpu, log, env=None):
        self.name = name
        self.log = log
        self.started = time.perf_counter()
        with open(log, "wb") as output:
            self.child = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                preexec_fn=lambda: os.sched_setaffinity(0, {cpu}),
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Nothing of it is wanted any more, and some proxies take seconds to end gracefully.
        for pid in self.family():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.child.wait()

    def running(self):
        return self.child.poll() is None

    def family(self):
        """Its process ids and those of its children."""
        pids = [self.child.pid]
        for pid in pids:
            try:
                with open(f"/proc/{pid}/task/{pid}/children") as children:
                    pids += [int(child) for child in children.read().split()]
            except FileNotFoundError:
                pass
        return pids

    def cpu_seconds(self):
        return sum(cpu_clock(pid) for pid in self.family())

    def rss_mb(self):
        return sum(resident_kb(pid) for pid in self.family()) / 1024

    def wait_ready(self, port, path, seconds=10):
        """Until it answers 200; returns the seconds since it was started."""
        while True:
            if status_of(port, path) == 200:
                return time.perf_counter() - self.started
            if not self.running():
                raise Failure(f"{self.name} ended with status {self.child.returncode}:\n{self.last_lines()}")
            if time.perf_counter() - self.started > seconds:
                raise Failure(f"{self.name} does not answer 200 on {path} after {seconds} s:\n{self.last_lines()}")
            time.sleep(0.0005)

    def last_lines(self):
        with open(self.log, errors="replace") as log:
            return "".join(log.readlines()[-20:])


class Failure(Exception):
    """The benchmark cannot go on; the message says why."""


def cpu_clock(pid):
    """User and system time of a process: utime + stime of /proc/PID/stat, which counts in 10 ms, in nanoseconds."""
    clock = ctypes.c_int()
    if LIBC.clock_getcpuclockid(pid, ctypes.byref(clock)) != 0:
        raise Failure(f"process {pid} is gone while it is measured")
    return time.clock_gettime(clock.value)


def resident_kb(pid):
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0


def exchange(connection, path):
    """One GET over an open connection; the answer's status, or None when there is none."""
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    answer = connection.recv(4096)
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else None


def status_of(port, path):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            return exchange(connection, path)
    except OSError:
        return None
