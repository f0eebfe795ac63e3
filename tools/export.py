"""Writes a trained model as a SavedModel or a TFLite file, and checks what it wrote.

The result is loaded again and compared with the model on random input before it is put in place.
Exit status: 0 when they agree, 1 when they do not, 2 when the arguments cannot be used.

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

# The file may add in another order than the model, no more. In float32 that has been a few 1e-6 of
# the outputs; a tanh GELU in place of the exact one, say, is 1e-3.
TOLERANCE = 1e-4  # Of how far the outputs differ between pictures.
_ROUNDING = 1e-5  # Of the largest output: never asked to be finer.
_TELLING = 0.01  # Of the largest output: a smaller spread between pictures shows little.
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
    spread: float
    """How far an output of the model differs from picture to picture, at most."""
    partitions: int | None
    """Delegate partitions of a TFLite file."""

    @property
    def agrees(self):
        """Whether file and model differ by rounding only."""
        allowed = max(TOLERANCE * self.spread, _ROUNDING * self.largest_output)
        return self.largest_difference <= allowed

    @property
    def is_telling(self):
        """Whether the outputs depend on the input enough for the comparison to mean something."""
        return self.spread >= _TELLING * self.largest_output


def export(model, path, file_format, batch_size=1):
    """Writes `model` to a file or folder, loads that again and compares it on random input.

    Only a result that agrees with the model is put at `path`, at once and complete, in place of an
    earlier result there.

    Args:
        model: A `keras.Model` with one input of known height and width and one output. One of
            mixed precision is converted to float32.
        path: Of the file (`"tflite"`) or the folder (`"savedmodel"`).
        file_format: `"tflite"` (float32, builtin operators) or `"savedmodel"`.
        batch_size: Static batch size of the result.

    Returns:
        An `Export`.

    Raises:
        ValueError: The model has several inputs or outputs or no fixed picture size; it cannot be
            converted; something else than an earlier result is at `path`.
    """
    _check_model(model)
    model = _in_float32(model)
    path = pathlib.Path(path)
    _check_replaceable(path, file_format)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        written = pathlib.Path(scratch, path.name)
        start = time.perf_counter()
        _convert(model, written, file_format, batch_size)
        seconds = time.perf_counter() - start
        result = _compare(model, written, file_format, batch_size, seconds)
        if result.agrees:
            _replace(written, path)
    return dataclasses.replace(result, path=path)


def _check_model(model):
    inputs, outputs = (len(getattr(model, ends, None) or ()) for ends in ("inputs", "outputs"))
    if inputs != 1 or outputs != 1:
        raise ValueError(
            "`model` must be a built model with one input and one output. "
            f"Received: {inputs} inputs and {outputs} outputs"
        )
    if None in model.input_shape[1:]:
        raise ValueError(
            "`model` must have a fixed picture size: build it with a full `input_shape`. "
            f"Received: input shape {model.input_shape}"
        )


def _in_float32(model):
    """Returns `model` itself, or, if it was trained in mixed precision, its float32 twin."""
    import keras

    if all(layer.compute_dtype == "float32" for layer in model.layers):
        return model
    twin = keras.models.clone_model(
        model,
        clone_function=lambda layer: layer.from_config({**layer.get_config(), "dtype": "float32"}),
    )
    twin.set_weights(model.get_weights())
    return twin


def _check_replaceable(path, file_format):
    is_result = path.is_file() if file_format == "tflite" else (path / "saved_model.pb").exists()
    if path.exists() and not is_result:
        raise ValueError(
            f"{path} is not an earlier result of this tool and will not be replaced: remove it, "
            "or choose another folder"
        )


def _convert(model, path, file_format, batch_size):
    import keras

    signature = keras.InputSpec(shape=(batch_size, *model.input_shape[1:]), dtype="float32")
    try:
        _WRITERS[file_format](model, str(path), signature)
    except OSError:
        raise
    except Exception as error:  # The converter has errors of its own, for what it lacks.
        raise ValueError(f"`model` cannot be converted: {first_line(error)}") from error


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
        spread=float(np.ptp(expected, axis=0).max()),
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


def first_line(error):
    """Returns the first line of an error's message, or its kind if it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__)


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
        parser.error(f"argument model: must be a Keras model. Received {path}: {first_line(error)}")


def _print(result):
    from tabulate import tabulate

    rows = [
        ("written" if result.agrees else "not written", result.path),
        ("size", f"{result.size / 1e6:.2f} MB"),
        ("seconds to convert", f"{result.seconds:.1f}"),
        ("largest difference", f"{result.largest_difference:.2e}"),
        ("largest output", f"{result.largest_output:.2e}"),
    ]
    if result.partitions is not None:
        rows.append(("delegate partitions", result.partitions))
    print(tabulate(rows, tablefmt="plain", disable_numparse=True))
    if not result.is_telling:
        print(
            "Warning: the model's output hardly depends on its input (is it untrained?), so this "
            "comparison shows little."
        )
    if not result.agrees:
        print("The converted model differs from the original by more than rounding.")


def main(argv=None):
    parser, args = _parse(argv)
    model = _load(parser, args.model)
    try:
        result = export(model, args.target, args.format, args.batch_size)
    except (ValueError, OSError) as error:
        parser.error(first_line(error))
    _print(result)
    return 0 if result.agrees else 1


if __name__ == "__main__":
    sys.exit(main())
