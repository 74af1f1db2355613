"""Asks Triton and ml-inference the same, and compares what they say with what differences.yaml accepts."""

import argparse
import pathlib
import re
import sys
import tempfile

import yaml

import compare
import models
import request
import servers

HERE = pathlib.Path(__file__).parent


def main():
    arguments = argparse.ArgumentParser(prog="run.sh", description=__doc__)
    arguments.add_argument("--only", metavar="REGEX", default="", help="cases whose GROUP/NAME matches")
    arguments.add_argument("--verbose", action="store_true", help="show both answers of every case that differs")
    arguments.add_argument("--binaries", metavar="DIR", type=pathlib.Path, default=pathlib.Path("target/debug"))
    arguments = arguments.parse_args()
    accepted = yaml.safe_load((HERE / "differences.yaml").read_text())
    cases = corpus()
    for entry in accepted["triton"] + accepted["gateway"]:
        if unknown := entry["cases"].keys() - cases.keys():
            sys.exit(f"differences.yaml lists what corpus.yaml does not have: {', '.join(unknown)}")
    cases = {name: case for name, case in cases.items() if re.search(arguments.only, name)}
    with tempfile.TemporaryDirectory(prefix="differential-") as directory:
        triton, ours, passed_on = ask(pathlib.Path(directory), arguments.binaries.resolve(), cases)
    beside = Comparison("Triton → ml-inference", cases, triton, ours, is_passed_on=False)
    behind = Comparison("ml-inference → through the gateway", cases, ours, passed_on, is_passed_on=True)
    faults = beside.report(accepted["triton"], arguments.verbose) + behind.report(accepted["gateway"], arguments.verbose)
    sys.exit(1 if faults else 0)


def corpus():
    """Every case by its group and name."""
    found = {}
    for group, cases in yaml.safe_load((HERE / "corpus.yaml").read_text()).items():
        for case in cases:
            name = f"{group}/{case['name']}"
            assert name not in found, f"{name} is there twice"
            found[name] = case
    return found


def ask(directory, binaries, cases):
    """What Triton answers, what ml-inference does, and what it does behind the gateway, started anew and so as ignorant as before."""
    for server in ("triton", "ours"):
        (directory / server).mkdir()
    models.make(directory / "triton", directory / "ours")
    requests = [request.make(case) for case in cases.values()]

    def told(server):
        return [told_one(server, made) for made in requests]

    def ml_inference():
        return servers.ml_inference(directory, directory / "ours", binaries / "ml-inference", "halves")

    with servers.triton(directory, directory / "triton") as server:
        triton = told(server)
    with ml_inference() as server:
        ours = told(server)
    with ml_inference() as server, servers.gateway(directory, binaries / "gateway", server.address) as gateway:
        passed_on = told(gateway)
    return triton, ours, passed_on


def told_one(server, made):
    answer = request.send(server.address, made)
    if answer.failure and server.died():
        answer.failure = "the server dies"
    return answer


class Comparison:
    """Which answers of two servers differ, and how."""

    def __init__(self, title, cases, ones, others, is_passed_on):
        self.title, self.cases = title, cases
        self.answers = dict(zip(cases, zip(ones, others)))
        self.found = {
            name: compare.difference(*self.answers[name], case.get("form", False), is_passed_on) for name, case in cases.items()
        }

    def report(self, accepted, verbose):
        """Prints every difference under its reason, and how many there are; returns how many are not as they are listed."""
        print(f"\n{self.title}")
        listed, faults = {}, 0
        for entry in accepted:
            differing = {name: text for name, text in entry["cases"].items() if name in self.cases}
            assert not listed.keys() & differing.keys(), f"listed twice: {listed.keys() & differing.keys()}"
            listed |= differing
            if differing:
                print(f"\n  {' '.join(entry['reason'].split())}")
            for name, text in differing.items():
                faults += self.show(name, text, verbose)
        unlisted = [name for name, text in self.found.items() if text and name not in listed]
        if unlisted:
            print("\n  not listed")
        for name in unlisted:
            faults += self.show(name, None, verbose)
        self.count()
        return faults

    def show(self, name, listed, verbose):
        found = self.found[name]
        is_fault = found != listed
        print(f"  {'!' if is_fault else ' '} {name}: {found or 'no difference'}")
        if is_fault and listed is not None:
            print(f"      listed as: {listed}")
        if verbose:
            for answer in self.answers[name]:
                print(f"      {answer.failure or answer.status} {answer.media_type} {compare.shown(answer.body, 300)}")
        return is_fault

    def count(self):
        groups = {}
        for name, text in self.found.items():
            counts = groups.setdefault(name.split("/")[0], [0, 0])
            counts[bool(text)] += 1
        groups["all"] = [sum(column) for column in zip(*groups.values())]
        print(f"\n  {'':16}{'equal':>7}{'differ':>8}")
        for group, (equal, differ) in groups.items():
            print(f"  {group:16}{equal:7}{differ:8}")


main()
