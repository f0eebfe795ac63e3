"""Says what a training step would need on a TPU, and how quick it could be at best; needs no TPU.

The TPU's own compiler compiles the step of a recipe for a whole slice: the same model, loss,
optimizer, EMA and gradient clipping. What is printed for a chip are facts about the compiled
program (memory, operations, bytes) and lower bounds on the time of a step that follow from them and
the published rates of the chip. Nothing is measured: no step can be quicker, most will be slower.

A chip is one device of JAX and one replica of TPUStrategy (on v4 and v5p, both of its cores).
Compiling takes one to ten minutes on one core.

Exit status: 0 when the step fits; 1 when it needs more memory than the chip has; 2 when the command
cannot be used as asked for.

Examples:
  keras-mixers tpu-plan --model MLPMixerB16 --topology v5e:4x4 --batch-size 4096
  keras-mixers tpu-plan --recipe smlpnet_t --topology v5e:2x4 --figure plan.png
  keras-mixers tpu-plan --model MLPMixerL16 --topology v4:2x2x1 --find-batch --remat
"""

import argparse
import dataclasses
import os
import sys

import keras_mixers.training  # noqa: F401  (sets what TensorFlow reads when it is imported)
from keras_mixers.commands import cli
from keras_mixers.errors import RunError, UsageError
from keras_mixers.tpu import compilation
from keras_mixers.tpu.chips import kind_of
from keras_mixers.tpu.refusals import DoesNotFitError
from keras_mixers.training import tpu_options

_MOST = 2**24  # Images in a step: no slice holds as many, and JAX traces no 2**31.


def configuration(args):
    """Returns the `TrainingConfig` of the command line: a recipe, and what overrides it.

    Raises:
        UsageError: There is no such recipe, or a setting is out of range.
    """
    from keras_mixers import presets
    from keras_mixers.training import model

    base = presets.load(args.recipe or _recipe_of(args.model))
    given = {
        name: getattr(args, name)
        for name in (
            *("model", "batch_size", "gradient_accumulation_steps", "image_size", "precision"),
        )
        if getattr(args, name) is not None
    }
    if args.model_options is not None or given.get("model", base.model) != base.model:
        given["model_options"] = tuple(args.model_options or ())
        given["tpu_scoped_vmem"] = None  # It was chosen for the recipe's model only.
    if args.tpu_scoped_vmem is not None:
        given["tpu_scoped_vmem"] = args.tpu_scoped_vmem or None
    if not _vmem_can_be_set(args):
        given["tpu_scoped_vmem"] = None
    given.setdefault("precision", "mixed_bfloat16" if base.precision == "auto" else base.precision)
    parts = given.get("gradient_accumulation_steps", base.gradient_accumulation_steps)
    if args.find_batch and parts > 0:  # Where the search begins, no more.
        given["batch_size"] = -(-given.get("batch_size", base.batch_size) // parts) * parts
    result = dataclasses.replace(base, **given, remat=args.remat or base.remat)
    model.check(result)
    return result


def _vmem_can_be_set(args):
    by_us = args.backend == "jax" and kind_of(args.topology) == "v5e"
    return by_us and not tpu_options.vmem_is_set_elsewhere()


def _recipe_of(model):
    """Returns the name of the recipe that trains a model, or else one of its family."""
    import keras_mixers
    from keras_mixers import presets

    if model is None:
        return "mixer_b16"
    names = [name for name in presets.names() if not name.startswith("digits")]
    family = next(
        (
            [f, *(variant.__name__ for variant in variants)]
            for f, variants in keras_mixers.VARIANTS.items()
            if model == f or model in [variant.__name__ for variant in variants]
        ),
        [],
    )
    by_model = {presets.load(name).model: name for name in reversed(names)}
    return by_model.get(model) or next((by_model[m] for m in family if m in by_model), "mixer_b16")


def run(args):
    """Prints the plan and returns the exit status."""
    from keras_mixers.tpu import plan_report

    image = cli.output("--figure", args.figure, ".png")
    config = configuration(args)
    about = plan_report.About(config, args.topology, args.backend)
    try:
        found = compilation.planned(about, args.classes, args.find_batch)
    except DoesNotFitError as error:
        print(plan_report.too_large(about.of(error.batch_size), error, args.json, args.find_batch))
        return 1
    about = about.of(found.images * found.chips)
    print(plan_report.as_json(about, found) if args.json else plan_report.tables(about, found))
    if image:
        plan_report.draw(about, found, image)
    return 0


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="keras-mixers tpu-plan",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    shown = "name of the model's constructor in keras_mixers (default: the recipe's)"
    add("--model", metavar="NAME", help=shown)
    shown = "further arguments of the constructor, such as num_blocks=2 (default: the recipe's)"
    add("--model-options", nargs="*", metavar="NAME=VALUE", help=shown)
    shown = "recipe of keras-mixers imagenet to take settings from (default: that of the model)"
    add("--recipe", metavar="NAME", help=shown)
    shown = "kind of TPU (v4, v5e, v5p or v6e) and shape of the slice (default: %(default)s)"
    add("--topology", default="v5e:4x4", metavar="CHIP:SHAPE", help=shown)
    shown = "number of images per step on the whole slice (default: the recipe's)"
    add("--batch-size", type=int, metavar="N", help=shown)
    shown = "number of parts that a batch is computed in, one by one (default: the recipe's)"
    add("--gradient-accumulation-steps", type=int, metavar="N", help=shown)
    shown = "height and width of the images in pixels, 224 or 160x320 (default: the recipe's)"
    add("--image-size", metavar="PIXELS", help=shown)
    shown = "number of classes of the head, from 1 (default: %(default)s)"
    add("--classes", type=int, default=1000, metavar="N", help=shown)
    shown = "precision of the computation (default: the recipe's; its auto is mixed_bfloat16)"
    add("--precision", choices=("mixed_bfloat16", "float32"), help=shown)
    shown = "VMEM for one operation's tiles, in KiB, on v5e with --backend jax; 0 is the compiler's"
    add(
        "--tpu-scoped-vmem", type=int, metavar="KIB", help=f"{shown} choice (default: the recipe's)"
    )
    shown = "gradient checkpointing: recompute residuals in the backward pass, to save memory"
    add("--remat", action="store_true", help=f"{shown} (default: the recipe's)")
    shown = "backend that traces the step: jax for the whole slice, tensorflow for one replica"
    add("--backend", choices=("jax", "tensorflow"), default="jax", help=f"{shown} (default: jax)")
    shown = "find the largest batch that fits, to within 1/16 or 8 images a chip"
    add("--find-batch", action="store_true", help=shown)
    add("--json", action="store_true", help="print one JSON object instead of tables")
    shown = "draw the memory of a chip and the bytes it moves to a PNG file"
    add("--figure", metavar="FILE.png", help=shown)
    args = parser.parse_args(argv)
    _check(parser, args)
    return parser, args


def _check(parser, args):
    if args.classes < 1:
        parser.error(f"argument --classes: must be at least 1. Received: {args.classes}")
    if (args.batch_size or 0) > _MOST:
        parser.error(f"argument --batch-size: must be at most {_MOST}. Received: {args.batch_size}")
    if args.tpu_scoped_vmem is not None:
        if args.tpu_scoped_vmem < 0:
            parser.error(
                "argument --tpu-scoped-vmem: must be 0 or more KiB. "
                f"Received: {args.tpu_scoped_vmem}"
            )
        if not _vmem_can_be_set(args):
            parser.error(
                "argument --tpu-scoped-vmem: needs v5e, --backend jax, and no limit in "
                f"LIBTPU_INIT_ARGS. Received: {args.topology}, --backend {args.backend}, "
                f"LIBTPU_INIT_ARGS={os.environ.get('LIBTPU_INIT_ARGS', '')}"
            )


def main(argv=None):
    parser, args = _parse(argv)
    cli.require(parser, ("jax", "libtpu", "etils", "matplotlib", "pydantic", "tabulate", "tqdm"))
    os.environ.update(compilation.ENVIRONMENT, KERAS_BACKEND=args.backend)
    cli.prepare(parser, (), backends=(args.backend,))
    try:
        return run(args)
    except RunError as error:
        print(f"keras-mixers tpu-plan: {error}", file=sys.stderr)
        return error.status
    except OSError as error:  # Of --figure: nothing else is written.
        print(f"keras-mixers tpu-plan: a file cannot be written: {error}", file=sys.stderr)
        return UsageError.status
