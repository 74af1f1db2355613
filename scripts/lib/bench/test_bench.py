"""What of the benchmark can be tested without running it: reports read, ratios, targets, tables, processes ended."""

import os
import sys
import tempfile
import time
import unittest
from pathlib import Path

import bench
import load
import peers
import report
from process import Failure, Process, cpu_clock, free_port

H2LOAD = """
finished in 2.01s, 22783.50 req/s, 1.50MB/s
requests: 45000 total, 45020 started, 45000 done, 44990 succeeded, 10 failed, 4 errored, 3 timeout
status codes: 44990 2xx, 0 3xx, 0 4xx, 6 5xx
"""


def run(peer, round_, cpu, workload="get", connections=32, **more):
    row = report.row(peer, workload, connections, round_, cpu_us_per_request=cpu, rss_mb=more.pop("rss_mb", 5.0))
    return {**row, **more}


class Reports(unittest.TestCase):
    def test_the_last_line_of_json_counts(self):
        line = '{"requests": 1000, "seconds": 2.0, "errors": 3, "p50_ms": 0.1, "p99_ms": 0.9}'
        result = load.read_json(f"Running 2s test @ http://127.0.0.1\n  1 threads\n{line}\n")
        self.assertEqual((result.rps, result.errors, result.p99_ms), (500.0, 3, 0.9))

    def test_a_load_generator_without_a_result_is_a_failure(self):
        with self.assertRaisesRegex(Failure, "unable to connect"):
            load.read_json("unable to connect to 127.0.0.1:1 Connection refused\n")
        with self.assertRaisesRegex(Failure, "no result"):
            load.read_h2load("[ERROR] Connection refused", "")

    def test_h2load_has_counts_in_its_report_and_latencies_in_its_log(self):
        log = "".join(f"1700000000000000\t200\t{micros}\n" for micros in range(1000, 101000, 1000))
        result = load.read_h2load(H2LOAD, log)
        self.assertEqual((result.requests, result.seconds, result.errors), (44990, 2.01, 13))
        self.assertEqual((result.p50_ms, result.p99_ms), (51.0, 100.0))

    def test_percentiles_of_few_and_of_none(self):
        self.assertEqual(load.percentile([], 0.99), 0.0)
        self.assertEqual(load.percentile([7], 0.99), 7)
        self.assertEqual(load.percentile([1, 2], 0.50), 2)


class Ratios(unittest.TestCase):
    def test_are_taken_within_a_round(self):
        # Round 2 was disturbed for both: the ratio there is as in the others.
        ours = [run("gateway", 1, 9.0), run("gateway", 2, 36.0), run("gateway", 3, 10.0)]
        theirs = [run("nginx", 3, 10.0), run("nginx", 1, 10.0), run("nginx", 2, 40.0)]
        found = report.ratio(ours, theirs, "cpu_us_per_request")
        self.assertEqual((found.median, found.low, found.high), (0.9, 0.9, 1.0))
        self.assertEqual(str(found), "0.90 (0.90–1.00)")

    def test_need_both_in_the_same_round(self):
        self.assertIsNone(report.ratio([run("gateway", 1, 9.0)], [run("nginx", 2, 9.0)], "cpu_us_per_request"))
        self.assertIsNone(report.ratio([], [], "cpu_us_per_request"))

    def test_stand_beside_their_target(self):
        rows = [run("gateway", 1, 9.5), run("nginx", 1, 10.0), run("relay", 1, 5.0)]
        shown = report.ratio_table(rows, [("get", 32)])
        self.assertIn("0.95 (0.95–0.95) ≤ 0.95 met", shown)
        self.assertIn("1.90 (1.90–1.90) ≤ 1.25 missed", shown)

    def test_have_no_target_elsewhere(self):
        rows = [run("gateway", 1, 9.5, workload="post-1k"), run("nginx", 1, 10.0, workload="post-1k")]
        self.assertNotIn("≤", report.ratio_table(rows, [("post-1k", 32)]))

    def test_at_a_constant_rate_latency_is_compared_too(self):
        rows = [run("gateway", 1, 9.0, "rate", p99_ms=2.0), run("nginx", 1, 9.0, "rate", p99_ms=1.0)]
        self.assertIn("2.00 (2.00–2.00) ≤ 1.00 missed", report.ratio_table(rows, [("rate", 32)]))


class Tables(unittest.TestCase):
    def test_medians_over_rounds_and_marked_errors(self):
        rows = [run("nginx", 1, 10.0), run("nginx", 2, 30.0, errors=1_200), run("nginx", 3, 11.0)]
        shown = report.workload_tables(rows, [("get", 32)])
        self.assertIn("| nginx (1,200 errors) | 11.0 ", shown)
        self.assertIn("get, 32 connections", shown)

    def test_what_was_not_measured_is_a_dash(self):
        self.assertEqual(report.number(None, 1), "–")
        self.assertIsNone(report.middle([run("nginx", 1, None)], "cpu_us_per_request"))

    def test_lines_of_a_table_are_equally_long(self):
        lines = report.table(["a", "long head"], [["long cell", "b"], ["c", "d"]]).splitlines()
        self.assertEqual(len({len(line) for line in lines}), 1)

    def test_what_was_left_out_is_listed_by_reason(self):
        left_out = {("relay", "h2c", 8): "no", ("lab-nginx", "h2c", 8): "no", ("lab-nginx", "get", 1000): "too few"}
        self.assertEqual(
            report.left_out_list(left_out),
            "- h2c, 8 connections, without relay, lab-nginx: no.\n- get, 1,000 connections, without lab-nginx: too few.",
        )

    def test_start_and_memory_beside_their_targets(self):
        rows = [
            run("gateway", 1, None, workload="idle", connections=0, ready_ms=51.0, rss_mb=12.0),
            run("gateway", 1, 9.0, connections=1000, rss_mb=41.0),
        ]
        shown = report.start_table(rows)
        self.assertIn("≤ 50 missed", shown)
        self.assertIn("≤ 12 met", shown)
        self.assertIn("≤ 40 missed", shown)

    def test_flat_cost_is_a_change_in_percent(self):
        rows = [run("gateway", 1, 10.0, workload="routes-1"), run("gateway", 1, 11.5, workload="routes-1000")]
        self.assertIn("+15 % (+15 to +15)", report.flat_table(rows, bench.FLAT))
        self.assertIn("≤ 10 % missed", report.flat_table(rows, bench.FLAT))


class Turns(unittest.TestCase):
    def test_every_round_begins_with_another_peer(self):
        self.assertEqual([bench.rotated([1, 2, 3], by) for by in range(4)], [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 2, 3]])


class Versions(unittest.TestCase):
    def test_are_found_in_what_a_program_prints(self):
        self.assertEqual(peers.first_version("HAProxy version 2.6.12-1+deb12u4 2026/10/17"), "2.6.12")
        self.assertEqual(peers.first_version("nginx version: nginx/1.30.6\n"), "1.30.6")
        self.assertRegex(peers.locked_version("pingora-proxy"), r"^\d+\.\d+")


class Gateway(unittest.TestCase):
    def test_a_thousand_endpoints_are_as_many_addresses(self):
        addresses = peers.loopback_addresses(1000)
        self.assertEqual((addresses[0], addresses[-1]), ("127.0.0.1", "127.0.3.250"))
        self.assertEqual(len(set(addresses)), 1000)

    def test_one_route_is_the_default_and_a_thousand_are_written_out(self):
        self.assertNotIn("routes:", peers.gateway_yaml(5000, 1, 1))
        many = peers.gateway_yaml(5000, 1, 1000)
        self.assertEqual(many.count("- prefix: "), 1000)
        self.assertIn("- prefix: /predict\n", many)


class Processes(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.log = Path(directory.name) / "log"
        self.cpu = min(os.sched_getaffinity(0))

    def start(self, *command):
        return Process(command[0], command, self.cpu, self.log)

    def test_a_process_and_its_children_are_gone_after_the_block(self):
        with self.start("sh", "-c", "sleep 60 & echo $!; wait") as process:
            child = int(eventually(lambda: self.log.read_text().strip()))
            self.assertIn(child, process.family())
        self.assertTrue(ended(process.child.pid))
        eventually(lambda: ended(child))

    def test_one_that_ends_early_is_reported_with_its_last_lines(self):
        with self.start("sh", "-c", "echo no such setting; exit 78") as process:
            with self.assertRaisesRegex(Failure, "ended with status 78:\nno such setting"):
                process.wait_ready(free_port(), "/")

    def test_cpu_time_is_that_of_the_process(self):
        used = time.process_time()
        clock = cpu_clock(os.getpid())
        self.assertLessEqual(used, clock)
        self.assertLessEqual(clock, time.process_time())

    def test_its_memory_is_measured(self):
        with self.start(sys.executable, "-c", "import time; time.sleep(60)") as process:
            eventually(lambda: process.rss_mb() > 1)


def eventually(condition, seconds=10):
    """What the condition gives, as soon as it holds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not so after {seconds} s")
        time.sleep(0.001)
    return value


def ended(pid):
    """Gone, or dead and not yet collected by whoever inherited it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


if __name__ == "__main__":
    unittest.main()
