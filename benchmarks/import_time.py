"""Prints what `import keras_mixers` adds to `import keras`, each in fresh processes, in turn.

Example:
  python benchmarks/import_time.py
"""

import argparse
import statistics
import subprocess
import sys

# The clock runs inside the process, around the imports alone.
_TIMED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
_ADDED = (
    "import keras, time; start = time.perf_counter(); import keras_mixers; "
    "print(time.perf_counter() - start)"
)


def seconds(code):
    """Runs `code`, which prints seconds, in a fresh Python."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(run.stdout)


def main():
    parser = argparse.ArgumentParser(
        prog="benchmarks/import_time.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=7, help="of each kind (default: 7)")
    runs = parser.parse_args().runs
    if runs < 1:
        parser.error(f"argument --runs: must be at least 1. Received: {runs}")
    kinds = {
        "import keras": _TIMED.format("import keras"),
        "import keras, keras_mixers": _TIMED.format("import keras, keras_mixers"),
        "keras_mixers after keras": _ADDED,
    }
    seconds(kinds["import keras, keras_mixers"])  # Warm-up: byte code, disk cache.
    times = {kind: [] for kind in kinds}
    for _ in range(runs):
        for kind, code in kinds.items():
            times[kind].append(seconds(code))
    print(f"{'seconds':28}  median     min     max   ({runs} fresh processes each)")
    for kind, values in times.items():
        median = statistics.median(values)
        print(f"{kind:28}  {median:6.3f}  {min(values):6.3f}  {max(values):6.3f}")


if __name__ == "__main__":
    main()
