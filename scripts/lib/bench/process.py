"""Processes of the benchmark: started on a chosen CPU, measured, and always ended."""

import contextlib
import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import time

GRACE_SECONDS = 0.3
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


# Ends the benchmark; held back while a process is being started, or one could be left behind that nobody has noted.
ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
RUNNING = set()


def end_on_signals():
    def end(number, _frame):
        sys.exit(128 + number)

    for number in ENDING_SIGNALS:
        signal.signal(number, end)


@contextlib.contextmanager
def signals_held_back():
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)


def end_all():
    """For the very end: whatever a signal kept from being ended in its turn."""
    with signals_held_back():
        for process in list(RUNNING):
            process.end()


class Process:
    """A child process and its children, in a group of their own: a Ctrl-C of the terminal reaches the benchmark alone.

    Use it in a `with`: whatever ends the block, they are gone after it.
    """

    def __init__(self, name, command, cpu, log, env=None):
        self.name = name
        self.log = log

        def prepare():
            os.sched_setaffinity(0, {cpu})
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)

        with open(log, "wb") as output, signals_held_back():
            self.started = time.perf_counter()
            self.child = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
                preexec_fn=prepare,
            )
            RUNNING.add(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        """First asked, so that it collects its own children; but some proxies would take seconds to end gracefully."""
        self.child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(GRACE_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()
        RUNNING.discard(self)

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


def busy_share(seconds):
    """How much of the CPUs is used while this one waits."""
    before = cpu_times()
    time.sleep(seconds)
    total, idle = (after - start for after, start in zip(cpu_times(), before))
    return 1 - idle / total


def cpu_times():
    """All CPUs' ticks so far, and those of them spent idle or waiting for a disk."""
    with open("/proc/stat") as stat:
        ticks = [int(word) for word in stat.readline().split()[1:]]
    return sum(ticks), ticks[3] + ticks[4]


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
