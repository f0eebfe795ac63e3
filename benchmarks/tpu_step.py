"""Compiles training steps for a TPU chip, side by side with a Mixer-B/16 in Flax.

Four chips of v5e with 128 images each, in mixed bfloat16. For each step: arithmetic, the traffic
with a chip's large memory (HBM) and XLA's own count of bytes, which includes what stays on the
chip; and the times that they take at least. Bounds, not measurements. Where no vector memory (VMEM)
for one operation is named, the compiler chooses it. The Flax model is written from the paper, with
AdamW and clipping by optax; it needs `pip install flax optax`, and is left out without them.

Each step takes two to ten minutes to compile on one core.

Examples:
  python benchmarks/tpu_step.py
  python benchmarks/tpu_step.py --only MLPMixerB16
"""

import argparse
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

if __package__ is None:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

from keras_mixers.commands import cli

ROOT = pathlib.Path(__file__).resolve().parents[1]
CHIPS, IMAGES = 4, 128
TOPOLOGY = "v5e:2x2"
_VMEM = "98304"  # KiB.
# What is compiled: its name, and what this script is told to compile Flax's, or tools/tpu_plan.py
# to compile ours.
FLAX = {
    "Mixer-B/16 in Flax": ["--flax-json", "0"],
    "Mixer-B/16 in Flax, 96 MiB of VMEM": ["--flax-json", _VMEM],
}
STEPS = {
    f"{model}{variant}": ["--model", model, *flags]
    for model in ("MLPMixerB16", "S2MLPDeep", "SMLPNetT")
    for variant, flags in {
        "": ["--tpu-scoped-vmem", "0"],
        ", 96 MiB of VMEM": ["--tpu-scoped-vmem", _VMEM],
        ", --remat": ["--remat", "--tpu-scoped-vmem", "0"],
        ", --remat, 96 MiB of VMEM": ["--remat", "--tpu-scoped-vmem", _VMEM],
        ", by TensorFlow": ["--backend", "tensorflow"],
    }.items()
}


def compiled(name):
    """Returns the plan of a step as a dict.

    Raises:
        RuntimeError: It could not be compiled.
    """
    if name in FLAX:
        command = [sys.executable, "benchmarks/tpu_step.py", *FLAX[name]]
    else:
        command = [sys.executable, "tools/tpu_plan.py", "--json", "--topology", TOPOLOGY]
        command += ["--batch-size", str(CHIPS * IMAGES), *STEPS[name]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name}: {(done.stderr or done.stdout).strip()[-1000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def table(plans):
    """Returns the plans as Markdown, by the name of the step."""
    from tabulate import tabulate

    from keras_mixers.tpu.chips import CHIPS as RATES

    rate = RATES["v5e"].memory_rate
    headers = ("step", "TFLOP", "ms", "GB of HBM", "ms", "GB by XLA", "ms", "temporary, GB")
    rows = [
        (
            name,
            f"{plan['flops'] / 1e12:.2f}",
            f"{1e3 * plan['bounds']['arithmetic']:.1f}",
            f"{plan['traffic'] / 1e9:.1f}",
            f"{1e3 * plan['bounds']['memory traffic']:.1f}",
            f"{plan['accessed_by_xla'] / 1e9:.1f}",
            f"{1e3 * plan['accessed_by_xla'] / rate:.1f}",
            f"{plan['memory']['activations and temporary'] / 1e9:.2f}",
        )
        for name, plan in plans.items()
    ]
    alignment = ("left", *["right"] * 7)
    return tabulate(rows, headers, "github", disable_numparse=True, colalign=alignment)


def flax_plan(vmem):
    """Returns the plan of the step of a Mixer-B/16 in Flax as a dict.

    Args:
        vmem: KiB of vector memory for one operation; 0 is the compiler's choice.
    """
    import jax
    import numpy as np
    import optax
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from benchmarks.flax_mixer import MixerB16
    from keras_mixers.tpu import compiled_step, plan
    from keras_mixers.training import tpu_options

    chips = compiled_step.chips_of(TOPOLOGY)
    mesh = Mesh(np.array(chips), ("batch",))
    everywhere = NamedSharding(mesh, PartitionSpec())
    by_image = NamedSharding(mesh, PartitionSpec("batch"))
    model = MixerB16()
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3, weight_decay=0.1))

    def start():
        weights = model.init(jax.random.key(0), jax.numpy.zeros((1, 224, 224, 3)), False)
        return weights, optimizer.init(weights)

    def loss(weights, images, labels, seed):
        rngs = {"dropout": jax.random.wrap_key_data(seed)}
        images = images.astype(jax.numpy.float32) / 127.5 - 1
        logits = model.apply(weights, images, True, rngs=rngs)
        return optax.sigmoid_binary_cross_entropy(logits, labels).sum(-1).mean()

    def step(weights, state, *batch):
        value, gradients = jax.value_and_grad(loss)(weights, *batch)
        updates, state = optimizer.update(gradients, state, weights)
        return optax.apply_updates(weights, updates), state, value

    def on_every_chip(x):
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere)

    weights, state = jax.tree.map(on_every_chip, jax.eval_shape(start))
    images = CHIPS * IMAGES
    batch = [
        jax.ShapeDtypeStruct((images, 224, 224, 3), "uint8", sharding=by_image),
        jax.ShapeDtypeStruct((images, 1000), "float32", sharding=by_image),
        jax.ShapeDtypeStruct((2,), "uint32", sharding=everywhere),
    ]
    lowered = jax.jit(step, donate_argnums=(0, 1)).lower(weights, state, *batch)
    options = argparse.Namespace(tpu_scoped_vmem=vmem or None)
    program = lowered.compile(tpu_options.compiler_options(options, chips[0].device_kind))
    sizes = {
        "trainable": 4 * sum(x.size for x in jax.tree.leaves(weights)),
        "non_trainable": 0,
        "optimizer": 4 * sum(x.size for x in jax.tree.leaves(state)),
        "average": 0,
    }
    found = compiled_step.Step(
        program.as_text(), program.cost_analysis(), program.memory_analysis(), sizes, (), 1, 0
    )
    return plan.plan(found, images, "v5e", CHIPS).as_dict()


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="benchmarks/tpu_step.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default="", metavar="WORD", help="steps whose name has this word")
    parser.add_argument("--flax-json", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    cli.require(parser, ("jax", "libtpu", "tabulate", "tqdm"))
    there = all(importlib.util.find_spec(module) for module in ("flax", "optax"))
    names = [*FLAX, *STEPS] if there else list(STEPS)
    args.names = [name for name in names if args.only in name]
    if not args.names:
        more = "" if there else "; and with flax and optax (pip install flax optax) those of Flax"
        parser.error(
            f"argument --only: must be part of {'; '.join(names)}{more}. Received: {args.only}"
        )
    return args


def main(argv=None):
    args = _parse(argv)
    if args.flax_json is not None:
        from keras_mixers.tpu import compilation

        os.environ.update(compilation.ENVIRONMENT, KERAS_BACKEND="jax")
        print(json.dumps(flax_plan(args.flax_json)))
        return 0
    from tqdm import tqdm

    plans, status = {}, 0
    for name in tqdm(args.names, "compiling", unit="step"):
        try:
            plans[name] = compiled(name)
            tqdm.write(table({name: plans[name]}).splitlines()[-1], file=sys.stderr)
        except RuntimeError as error:
            tqdm.write(f"benchmarks/tpu_step.py: {error}", file=sys.stderr)
            status = 1
    print(table(plans))
    return status


if __name__ == "__main__":
    sys.exit(main())
