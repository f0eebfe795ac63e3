"""Compiles the training step of every public model for every kind of TPU, and writes docs/tpu.md.

Each row is what `keras-mixers tpu-plan --json` says of four chips with 128 pictures each, the
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
import os
import pathlib
import subprocess
import sys

from keras_mixers.commands import cli, model_table

TOPOLOGIES = {"v4": "v4:2x2x1", "v5e": "v5e:2x2", "v5p": "v5p:2x2x1", "v6e": "v6e:2x2"}
PICTURES = 128  # On a chip.
ROWS = pathlib.Path("docs/tpu.json")
_CHIPS = 4

_PAGE = """\
# What every model needs on a TPU, and how quick it can be at best

Compiled by the TPU's own compiler, without a TPU, by `keras-mixers tpu-table`: the training step
of the model's recipe on four chips, in mixed bfloat16, with 128 pictures on each, or as many as fit
("largest"). Sizes and times are those of one chip; times are lower bounds, nothing is measured.
Where memory is short, the compiler itself does some operations a second time ("repeated"), which
adds to the TFLOP. `keras-mixers tpu-plan` explains a row.

{table}
"""


def rows():
    """Returns what has been compiled so far: plans by model and chip, as one string."""
    return json.loads(ROWS.read_text()) if ROWS.exists() else {}


def compiled(model, chip, *flags):
    """Returns the plan of a model on a chip, as `keras-mixers tpu-plan --json` prints it.

    Args:
        model: Name of the variant.
        chip: Of `TOPOLOGIES`.
        flags: More arguments of the command.

    Raises:
        RuntimeError: It could not be compiled.
    """
    command = [sys.executable, "-m", "keras_mixers.commands", "tpu-plan"]
    command += ["--model", model, "--json"]
    command += ["--topology", TOPOLOGIES[chip], "--batch-size", str(_CHIPS * PICTURES), *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 1 and '"fits": false' in done.stdout:
        done = subprocess.run([*command, "--find-batch"], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{model} on {chip}: {(done.stderr or done.stdout).strip()[-1000:]}")
    plan = json.loads(done.stdout.splitlines()[-1])
    plan["movers"] = dict(list(plan["movers"].items())[:3])
    del plan["config"]  # The recipe's.
    return plan


def keep(key, plan):
    """Adds a row to docs/tpu.json and writes docs/tpu.md anew."""
    found = rows() | {key: plan}
    ROWS.parent.mkdir(exist_ok=True)
    order = [f"{model} {chip}" for model in model_table.PUBLISHED_TOP1 for chip in TOPOLOGIES]
    found = {key: found[key] for key in order if key in found}
    aside = ROWS.with_suffix(".aside")
    aside.write_text(json.dumps(found, indent=1) + "\n")
    os.replace(aside, ROWS)
    ROWS.with_suffix(".md").write_text(page(found))


def page(found):
    """Returns docs/tpu.md."""
    return _PAGE.format(table=table(found))


def table(found):
    """Returns the rows as Markdown."""
    from tabulate import tabulate

    headers = ("model", "chip", "pictures", "memory, GB", "TFLOP", "GB moved", "at least, ms")
    headers += ("bound by", "images/s", "of peak")
    lines = []
    for key, plan in found.items():
        largest = " (largest)" if plan["pictures"] != PICTURES else ""
        repeated = ", repeated" if plan["repeated"] else ""
        used = sum(plan["memory"].values())
        lines.append(
            (
                *key.split(),
                f"{plan['pictures']}{largest}",
                f"{used / 1e9:.1f} of {plan['capacity'] / 1e9:.0f}",
                f"{plan['flops'] / 1e12:.2f}{repeated}",
                f"{plan['traffic'] / 1e9:.1f}",
                f"{1e3 * plan['bounds'][plan['bound']]:.1f}",
                plan["bound"],
                f"{plan['images_per_second'] / plan['chips']:,.0f}",
                f"{plan['share_of_peak']:.0%}",
            )
        )
    alignment = ("left", "left", *["right"] * 5, "left", "right", "right")
    return tabulate(lines, headers, "github", disable_numparse=True, colalign=alignment)


def overview(found):
    """Returns the most images/s that a chip can train on, by model and kind of chip."""
    from tabulate import tabulate

    lines = []
    for model in model_table.PUBLISHED_TOP1:
        plans = [found.get(f"{model} {chip}") for chip in TOPOLOGIES]
        if any(plans):
            speeds = [f"{p['images_per_second'] / p['chips']:,.0f}" if p else "" for p in plans]
            lines.append((f"`{model}`", *speeds))
    alignment = ("left", *["right"] * len(TOPOLOGIES))
    headers = ("images/s of a chip, at most", *TOPOLOGIES)
    return tabulate(lines, headers, "github", disable_numparse=True, colalign=alignment)


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="keras-mixers tpu-table",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    models = list(model_table.PUBLISHED_TOP1)
    add = parser.add_argument
    add("--chips", nargs="+", choices=TOPOLOGIES, default=list(TOPOLOGIES), help="(default: all)")
    add("--models", nargs="+", choices=models, default=models, help="(default: all)")
    add("--jobs", type=int, default=1, metavar="N", help="steps compiled at a time, one core each")
    add("--again", action="store_true", help="compile rows that are there, too")
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error(f"argument --jobs: must be at least 1. Received: {args.jobs}")
    cli.require(parser, "plan", ("jax", "libtpu", "tabulate", "tqdm"))
    return args


def main(argv=None):
    args = _parse(argv)
    from tqdm import tqdm

    there = {} if args.again else rows()
    asked = [(model, chip) for model in args.models for chip in args.chips]
    left = [pair for pair in asked if " ".join(pair) not in there]
    failed = []
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        jobs = {pool.submit(compiled, *pair): " ".join(pair) for pair in left}
        for job in tqdm(concurrent.futures.as_completed(jobs), "compiling", len(jobs), unit="step"):
            try:
                keep(jobs[job], job.result())
            except RuntimeError as error:
                failed.append(str(error))
    found = {key: plan for key, plan in rows().items() if tuple(key.split()) in asked}
    print(table(found), overview(found), sep="\n\n")
    for error in failed:
        print(f"keras-mixers tpu-table: {error}", file=sys.stderr)
    return 1 if failed else 0
