"""Counts how often a model is right about images that it was not trained on: top-1 and top-5.

MODEL is one of these:
  RUN             run folder; its newest whole checkpoint is evaluated, else its model.keras
  FILE.npz        a checkpoint, RUN/checkpoints/step-*.npz
  FILE.keras      nothing in it is executed
  FILE.tflite, or the folder of a SavedModel, as keras-mixers export writes them

Runs, models and exported files of this package say how their images are prepared; runs and
checkpoints are computed in float32. For any other model the config.json beside it says it, if there
is one, or the options, whose defaults are given below. An option overrides what was said;
--mean and --std are for models that do not scale their images themselves.

A class counts as right only if no other one is as probable. Exit status: 0; 1 when more images
than allowed cannot be read; 2 when the model, the data or the arguments cannot be used.

Examples (the first two lines make images and a model for the others, in 15 minutes):
  python benchmarks/jpeg_digits.py runs/jpeg_digits
  keras-mixers imagenet --recipe digits_mixer --data runs/jpeg_digits/folder
  keras-mixers evaluate runs/digits_mixer --data runs/jpeg_digits/folder --ema
  keras-mixers evaluate runs/digits_mixer/model.keras --data runs/jpeg_digits/folder \\
    --per-class classes.csv --confusion confusion.csv
"""

import argparse
import sys
import time

from keras_mixers import files
from keras_mixers.commands import cli, options
from keras_mixers.errors import RunError, UsageError, first_line, some


def _warn(sentence):
    print(sentence, file=sys.stderr)


def _print(args, model, config, result, names, seconds):
    from tabulate import tabulate

    rows = [
        ("model", model.name),
        ("data", f"{args.data}, {args.split}, {len(names)} classes"),
        ("prepared", config.preprocessing),
        ("images", f"{len(result.labels):,}"),
        ("unreadable", f"{len(result.unreadable):,}"),
        ("top-1", f"{result.top(1).mean():.2%}"),
        ("top-5", f"{result.top(5).mean():.2%}"),
        ("seconds", f"{seconds:.1f}"),
        ("images/s", f"{(len(result.labels) + len(result.unreadable)) / seconds:,.1f}"),
    ]
    rows = [row for row in rows if row[0] != "top-5" or len(names) > 5]
    print(tabulate(rows, tablefmt="plain", disable_numparse=True))


def run(args):
    """Evaluates, prints and writes what `args` ask for."""
    from keras_mixers.data.unreadable_images import require_few
    from keras_mixers.evaluation import inputs, loading, metrics

    # At once: what cannot be written must not be found out after the evaluation.
    of_classes = cli.output("--per-class", args.per_class, ".csv")
    of_confusion = cli.output("--confusion", args.confusion, ".csv")
    model = loading.read_model(files.named("MODEL", args.model), args.ema, _warn)
    trained_by = options.run_config(args, model, _warn)
    given = options.given(args) | options.limits(args)
    config = inputs.preparation(model, trained_by, args.batch_size, _warn, **given)
    args.split = args.split or _usual_split(args, trained_by)
    data = inputs.open_data(
        args.data,
        args.data_dir,
        args.split,
        model.input_shape[-1],
        classes=None if args.data == options.DIGITS else model.class_names,
        keys=options.keys(args, trained_by),
    )
    names = data.class_names
    if len(model.output_shape) != 2 or model.output_shape[-1] != len(names):
        raise UsageError(
            f"MODEL must have an output for each of the {len(names)} classes of {args.data}. "
            f"Its outputs have the shape {tuple(model.output_shape)}"
        )
    if model.class_names not in (None, tuple(names)):
        raise UsageError(
            f"--data must have the classes that MODEL was trained for, {some(model.class_names)}. "
            f"Received: {some(names)}"
        )
    start = time.perf_counter()
    result = metrics.evaluate(model, data, config)
    seconds = time.perf_counter() - start
    _print(args, model, config, result, names, seconds)
    if of_classes:
        metrics.write_rows(of_classes, metrics.per_class(result, names))
    if of_confusion:
        metrics.write_confusion(of_confusion, result.confusion(len(names)), names)
    require_few(data, result.unreadable, args.split, config.max_unreadable)


def _usual_split(args, trained_by):
    from keras_mixers.evaluation import inputs

    split = inputs.usual_split(args.data, args.data_dir, trained_by, options.keys(args, trained_by))
    if split != "validation":
        _warn(f"Evaluated on {split}, as --split was not given.")
    return split


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="keras-mixers evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", help="model to evaluate, of a kind above", metavar="MODEL")
    options.add(parser, data_required=True)
    add = parser.add_argument
    shown = "split to evaluate on, or a part of one: validation[:10%%] (default: what the run was "
    shown += "validated on, where --data is its; or else validation, test or train, as there is)"
    add("--split", help=shown)
    shown = "number of images evaluated at a time, from 1 (default: %(default)s)"
    add("--batch-size", type=int, default=64, metavar="N", help=shown)
    add("--ema", action="store_true", help="evaluate the EMA of a run's weights")
    add("--per-class", metavar="FILE.csv", help="write top-1 and top-5 of each class to a CSV file")
    shown = "write how often a class (row) is taken for another (column) to a CSV file"
    add("--confusion", metavar="FILE.csv", help=shown)
    args = parser.parse_args(argv)
    if args.batch_size < 1:
        parser.error(f"argument --batch-size: must be at least 1. Received: {args.batch_size}")
    return parser, args


def main(argv=None):
    parser, args = _parse(argv)
    modules = ["etils", "pydantic", "tabulate", "tqdm"]
    modules += ["ai_edge_litert"] if args.model.endswith(".tflite") else []
    modules += ["sklearn"] if args.data == options.DIGITS else []
    cli.prepare(parser, modules, backends=("tensorflow", "jax"))
    import keras
    import tensorflow as tf

    from keras_mixers.training import distribution

    if keras.backend.backend() == "jax":
        distribution.hide_accelerators_from_tensorflow()
    try:
        run(args)
    except RunError as error:
        print(f"keras-mixers evaluate: {error}", file=sys.stderr)
        return error.status
    except (OSError, tf.errors.OpError) as error:
        print(f"keras-mixers evaluate: {first_line(error)}", file=sys.stderr)
        return 2
    return 0
