"""Counts how often a model is right about images that it was not trained on: top-1, or mAP.

MODEL is one of these:
  RUN             run folder; its newest whole checkpoint is evaluated, else its model.keras
  FILE.npz        a checkpoint, RUN/checkpoints/step-*.npz
  FILE.keras      nothing in it is executed
  FILE.tflite, or the folder of a SavedModel, as keras-mixers export writes them

Runs, models and exported files of this package say how their images are prepared; runs and
checkpoints are computed in float32. For any other model the config.json beside it says it, if there
is one, or the options, whose defaults are given below. An option overrides what was said;
--mean and --std are for models that do not scale their images themselves.

A class counts as right only if no other one is as probable. Of several labels an image (a run of
--multi-label), the mean average precision and F1 are printed, the latter by the thresholds that
the training found on its validation images.

Exit status: 0; 1 when more images
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

    from keras_mixers.evaluation import multi_label

    if isinstance(result, multi_label.Result):
        found = "MODEL has none of its own"
        if model.thresholds is not None:
            found = "of the training, found on its validation images"
        scores = multi_label.rows(result, names, found)
    else:
        scores = [("top-1", f"{result.top(1).mean():.2%}")]
        scores += [("top-5", f"{result.top(5).mean():.2%}")] if len(names) > 5 else []
    rows = [
        ("model", model.name),
        ("data", f"{args.data}, {args.split}, {len(names)} classes"),
        ("prepared", config.preprocessing),
        ("images", f"{len(result.labels):,}"),
        ("unreadable", f"{len(result.unreadable):,}"),
        *scores,
        ("seconds", f"{seconds:.1f}"),
        ("images/s", f"{(len(result.labels) + len(result.unreadable)) / seconds:,.1f}"),
    ]
    print(tabulate(rows, tablefmt="plain", disable_numparse=True))


def run(args):
    """Evaluates, prints and writes what `args` ask for."""
    from keras_mixers.data.unreadable_images import require_few
    from keras_mixers.evaluation import inputs, loading, metrics, multi_label

    # At once: what cannot be written must not be found out after the evaluation.
    of_classes = cli.output("--per-class", args.per_class, ".csv")
    of_confusion = cli.output("--confusion", args.confusion, ".csv")
    model = loading.read_model(files.named("MODEL", args.model), args.ema, _warn)
    trained_by = options.run_config(args, model, _warn)
    given = options.given(args) | options.limits(args)
    config = inputs.preparation(model, trained_by, args.batch_size, _warn, **given)
    reading = options.reading(args, trained_by, model)
    if reading.multi_label and of_confusion:
        raise UsageError(
            "--confusion is of one label an image: leave it out, --per-class has the numbers."
        )
    args.split = args.split or _usual_split(args, trained_by, reading)
    data = inputs.open_data(
        args.data,
        args.data_dir,
        args.split,
        model.input_shape[-1],
        classes=None if args.data == options.DIGITS else model.class_names,
        reading=reading,
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
    if reading.multi_label:
        by = _probabilities_by(model, config)
        result = multi_label.evaluate(model, data, config, by, model.thresholds)
    else:
        result = metrics.evaluate(model, data, config)
    seconds = time.perf_counter() - start
    _print(args, model, config, result, names, seconds)
    if of_classes:
        per_class = multi_label.per_class if reading.multi_label else metrics.per_class
        metrics.write_rows(of_classes, per_class(result, names))
    if of_confusion:
        metrics.write_confusion(of_confusion, result.confusion(len(names)), names)
    require_few(data, result.unreadable, args.split, config.max_unreadable)


def _probabilities_by(model, config):
    from keras_mixers.evaluation import probabilities

    if model.model is None:
        return model.probabilities_by
    return probabilities.made_by(model.model, config.loss)


def _usual_split(args, trained_by, reading):
    from keras_mixers.evaluation import inputs

    split = inputs.usual_split(args.data, args.data_dir, trained_by, reading)
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
    shown = "write top-1 and top-5 of each class, or its average precision, to a CSV file"
    add("--per-class", metavar="FILE.csv", help=shown)
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
