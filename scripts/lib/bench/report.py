"""From rows to tables: medians over rounds, ratios taken within a round, and the targets they are held against."""

from dataclasses import dataclass
from statistics import median

OURS = "gateway"

# Gateway's CPU per request, divided by the peer's, at 1, 32 and 256 connections.
CPU_TARGETS = {
    "nginx": {1: 0.95, 32: 0.95, 256: 1.00},
    "haproxy": {1: 0.90, 32: 0.95, 256: 0.92},
    "pingora": {1: 0.80, 32: 0.70, 256: 0.55},
    "relay": {1: 1.25, 32: 1.25, 256: 1.35},
    "lab-nginx": {1: 0.45, 32: 0.22, 256: 0.22},
    "lab-nginx-1.26": {1: 0.45, 32: 0.22, 256: 0.22},
}
# Gateway's p99 at the same rate, divided by the peer's.
P99_TARGETS = {"nginx": 1.00}
IDLE_RSS_MB = 12
BUSY_RSS_MB = 40
READY_MS = 50
FLAT_PERCENT = 10


def row(peer, workload, connections, round_, result=None, **measured):
    """One run, as --json writes it. What does not apply is None."""
    return {
        "peer": peer,
        "workload": workload,
        "connections": connections,
        "cpu_us_per_request": measured.get("cpu_us_per_request"),
        "rps": result and round(result.rps, 1),
        "p50_ms": result and round(result.p50_ms, 3),
        "p99_ms": result and round(result.p99_ms, 3),
        "rss_mb": measured.get("rss_mb"),
        "round": round_,
        "errors": result.errors if result else 0,
        "ready_ms": measured.get("ready_ms"),
    }


def select(rows, **wanted):
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def middle(rows, key):
    """The median of what was measured, or None."""
    values = [row[key] for row in rows if row[key] is not None]
    return median(values) if values else None


@dataclass
class Ratio:
    """Over the rounds: the median, and how far they are apart."""

    median: float
    low: float
    high: float

    def __str__(self):
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


def ratio(ours, theirs, key):
    """Ours divided by theirs, round by round, because what disturbs a machine disturbs one round's runs alike."""
    by_round = {row["round"]: row[key] for row in theirs if row[key]}
    values = [row[key] / by_round[row["round"]] for row in ours if row[key] and row["round"] in by_round]
    return Ratio(median(values), min(values), max(values)) if values else None


def verdict(value, target):
    return "met" if value <= target else "missed"


def table(head, lines):
    """Markdown, padded so that a terminal shows it well."""
    cells = [head, *([str(cell) for cell in line] for line in lines)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    text = [[cell.ljust(width) for cell, width in zip(line, widths)] for line in cells]
    text.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(line) + " |" for line in text) + "\n"


def number(value, digits):
    return "–" if value is None else f"{value:,.{digits}f}"


def workload_title(workload, connections):
    return f"{workload}, {connections:,} connection{'s' if connections > 1 else ''}"


def workload_tables(rows, order):
    """One table a workload; a run that had errors carries their number."""
    parts = []
    for workload, connections in order:
        of_workload = select(rows, workload=workload, connections=connections)
        lines = []
        for peer in dict.fromkeys(row["peer"] for row in of_workload):
            runs = select(of_workload, peer=peer)
            errors = sum(run["errors"] for run in runs)
            lines.append(
                [
                    peer + (f" ({errors:,} errors)" if errors else ""),
                    number(middle(runs, "cpu_us_per_request"), 1),
                    number(middle(runs, "rps"), 0),
                    number(middle(runs, "p50_ms"), 2),
                    number(middle(runs, "p99_ms"), 2),
                    number(middle(runs, "rss_mb"), 1),
                ]
            )
        if lines:
            head = ["peer", "CPU µs/request", "requests/s", "p50 ms", "p99 ms", "RSS MB"]
            parts.append(f"{workload_title(workload, connections)}\n\n{table(head, lines)}")
    return "\n".join(parts)


def ratio_table(rows, order):
    """The gateway's CPU per request divided by each peer's, and at a constant rate its p99; with the targets."""
    peers = list(dict.fromkeys(row["peer"] for row in rows if row["peer"] != OURS))
    lines = []
    for workload, connections in order:
        of_workload = select(rows, workload=workload, connections=connections)
        title = workload_title(workload, connections)
        targets = {peer: CPU_TARGETS.get(peer, {}).get(connections) for peer in peers if workload == "get"}
        if not select(of_workload, peer=OURS):
            continue
        lines.append([title, *(ratio_cell(of_workload, peer, "cpu_us_per_request", targets) for peer in peers)])
        if workload == "rate":
            cells = [ratio_cell(of_workload, peer, "p99_ms", P99_TARGETS) for peer in peers]
            lines.append([title + ": p99", *cells])
    if not peers or not lines:
        return ""
    return table(["gateway / peer, median (min–max)", *peers], lines)


def ratio_cell(rows, peer, key, targets):
    found = ratio(select(rows, peer=OURS), select(rows, peer=peer), key)
    if found is None:
        return "–"
    target = targets.get(peer)
    return f"{found}" if target is None else f"{found} ≤ {target:.2f} {verdict(found.median, target)}"


def left_out_list(left_out):
    """Which peers did not run what, and why: {(peer, workload, connections): reason}."""
    peers = {}
    for (peer, workload, connections), why in left_out.items():
        peers.setdefault((workload, connections, why), []).append(peer)
    return "\n".join(
        f"- {workload_title(workload, connections)}, without {', '.join(names)}: {why}."
        for (workload, connections, why), names in peers.items()
    )


def start_table(rows):
    """What every peer takes to start and to stand idle, and the gateway's targets for it."""
    idle = select(rows, workload="idle")
    lines = []
    for peer in dict.fromkeys(row["peer"] for row in idle):
        runs = select(idle, peer=peer)
        busy = middle(select(rows, peer=peer, workload="get", connections=1000), "rss_mb")
        lines.append([peer, number(middle(runs, "ready_ms"), 1), number(middle(runs, "rss_mb"), 1), number(busy, 1)])
        if peer == OURS:
            values = [(middle(runs, "ready_ms"), READY_MS), (middle(runs, "rss_mb"), IDLE_RSS_MB), (busy, BUSY_RSS_MB)]
            targets = [
                "–" if value is None else f"≤ {target} {verdict(value, target)}" for value, target in values
            ]
            lines.append(["target", *targets])
    if not lines:
        return ""
    return table(["peer", "exec to ready, ms", "idle RSS, MB", "RSS at 1,000 connections, MB"], lines)


def flat_table(rows, variants):
    """How much dearer a request becomes when there is much more of something else."""
    lines = []
    for what, small, large in variants:
        before = select(rows, workload=f"{what}-{small}")
        after = select(rows, workload=f"{what}-{large}")
        found = ratio(after, before, "cpu_us_per_request")
        if found is None:
            continue
        change = [(value - 1) * 100 for value in (found.median, found.low, found.high)]
        lines.append(
            [
                f"{small:,} → {large:,} {what}",
                number(middle(before, "cpu_us_per_request"), 1),
                number(middle(after, "cpu_us_per_request"), 1),
                f"{change[0]:+.0f} % ({change[1]:+.0f} to {change[2]:+.0f})",
                f"≤ {FLAT_PERCENT} % {verdict(change[0], FLAT_PERCENT)}",
            ]
        )
    if not lines:
        return ""
    return table(["gateway, 32 connections", "CPU µs/request", "then", "change", "target"], lines)
