"""Writes a trained model as a SavedModel or a TFLite file, and checks what it wrote.

The file is loaded again and compared with the model on random input. Exit status: 0 when they
agree, 1 when they do not, 2 when the arguments cannot be used.

Examples:
  python tools/export.py runs/digits/mlp_mixer/model.keras out --format tflite
  python tools/export.py runs/digits/mlp_mixer/model.keras out --format savedmodel
"""

import argparse
import dataclasses
import pathlib
import shutil
import sys
import tempfile
import time

import numpy as np

if __package__ is None:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

from tools import cli

FORMATS = {"savedmodel": "", "tflite": ".tflite"}

# The two may add in another order, no more. In float32 that has been a few 1e-6 of the largest
# output; tanh instead of erf GELU, say, is 1e-3.
TOLERANCE = 1e-4
_COMPARED_IMAGES = 8


@dataclasses.dataclass(frozen=True)
class Export:
    """What was written, and how it compares with the model."""

    path: pathlib.Path
    size: int
    """Bytes, over all files."""
    seconds: float
    """To convert, without the check."""
    largest_difference: float
    """Between the outputs of the model and of the file, over random input."""
    largest_output: float
    """Of the model, in absolute value."""
    varies: bool
    """Whether the model's output depends on its input; if not, the comparison says nothing."""
    partitions: int | None
    """Delegate partitions of a TFLite file."""

    @property
    def agrees(self):
        return self.largest_difference <= TOLERANCE * self.largest_output


def export(model, path, file_format, batch_size=1):
    """Writes `model` to `path`, loads that again and compares it on random input.

    The result appears under `path` only when it is complete; what was there is replaced.

    Args:
        model: A `keras.Model` with one input of known height and width and one output.
        path: Of the file (`"tflite"`) or the folder (`"savedmodel"`).
        file_format: `"tflite"` (float32, builtin operators) or `"savedmodel"`.
        batch_size: Static batch size of the result.

    Returns:
        An `Export`.

    Raises:
        ValueError: The picture size is not fixed.
    """
    import keras

    if None in model.input_shape[1:]:
        raise ValueError(
            "`model` must have a fixed picture size: build it with a full `input_shape`. "
            f"Received: input shape {model.input_shape}"
        )
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        written = pathlib.Path(scratch, path.name)
        signature = keras.InputSpec(shape=(batch_size, *model.input_shape[1:]), dtype="float32")
        _WRITERS[file_format](model, str(written), signature)
        _replace(written, path)
    seconds = time.perf_counter() - start
    return _compare(model, path, file_format, batch_size, seconds)


def _write_tflite(model, path, signature):
    import tensorflow as tf

    model.export(
        path,
        format="litert",
        input_signature=[signature],
        verbose=False,
        target_spec={"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]},
    )


def _write_saved_model(model, path, signature):
    model.export(path, format="tf_saved_model", input_signature=[signature], verbose=False)


_WRITERS = {"tflite": _write_tflite, "savedmodel": _write_saved_model}


def _replace(source, target):
    if target.is_dir():
        shutil.rmtree(target)
    source.replace(target)


def _compare(model, path, file_format, batch_size, seconds):
    rng = np.random.default_rng(0)
    batches = -(-_COMPARED_IMAGES // batch_size)
    shape = (batches * batch_size, *model.input_shape[1:])
    images = rng.uniform(-1, 1, shape).astype("float32")
    expected = model.predict(images, batch_size=batch_size, verbose=0)
    got, partitions = _RUNNERS[file_format](path, images, batch_size)
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return Export(
        path=path,
        size=sum(file.stat().st_size for file in files),
        seconds=seconds,
        largest_difference=float(np.max(np.abs(got - expected))),
        largest_output=float(np.max(np.abs(expected))),
        varies=bool(np.ptp(expected, axis=0).max() > 0),
        partitions=partitions,
    )


def _run_tflite(path, images, batch_size):
    from tools.litert import LiteRTModel

    model = LiteRTModel(path)
    return model.predict(images), model.num_partitions


def _run_saved_model(path, images, batch_size):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    batches = np.split(images, len(images) // batch_size)
    return np.concatenate([loaded.serve(batch).numpy() for batch in batches]), None


_RUNNERS = {"tflite": _run_tflite, "savedmodel": _run_saved_model}


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="tools/export.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=pathlib.Path, help="a .keras file")
    parser.add_argument(
        "out", type=pathlib.Path, help="folder for the result, which is named after the model"
    )
    parser.add_argument("--format", choices=FORMATS, required=True, help="what to write")
    parser.add_argument(
        "--batch-size", type=int, default=1, help="static batch size (default: 1)", metavar="N"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier result")
    args = parser.parse_args(argv)
    args.target = args.out / (args.model.stem + FORMATS[args.format])
    if args.model.suffix != ".keras" or not args.model.is_file():
        parser.error(f"argument model: must be an existing .keras file. Received: {args.model}")
    if args.batch_size < 1:
        parser.error(f"argument --batch-size: must be at least 1. Received: {args.batch_size}")
    if args.out.exists() and not args.out.is_dir():
        parser.error(f"argument out: must be a folder. Received the file: {args.out}")
    if args.target.exists() and not args.overwrite:
        parser.error(f"{args.target} exists: choose another folder or pass --overwrite")
    return parser, args


def _load(parser, path):
    cli.prepare(parser, "export", ("ai_edge_litert", "tabulate"))
    import keras

    import keras_mixers  # noqa: F401  (registers the layers)

    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # Whatever is in the file, the user needs one sentence.
        parser.error(
            f"argument model: must be a Keras model. Received {path}: {_first_line(error)}"
        )


def _first_line(error):
    return next(iter(str(error).splitlines()), type(error).__name__)


def _print(result):
    from tabulate import tabulate

    rows = [
        ("written", result.path),
        ("size", f"{result.size / 1e6:.2f} MB"),
        ("seconds to convert", f"{result.seconds:.1f}"),
        ("largest difference", f"{result.largest_difference:.2e}"),
        ("largest output", f"{result.largest_output:.2e}"),
    ]
    if result.partitions is not None:
        rows.append(("delegate partitions", result.partitions))
    print(tabulate(rows, tablefmt="plain", disable_numparse=True))
    if not result.varies:
        print(
            "Warning: the model gives the same output whatever its input (is it untrained?), so "
            "this comparison shows nothing."
        )


def main(argv=None):
    parser, args = _parse(argv)
    model = _load(parser, args.model)
    try:
        result = export(model, args.target, args.format, args.batch_size)
    except (ValueError, OSError) as error:
        parser.error(_first_line(error))
    _print(result)
    if not result.agrees:
        print(
            f"The file disagrees with the model by more than {TOLERANCE:g} of the largest output: "
            "do not use it."
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
