"""Reads hostile files one after the other, and says of each how that ended.

`python -m tests.weights.hostile_reading KIND FIRST END FOLDER` prints a line of JSON when it
begins with a file and one when it is done. Where the process ends in between, by a crash of a
library or after `SECONDS`, it was that file.
"""

import json
import logging
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

import numpy as np

from keras_mixers import weights as weight_files
from tests.weights import hostile
from tests.weights.test_foreign_files import build_mixer

SECONDS = 2
MEGABYTES = 300
_UNSET = 7.125  # Of no weight in any of the files.


class _Log(logging.Handler):
    def __init__(self):
        super().__init__()
        self.text = ""

    def emit(self, record):
        self.text += record.getMessage()


def main(kind, first, end, folder):
    model, path, log = build_mixer(), Path(folder) / f"file.{kind.split()[-1]}", _Log()
    logging.getLogger("keras_mixers").addHandler(log)
    path.write_bytes(hostile.good(kind).data)
    if _end(model, path, log)[0] != "loaded":
        raise RuntimeError("the good file cannot be read")
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    for number in range(int(first), int(end)):
        mutation = hostile.write(kind, number, path)
        print(json.dumps({"number": number, "mutation": mutation}), flush=True)
        began = time.process_time()
        how, why = _limited(model, path, log)
        print(
            json.dumps(
                {
                    "end": how,
                    "why": why,
                    "seconds": round(time.process_time() - began, 3),
                    "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024 - start,
                }
            ),
            flush=True,
        )


def _limited(model, path, log):
    """As `_end`, with no more than `MEGABYTES` and `SECONDS`, at the end of which is a signal."""
    with open("/proc/self/statm") as statm:
        held = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEGABYTES * 2**20, -1))
    # Of computing, and for a file that lets it wait for ever, more of the clock's.
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, 10 * SECONDS)
    try:
        return _end(model, path, log)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (-1, -1))


def _end(model, path, log):
    """Returns how `describe` and `load` end, `"loaded"` and `"refused"` being clean, and why."""
    for weight in model.weights:
        weight.assign(np.full(weight.shape, _UNSET))
    log.text = ""
    printed = os.fstat(2).st_size
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("default")
        try:
            weight_files.describe(path, namings=model.namings)
            described = None
        except BaseException as error:
            described = error
        try:
            weight_files.load(model, path)
            error = None
        except BaseException as raised:
            error = raised
    fault = _fault(described) or _fault(error) or _fault_of_weights(model, error, log)
    if hostile.MARKER.exists():
        hostile.MARKER.rmdir()
        fault = "a pickle was opened"
    if described and not error:
        fault = "it was loaded, but not described"
    if len(warned) > 3 or os.fstat(2).st_size > printed + 1000:
        fault = fault or f"{len(warned)} warnings: {warned[-1].message if warned else 'printed'}"
    if fault:
        return "fault", fault
    return ("refused", str(error).split(": ", 2)[-1][:200]) if error else ("loaded", "")


def _fault(error):
    """Returns what is wrong with how a file was refused."""
    if error is None:
        return None
    if type(error) is not ValueError or not str(error).isprintable() or len(str(error)) > 3000:
        return "".join(traceback.format_exception(error))[-3000:]
    causes = [error]
    while cause := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(cause)
    if any(isinstance(cause, MemoryError) or "allocate " in str(cause) for cause in causes):
        return f"it asked for too much memory: {error}"
    if "`weights` must" not in str(error):
        return "".join(traceback.format_exception(error))[-3000:]
    return None


def _fault_of_weights(model, error, log):
    for weight in model.weights:
        unset = np.asarray(weight) == _UNSET
        left_out = "the head of" in log.text and weight.path.startswith("head/")
        if error and not unset.all():
            return f"it was refused, but {weight.path} was set"
        if not error and unset.any() and not left_out:
            return f"it was loaded, but {weight.path} was not set"
    return None


if __name__ == "__main__":
    main(*sys.argv[1:])
