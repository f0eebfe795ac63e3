"""Compiles the training step of every public model for every kind of TPU, and writes docs/tpu.md.

Each row is what `keras-mixers tpu-plan --json` says of four chips with 128 images each, the
batches of the papers (4,096 on 32 chips, 1,024 on 8), or with as many as fit. A row takes minutes,
all of them hours; each is kept in docs/tpu.json as soon as it is there, and not compiled again.

Exit status: 0 when all rows asked for are there; 1 when a step could not be compiled.

Examples:
  keras-mixers tpu-table --chips v5e --models MLPMixerS32 MLPMixerB16
  keras-mixers tpu-table --jobs 2
"""

import argparse
import concurrent.futures
import json
import subprocess
import sys

from keras_mixers.commands import cli
from keras_mixers.evaluation.tables import PUBLISHED_TOP1
from keras_mixers.tpu import table

_CHIPS = 4


def compiled(model, chip, *flags):
    """Returns the plan of a model on a chip, as `keras-mixers tpu-plan --json` prints it.

    Args:
        model: Name of the variant.
        chip: Of `table.TOPOLOGIES`.
        flags: More arguments of the command.

    Raises:
        RuntimeError: It could not be compiled.
    """
    command = [sys.executable, "-m", "keras_mixers.commands", "tpu-plan"]
    command += ["--model", model, "--json"]
    command += ["--topology", table.TOPOLOGIES[chip]]
    command += ["--batch-size", str(_CHIPS * table.IMAGES), *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 1 and '"fits": false' in done.stdout:
        done = subprocess.run([*command, "--find-batch"], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{model} on {chip}: {(done.stderr or done.stdout).strip()[-1000:]}")
    plan = json.loads(done.stdout.splitlines()[-1])
    plan["largest_traffic"] = dict(list(plan["largest_traffic"].items())[:3])
    del plan["config"]  # The recipe's.
    return plan


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="keras-mixers tpu-table",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    models, chips = list(PUBLISHED_TOP1), list(table.TOPOLOGIES)
    add = parser.add_argument
    add("--chips", nargs="+", choices=chips, default=chips, help="kinds of TPU (default: all)")
    shown = "models to plan (default: all)"
    add("--models", nargs="+", choices=models, default=models, help=shown)
    shown = "number of steps compiled at a time, from 1, a CPU core each (default: %(default)s)"
    add("--jobs", type=int, default=1, metavar="N", help=shown)
    add("--again", action="store_true", help="compile the rows again that docs/tpu.json has")
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error(f"argument --jobs: must be at least 1. Received: {args.jobs}")
    cli.require(parser, ("jax", "libtpu", "tabulate", "tqdm"))
    return args


def main(argv=None):
    args = _parse(argv)
    from tqdm import tqdm

    there = {} if args.again else table.rows()
    asked = [(model, chip) for model in args.models for chip in args.chips]
    left = [pair for pair in asked if " ".join(pair) not in there]
    failed = []
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        jobs = {pool.submit(compiled, *pair): " ".join(pair) for pair in left}
        for job in tqdm(concurrent.futures.as_completed(jobs), "compiling", len(jobs), unit="step"):
            try:
                table.keep(jobs[job], job.result())
            except RuntimeError as error:
                failed.append(str(error))
    found = {key: plan for key, plan in table.rows().items() if tuple(key.split()) in asked}
    print(table.table(found), table.overview(found), sep="\n\n")
    for error in failed:
        print(f"keras-mixers tpu-table: {error}", file=sys.stderr)
    return 1 if failed else 0
