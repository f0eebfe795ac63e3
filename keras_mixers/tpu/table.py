"""docs/tpu.md: what every model needs on every kind of TPU."""

import json
import os
import pathlib

from keras_mixers.evaluation.tables import PUBLISHED_TOP1

TOPOLOGIES = {"v4": "v4:2x2x1", "v5e": "v5e:2x2", "v5p": "v5p:2x2x1", "v6e": "v6e:2x2"}
IMAGES = 128  # On a chip.
ROWS = pathlib.Path("docs/tpu.json")
_PAGE = """\
# What every model needs on a TPU, and how quick it can be at best

Compiled by the TPU's own compiler, without a TPU, by `keras-mixers tpu-table`: the training step
of the model's recipe on four chips, in mixed bfloat16, with 128 images on each, or as many as fit
("largest"). Sizes and times are those of one chip; times are lower bounds, nothing is measured.
Where memory is short, the compiler itself does some operations a second time ("repeated"), which
adds to the TFLOP. `keras-mixers tpu-plan` explains a row.

{table}
"""


def rows():
    """Returns what has been compiled so far: plans by model and chip, as one string."""
    return json.loads(ROWS.read_text()) if ROWS.exists() else {}


def keep(key, plan):
    """Adds a row to docs/tpu.json and writes docs/tpu.md anew."""
    found = rows() | {key: plan}
    ROWS.parent.mkdir(exist_ok=True)
    order = [f"{model} {chip}" for model in PUBLISHED_TOP1 for chip in TOPOLOGIES]
    found = {key: found[key] for key in order if key in found}
    part = ROWS.with_suffix(".part")
    part.write_text(json.dumps(found, indent=1) + "\n")
    os.replace(part, ROWS)
    ROWS.with_suffix(".md").write_text(page(found))


def page(found):
    """Returns docs/tpu.md."""
    return _PAGE.format(table=table(found))


def table(found):
    """Returns the rows as Markdown."""
    from tabulate import tabulate

    headers = ("model", "chip", "images", "memory, GB", "TFLOP", "GB moved", "at least, ms")
    headers += ("bound by", "images/s", "of peak")
    lines = []
    for key, plan in found.items():
        largest = " (largest)" if plan["images"] != IMAGES else ""
        repeated = ", repeated" if plan["repeated"] else ""
        used = sum(plan["memory"].values())
        lines.append(
            (
                *key.split(),
                f"{plan['images']}{largest}",
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
    for model in PUBLISHED_TOP1:
        plans = [found.get(f"{model} {chip}") for chip in TOPOLOGIES]
        if any(plans):
            speeds = [f"{p['images_per_second'] / p['chips']:,.0f}" if p else "" for p in plans]
            lines.append((f"`{model}`", *speeds))
    alignment = ("left", *["right"] * len(TOPOLOGIES))
    headers = ("images/s of a chip, at most", *TOPOLOGIES)
    return tabulate(lines, headers, "github", disable_numparse=True, colalign=alignment)
