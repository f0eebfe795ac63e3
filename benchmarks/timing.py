"""Contenders that take turns: each in a process of its own, which sleeps while others work."""

import concurrent.futures
import multiprocessing
import pathlib
import platform
import re
import statistics
import time

PAUSE = 0.3  # Seconds before each turn: threads may spin for 0.2 s after their last work.


class Process(concurrent.futures.ProcessPoolExecutor):
    """One fresh process, which sleeps while it has nothing to do."""

    def __init__(self):
        super().__init__(1, multiprocessing.get_context("spawn"))

    def call(self, function, *args):
        """Returns what the process returns, or raises what it raises."""
        return self.submit(function, *args).result()

    def take_steps(self, count):
        """Returns the seconds of each of `count` steps, after `call(prepare, ...)`."""
        return self.call(_take_steps, count)


def prepare(side, *args):
    """Makes the step of this process, by `side(*args)`, which returns it and facts: the latter."""
    global _step
    _step, facts = side(*args)
    return facts


def _take_steps(count):
    times = []
    for _ in range(count):
        start = time.perf_counter()
        _step()
        times.append(time.perf_counter() - start)
    return times


def alternate(processes, steps, rounds, warm_up):
    """Lets the processes take turns; who begins changes every round.

    Args:
        processes: Prepared ones.
        steps: Of a turn.
        rounds: In each of which every process has a turn.
        warm_up: Steps of each process that nobody times.

    Returns:
        For each of them a list of rounds: lists of the seconds of each step.
    """
    for process in processes:
        process.take_steps(warm_up)
    times = [[] for _ in processes]
    for number in range(rounds):
        turns = list(zip(processes, times, strict=True))
        for process, mine in reversed(turns) if number % 2 else turns:
            time.sleep(PAUSE)
            mine.append(process.take_steps(steps))
    return times


def ratio(mine, others):
    """Returns how our time compares to the other's: the median of the rounds, and their range."""
    ratios = [
        statistics.median(a) / statistics.median(b) for a, b in zip(mine, others, strict=True)
    ]
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} - {max(ratios):.3f})"


def machine(cores):
    """Returns the number of cores and the name of the processor."""
    cpu = pathlib.Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", cpu.read_text()) if cpu.exists() else None
    return f"{cores} cores of {found[1] if found else platform.processor() or platform.machine()}"
