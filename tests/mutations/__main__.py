"""Puts small faults into a copy of the package, one at a time: do the tests see each of them?

  python -m tests.mutations              all of them, in a quarter of an hour on two cores
  python -m tests.mutations 3 17         these
  python -m tests.mutations --list       what they are; runs nothing
  python -m tests.mutations --check      first the tests alone, which must pass without any fault

The faults are in mutations.toml. Exit status: 0 when every one was killed; 1 when one was not; 2
when the arguments or a mutation cannot be used.
"""

import argparse
import collections
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from tests.mutations import copied, count, read, room

SECONDS = 600  # For the tests of one mutation.
OUTCOMES = {0: "SURVIVED", 1: "killed"}


def tested(folder, tests):
    """Runs test files on a copy. Returns what came of it, the seconds, and the last lines."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    # No bytecode: it is known by a file's size and time, which a fault may leave as they are.
    settings = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    start, own = time.monotonic(), {"cwd": folder, "env": settings, "start_new_session": True}
    with subprocess.Popen(command, **pipes, **own) as process:
        try:
            said = process.communicate(timeout=SECONDS)[0][-2000:]
            outcome = OUTCOMES.get(process.returncode, "ERROR")
        except subprocess.TimeoutExpired:
            outcome, said = "ERROR", f"not done after {SECONDS} s"
        finally:
            with contextlib.suppress(ProcessLookupError):  # With what the tests have started.
                os.killpg(process.pid, signal.SIGKILL)
    return outcome, time.monotonic() - start, said


def tried(folder, mutation):
    """Applies a mutation to a copy, tests that, and takes it back."""
    path = folder / mutation["file"]
    before = path.read_bytes()
    try:
        path.write_bytes(before.replace(mutation["old"].encode(), mutation["new"].encode()))
        return tested(folder, mutation["tests"])
    finally:
        path.write_bytes(before)


def report(results):
    """Prints a line for each room, and what was not killed."""
    print(f"\n{'room':<16}{'mutations':>10}{'killed':>8}")
    rooms = collections.defaultdict(list)
    for mutation, outcome, _ in results:
        rooms[room(mutation["file"])].append(outcome)
    for name, outcomes in (rooms | {"all": [outcome for _, outcome, _ in results]}).items():
        print(f"{name:<16}{len(outcomes):>10}{outcomes.count('killed'):>8}")
    for mutation, outcome, said in results:
        if outcome != "killed":
            why = said if outcome == "ERROR" else said.rstrip().rpartition("\n")[2]
            print(f"\n{outcome}: {mutation['file']}: {mutation['what']}\n{why}")


def chosen_of(argv=None):
    """Returns what to do: the arguments, and the mutations by their numbers."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutations",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("numbers", nargs="*", type=int, metavar="NUMBER", help="from 1; else all")
    for flag in ("--list", "--check"):
        parser.add_argument(flag, action="store_true", help="see above")
    args = parser.parse_args(argv)
    mutations = dict(enumerate(read(), start=1))
    chosen = {number: mutations.get(number) for number in args.numbers or mutations}
    for number, mutation in chosen.items():
        if mutation is None:
            parser.error(f"NUMBER must be from 1 to {len(mutations)}. Received: {number}")
        if count(mutation) != 1:
            parser.error(f"mutation {number}: `old` must occur once in {mutation['file']}")
    return args, chosen


def main():
    args, chosen = chosen_of()
    if args.list:
        print(*(f"{n:>3}  {m['file']}: {m['what']}" for n, m in chosen.items()), sep="\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="mutations-") as scratch:
        folder, results = pathlib.Path(scratch), []
        copied(folder)
        for test in sorted({t for m in chosen.values() for t in m["tests"]}) if args.check else ():
            if tested(folder, [test])[0] != "SURVIVED":
                print(f"{test} must pass without a fault", file=sys.stderr)
                return 1
        start = time.monotonic()
        for done, (number, mutation) in enumerate(chosen.items(), start=1):
            outcome, seconds, said = tried(folder, mutation)
            results.append((mutation, outcome, said))
            left = (time.monotonic() - start) / done * (len(chosen) - done)
            took = f"{seconds:.0f} s, {left / 60:.0f} min left"
            print(f"{number:>3}  {mutation['file']}: {outcome}, {took}", flush=True)
    report(results)
    return 0 if all(outcome == "killed" for _, outcome, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())
