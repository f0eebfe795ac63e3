"""Writes an exported model, loads it again, compares it, and only then puts it in its place."""

import dataclasses
import pathlib
import re
import shutil
import tempfile
import time
import typing

from keras_mixers.data.unreadable_images import require_few
from keras_mixers.errors import RunError, first_line
from keras_mixers.export import folding
from keras_mixers.export.comparison import Comparison, compare
from keras_mixers.export.origin import Origin

# The folded model, the converter's file, the quantized one: together, at the most.
_BYTES_PER_PARAMETER = 12
_BATCH = 32  # Images that are compared at once.


@dataclasses.dataclass(frozen=True)
class Export:
    """What was written, and how it compares with the model."""

    path: pathlib.Path
    format: str
    precision: str
    source: str
    size: int
    """Bytes, over all files."""
    seconds: float
    """To convert, without the comparison."""
    comparison: Comparison
    probabilities_by: str | None = None
    """What makes probabilities of the outputs; None where they are probabilities."""
    min_agreement: float | None = None
    """What was asked for."""
    unreadable_images: tuple = ()
    """Indices of images that could not be read."""
    threads: int | None = None
    """Of the CPU, for a TFLite file."""
    latency: tuple | None = None
    """Median, shortest and longest seconds for a batch of a TFLite file."""
    partitions: int | None = None
    """Delegate partitions of a TFLite file."""
    operators: dict | None = None
    """By kind of arithmetic: the number of operators, and their share of the multiply-adds."""

    @property
    def agrees(self):
        """Whether the result may be used: float32 differs by rounding, the rest as allowed."""
        if not self.comparison.is_finite:
            return False
        if self.precision == "float32" and not self.comparison.is_rounding:
            return False
        return self.min_agreement is None or self.comparison.agreement >= self.min_agreement


class Takes(typing.NamedTuple):
    """What a model takes as an image."""

    takes_pixels: bool = False
    includes_preprocessing: bool = False


def export(
    model, path, kind, origin=None, data=None, data_name="random images", min_agreement=None
):
    """Writes `model` to a file or folder, loads that again and compares it with the model.

    Only a result that agrees is put at `path`, at once and complete, in place of an earlier one.

    Args:
        model: A `keras.Model` with one input of known height and width and one output. One of
            mixed precision is converted to float32.
        path: Of the file or the folder.
        kind: A `TFLite` or `SavedModel`.
        origin: An `Origin`; None where nothing is known.
        data: What to compare on, see `inputs.open_data`; None for a few random images.
        data_name: What to call that.
        min_agreement: Share of the images for which the result must find the same class, or the
            same labels.

    Returns:
        An `Export`.

    Raises:
        ValueError: The model has several inputs or outputs or no fixed image size; it cannot be
            converted; something else than an earlier result is at `path`.
        RunError: Too many images cannot be read.
        OSError: The result cannot be written.
    """
    path, origin = pathlib.Path(path), origin or Origin()
    check(model, path, kind)
    origin = origin.of(model)
    with _scratch_in(path.parent, model) as scratch:
        written = pathlib.Path(scratch, path.name)
        start = time.perf_counter()
        _write(model, written, kind, origin)
        seconds = time.perf_counter() - start
        file = kind.load(written)
        found, unreadable = _compared(model, file, data, origin, data_name)
        result = Export(
            path=path,
            format=kind.name,
            precision=kind.precision,
            source=origin.source,
            size=_size(written),
            seconds=seconds,
            comparison=found,
            probabilities_by=origin.probabilities_by(model),
            min_agreement=min_agreement,
            unreadable_images=tuple(unreadable),
            **kind.facts(file, written),
        )
        if result.agrees:
            _replace(written, path)
    return result


def _size(path):
    parts = [path] if path.is_file() else [part for part in path.rglob("*") if part.is_file()]
    return sum(part.stat().st_size for part in parts)


def _write(model, path, kind, origin):
    try:
        kind.write(model, path, origin)
    except (OSError, RunError):
        raise
    except Exception as error:  # The converter has errors of its own, for what it lacks.
        raise ValueError(_why_not(error)) from error


def _compared(model, file, data, origin, name):
    """Returns what `compare` does, where not too many images are unreadable."""
    step = file.batch_size or 1
    batch_size = step * -(-_BATCH // step)
    config = dataclasses.replace(
        origin.config, gradient_accumulation_steps=1, batch_size=batch_size
    )
    takes = Takes(includes_preprocessing=folding.scales(model))
    predict = folding.in_float32(model).predict_on_batch
    found, unreadable = compare(takes, predict, file, data, config, name, origin.of_labels(model))
    if data is not None:
        require_few(data, unreadable, name.removeprefix("images of "), config.max_unreadable)
    return found, unreadable


def check(model, path, kind):
    """Raises a `ValueError` where `export` cannot begin."""
    inputs, outputs = (len(getattr(model, ends, None) or ()) for ends in ("inputs", "outputs"))
    if inputs != 1 or outputs != 1:
        raise ValueError(
            "MODEL must be a built model with one input and one output. "
            f"Received: {inputs} inputs and {outputs} outputs"
        )
    if len(model.input_shape) != 4:
        raise ValueError(
            "MODEL must take images, (batch, height, width, channels). "
            f"Received: input shape {model.input_shape}"
        )
    if None in model.input_shape[1:]:
        raise ValueError(
            "MODEL must have a fixed image size: build it with a full `input_shape`. "
            f"Received: input shape {model.input_shape}"
        )
    if path.exists() and not kind.is_result(path):
        raise ValueError(
            f"{path} is not an earlier result of this tool and will not be replaced: remove it, "
            "or choose another folder"
        )


def _scratch_in(folder, model):
    """Returns a temporary directory beside where the result will be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check_space(model, folder)
        return tempfile.TemporaryDirectory(dir=folder, prefix=".export-")
    except (PermissionError, NotADirectoryError, FileExistsError, FileNotFoundError) as error:
        raise OSError(
            f"OUT must be a folder that can be written to. Received: {folder} ({error.strerror})"
        ) from None


def _check_space(model, folder):
    needed = _BYTES_PER_PARAMETER * model.count_params()
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"the disk of {folder} must have {needed / 1e6:,.1f} MB free for the export; it has "
            f"{free / 1e6:,.1f} MB: make room, or choose another folder"
        )


def _why_not(error):
    if "No space left" in str(error):  # As TensorFlow says it.
        return "the result cannot be written: No space left on device"
    lacking = re.findall(r"^(?:TF Select|Custom) ops: (.*)$", str(error), re.MULTILINE)
    if lacking:
        return (
            "MODEL must be made of what LiteRT has operators for. "
            f"It uses: {', '.join(lacking)}: replace these, or write a SavedModel"
        )
    return f"MODEL cannot be converted: {first_line(error)}"


def _replace(source, target):
    if target.is_dir():
        shutil.rmtree(target)
    source.replace(target)
