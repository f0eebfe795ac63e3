"""Writes a trained model as a SavedModel or a TFLite file, and checks what it wrote.

MODEL is one of these:
  RUN             run folder; its newest whole checkpoint is exported, else its model.keras
  FILE.npz        a checkpoint, RUN/checkpoints/step-*.npz
  FILE.keras      nothing in it is executed

The result is loaded again and compared with the model, on the images that the run was validated
on, or on those of --data, or else on a few random ones; then it is put in place. A run's folder
knows its data, labels and how images are prepared, a .keras file of this package the last of these.
For other models the config.json beside it says it, if there is one, or the options. An option
overrides what was said; --mean and --std are for models that do not scale their images themselves.

Precisions of TFLite files, all for CPUs but the last:
  float32    as trained
  float16    half the size, the same speed: 16-bit weights, arithmetic in float32
  dynamic    a quarter of the size; products by 8-bit weights, whose inputs are rounded when run
  int8       a quarter of the size, the quickest; products in 8 bits, with ranges that are found
             beforehand on images, the rest in float32
  int8-full  integers only, from uint8 pixels to uint8 scores, for chips that have nothing else;
             slow on a CPU

A SavedModel has two signatures: serving_default, for float images, and classify, from the bytes
of JPEG, PNG, GIF or BMP files to the most probable labels and their probabilities.

Exit status: 0 when the result agrees with the model; 1, and nothing is kept, when it does not
(float32: by more than rounding; the others: by --min-agreement; no finite numbers) or too many
images cannot be read; 2 when the arguments cannot be used, or the result cannot be written.

Examples (the first line makes models for the others, in three minutes):
  keras-mixers digits
  keras-mixers export runs/digits/smlpnet out
  keras-mixers export runs/digits/smlpnet out --precision int8 --split test --min-agreement 0.99
  keras-mixers export runs/digits/smlpnet out --precision int8-full --split test --json
  keras-mixers export runs/digits/s2_mlp/model.keras out --format savedmodel
"""

import argparse
import dataclasses
import pathlib
import sys

from keras_mixers import files
from keras_mixers.commands import cli, options
from keras_mixers.errors import RunError, UsageError, first_line
from keras_mixers.export import CALIBRATED, CALIBRATION_IMAGES, PRECISIONS, naming

_THREADS = 2
_TOP_K = 5


def _warn(sentence):
    print(sentence, file=sys.stderr)


def run(args):
    """Exports what `args` ask for. Returns the exit status."""
    from keras_mixers.evaluation import inputs, loading
    from keras_mixers.export import report
    from keras_mixers.export.exporter import check, export
    from keras_mixers.export.origin import Origin

    loaded = loading.read_model(files.named("MODEL", args.model), args.ema, _warn)
    if loaded.model is None:
        raise UsageError(
            f"MODEL must be a run folder, a checkpoint or a .keras file. Received: {args.model}"
        )
    model, kind = loaded.model, _kind(args)
    check(model, args.target, kind)
    trained_by = options.run_config(args, loaded, _warn)
    _require_data(args, trained_by)
    reading = options.reading(args, trained_by, loaded)
    config, data, name = trained_by or Origin().config, None, "random images"
    preprocessing = None
    if _needs_images(args) or inputs.are_taken_by(loaded) or options.given(args):
        given = options.given(args) | options.limits(args)
        config = inputs.preparation(loaded, trained_by, 1, _warn, **given)
        preprocessing = config.preprocessing.for_channels(loaded.input_shape[-1])
        data, name = _data(args, model, trained_by, reading, "--split", args.split)
    loss = "sigmoid" if reading.multi_label else (trained_by or Origin().config).loss
    config = dataclasses.replace(config, loss=loss, multi_label=reading.multi_label)
    labels = _labels(args, loaded)
    origin = Origin(loaded.name, config, labels, preprocessing, loaded.thresholds)
    if args.precision in CALIBRATED:
        kind = dataclasses.replace(
            kind, calibration=_calibration(args, model, trained_by, reading, config)
        )
    result = export(model, args.target, kind, origin, data, name, args.min_agreement)
    print(report.as_json(result) if args.json else report.table(result))
    return 0 if result.agrees else 1


def _kind(args):
    if args.format == "savedmodel":
        from keras_mixers.export.saved_model import SavedModel

        return SavedModel(args.top_k or _TOP_K)
    from keras_mixers.export.tflite import TFLite

    threads = args.threads or _THREADS
    return TFLite(args.precision, args.input == "uint8", args.batch_size, threads=threads)


def _labels(args, loaded):
    """Names of the classes: from --labels, the run, or the labels.txt beside the model."""
    from keras_mixers.evaluation import labels
    from keras_mixers.training import run_folder

    classes = loaded.output_shape[-1]
    if args.labels is not None:
        return labels.read(args.labels, classes)
    folder = files.named("MODEL", args.model).parent
    names = loaded.class_names or run_folder.class_names(folder)
    if names and len(names) != classes:
        raise UsageError(
            f"The labels.txt of MODEL must have a name for each of its {classes} classes; it has "
            f"{len(names)}: give --labels."
        )
    return names


def _needs_images(args):
    asked = args.data or args.split or args.min_agreement is not None
    return bool(asked or args.precision in CALIBRATED)


def _require_data(args, trained_by):
    if _needs_images(args) and not args.data and trained_by is None:
        asked = "--split" if args.split else "--min-agreement"
        asked = f"--precision {args.precision}" if args.precision in CALIBRATED else asked
        raise UsageError(
            f"{asked} needs images: give --data, a folder of images or shards, or the name of "
            "a tensorflow-datasets set."
        )


def _data(args, model, trained_by, reading, option, split):
    """Returns the images of a split, and what to call them; None where random ones must do."""
    from keras_mixers.evaluation import inputs

    data = args.data or (trained_by and trained_by.data)
    if not data:
        return None, "random images"
    data_dir = args.data_dir if args.data or not trained_by else trained_by.data_dir
    split = split or inputs.usual_split(data, data_dir, trained_by, reading)
    try:
        opened = inputs.open_data(
            *(data, data_dir, split, model.input_shape[-1], option),
            reading=reading,
        )
    except UsageError as error:
        if _needs_images(args):
            raise
        _warn(f"Compared on random images; for others give --data. The run's: {error}")
        return None, "random images"
    if len(opened.class_names) != model.output_shape[-1] or len(model.output_shape) != 2:
        raise UsageError(
            f"MODEL must have an output for each of the {len(opened.class_names)} classes of "
            f"{data}. Its outputs have the shape {model.output_shape}"
        )
    return opened, f"images of {data}, {split}"


def _calibration(args, model, trained_by, reading, config):
    from keras_mixers.export.calibration import calibration

    split = args.calibration_split or _trained_on(args, trained_by)
    data, _ = _data(args, model, trained_by, reading, "--calibration-split", split)
    images = args.calibration_images or CALIBRATION_IMAGES
    return calibration(data, config, split, images, args.batch_size)


def _trained_on(args, trained_by):
    from keras_mixers.data import sources

    is_the_runs = trained_by and (not args.data or sources.are_same(args.data, trained_by.data))
    return trained_by.train_split if is_the_runs else "train"


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="keras-mixers export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", help="model to export, of a kind above", metavar="MODEL")
    add("out", type=pathlib.Path, help="folder for the result, which is named after the model")
    shown = "format of the result (default: %(default)s)"
    add("--format", choices=naming.FORMATS, default="tflite", help=shown)
    add("--overwrite", action="store_true", help="replace an earlier result")
    add("--ema", action="store_true", help="export the EMA of a run's weights")
    shown = "text file with the name of a class in each line (default: the run's labels.txt)"
    add("--labels", metavar="FILE", help=shown)
    add("--json", action="store_true", help="print a JSON object instead of a table")
    shown = "smallest share of images, above 0 and up to 1, on which result and model must predict"
    shown += " the same class, or the same labels; with less, nothing is kept and the status is 1"
    shown += " (default: none)"
    add("--min-agreement", type=float, metavar="SHARE", help=shown)
    _add_tflite(parser.add_argument_group("TFLite").add_argument)
    of_saved = parser.add_argument_group("SavedModel")
    shown = f"number of most probable classes that classify returns, from 1 (default: {_TOP_K})"
    of_saved.add_argument("--top-k", type=int, metavar="N", help=shown)
    of_images = parser.add_argument_group("images")
    options.add(of_images, data_default=" (default: the run's)")
    shown = "split to compare on, or a part of one: validation[:1000] (default: as of evaluate)"
    of_images.add_argument("--split", help=shown)
    args = parser.parse_args(argv)
    _check(parser, args)
    return parser, args


def _add_tflite(add):
    shown = "precision of the file, as described above (default: %(default)s)"
    add("--precision", choices=PRECISIONS, default="float32", help=shown)
    shown = "type of the input: float32 images, as the model takes them, or uint8 pixels"
    shown += " (default: float32, and uint8 for int8-full)"
    add("--input", choices=("float32", "uint8"), help=shown)
    shown = "fixed number of images that the file takes at a time, from 1 (default: %(default)s)"
    add("--batch-size", type=int, default=1, metavar="N", help=shown)
    shown = f"number of CPU threads when the latency is measured, from 1 (default: {_THREADS})"
    add("--threads", type=int, metavar="N", help=shown)
    shown = "split whose images the ranges of int8 and int8-full are found on (default: train)"
    add("--calibration-split", metavar="SPLIT", help=shown)
    shown = "number of images of --calibration-split that are used, at least --batch-size"
    shown += f" (default: {CALIBRATION_IMAGES})"
    add("--calibration-images", type=int, metavar="N", help=shown)


def _check(parser, args):
    limits = {"batch_size": 4096, "threads": 256, "calibration_images": 10**6, "top_k": 10**6}
    for name, most in limits.items():
        value = getattr(args, name)
        if value is not None and not 1 <= value <= most:
            parser.error(f"argument {_flag(name)}: must be from 1 to {most:,}. Received: {value}")
    if (args.calibration_images or args.batch_size) < args.batch_size:
        parser.error(
            f"argument --calibration-images: must be at least --batch-size, {args.batch_size}. "
            f"Received: {args.calibration_images}"
        )
    if args.min_agreement is not None and not 0 < args.min_agreement <= 1:
        parser.error(
            "argument --min-agreement: must be greater than 0, at most 1. "
            f"Received: {args.min_agreement}"
        )
    others = {"top_k": None}
    if args.format == "savedmodel":
        others = dict.fromkeys(("input", "threads", "calibration_split", "calibration_images"))
        others |= {"precision": "float32", "batch_size": 1}
    for name, usual in others.items():
        if getattr(args, name) != usual:
            parser.error(f"argument {_flag(name)}: is not for --format {args.format}")
    if args.precision == "int8-full" and args.input == "float32":
        parser.error("argument --input: must be uint8 for int8-full. Received: float32")
    args.target = naming.target(args.model, args.out, args.precision, args.format)
    if args.out.exists() and not args.out.is_dir():
        parser.error(f"argument out: must be a folder. Received the file: {args.out}")
    if args.target.exists() and not args.overwrite:
        parser.error(f"{args.target} exists: choose another folder or pass --overwrite")


def _flag(name):
    return "--" + name.replace("_", "-")


def main(argv=None):
    parser, args = _parse(argv)
    modules = ["ai_edge_litert", "ai_edge_quantizer", "etils", "flatbuffers", "pydantic"]
    modules += ["sklearn"] if args.data == options.DIGITS else []
    cli.prepare(parser, (*modules, "tabulate", "tqdm"))
    import tensorflow as tf

    try:
        return run(args)
    except RunError as error:
        print(f"keras-mixers export: error: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("keras-mixers export: stopped; nothing was written", file=sys.stderr)
        return 130
    except (ValueError, OSError, tf.errors.OpError) as error:
        print(f"keras-mixers export: error: {first_line(error)}", file=sys.stderr)
        return 2
