"""What the page of the demo must know of a TFLite file."""

import dataclasses
import logging
import pathlib
import shlex

from keras_mixers.errors import UsageError, first_line
from keras_mixers.evaluation import exported
from keras_mixers.evaluation import labels as labels_file
from keras_mixers.preprocessing import Preprocessing

_KINDS = "a .tflite file or a run folder"
_TYPES = ("float32", "uint8")
_log = logging.getLogger("keras_mixers")


def find_model(text):
    """Returns the path of the TFLite file that a user named, or the folder of.

    Raises:
        UsageError: There is none, or no single one.
    """
    path = pathlib.Path(text).expanduser()
    if not path.exists():
        raise UsageError(
            f"MODEL must be a .tflite file or a run folder. There is nothing at {text}"
        )
    if not path.is_dir():
        return path
    if (path / "model.tflite").exists():
        return path / "model.tflite"
    found = sorted(path.glob("*.tflite"))
    if not found and (path / "config.json").exists():
        folder = shlex.quote(text)
        raise UsageError(
            f"MODEL must hold a .tflite file; make it by: keras-mixers export {folder} {folder}"
        )
    if not found:
        raise UsageError(
            "MODEL must be a .tflite file, or a run folder that keras-mixers digits or "
            f"keras-mixers imagenet made. There is neither in {text}"
        )
    if len(found) > 1:
        names = ", ".join(each.name for each in found)
        raise UsageError(f"MODEL must be one of the .tflite files in {text}: {names}")
    return found[0]


def describe(path, labels=None, mean=None, std=None, top_k=5):
    """Returns what the page must know of a TFLite file, as a dict for `model.json`.

    Args:
        path: Of the file.
        labels: Path of a text file with the names of the classes, or None for the file's own.
        mean: What is subtracted from pixels scaled to [0, 1]; None for what the file says.
        std: By what the difference is divided; None for what the file says.
        top_k: How many classes the page shows.

    Raises:
        UsageError: The page cannot show such a model.
    """
    entry, end = _ends(path)
    _, height, width, channels = map(int, entry["shape"])
    try:
        about, names = exported.read_tflite(path)
    except ValueError as error:
        raise UsageError(
            f"MODEL must be whole; copy or export it again. Received {path}: {error}"
        ) from None
    preprocessing, scale, offset = _preparation(path, about, entry, mean, std)
    if preprocessing.value_range:
        _log.warning(
            "MODEL was trained on files of more than 8 bits, %g being black and %g white; of such "
            "files a browser reads 8 bits, in its own way",
            *preprocessing.value_range,
        )
    about = about or {
        "name": path.stem,
        "source": path.name,
        "precision": "unknown",
        "probabilities_by": None if _gives_probabilities(path) else "softmax",
    }
    quantum, zero_point = end["quantization"]
    return {
        "name": about["name"],
        # The folders of the machine that exported it are nobody's business.
        "source": pathlib.PureWindowsPath(about["source"]).name,
        "precision": about["precision"],
        "bytes": path.stat().st_size,
        "shape": [height, width, channels],
        "input": entry["dtype"].__name__,
        "pixel_scale": [float(number) for number in scale],
        "pixel_offset": [float(number) for number in offset],
        "eval_crop": preprocessing.crop,
        "crop_mode": preprocessing.crop_mode,
        "fill": [
            255 * mean for mean in _per_channel(preprocessing.for_channels(channels).mean, channels)
        ],
        "interpolation": preprocessing.interpolation,
        # A real output has no quantum.
        "output_scale": float(quantum) or 1.0,
        "output_zero_point": int(zero_point),
        "probabilities_by": about["probabilities_by"],
        # Of several labels an image: the probability of each from which on it is given.
        "thresholds": about.get("thresholds") if about.get("multi_label") else None,
        "labels": _labels(labels, names, int(end["shape"][-1])),
        "top_k": top_k,
    }


def _preparation(path, about, entry, mean, std):
    """Returns the `Preprocessing` of a file's images, and scale and offset of their pixels.

    A line says what was assumed of a file that does not say it.
    """
    _, height, width, channels = map(int, entry["shape"])
    said, included = exported.preprocessing_of(about)
    takes_pixels = included or entry["dtype"].__name__ == "uint8"
    given = {name: v for name, v in (("mean", mean), ("std", std)) if v is not None}
    if takes_pixels and given:
        raise UsageError(
            "--mean and --std are for files that take scaled images: leave them out. "
            f"{path} takes pixels of 0 to 255."
        )
    try:
        # Of a file of another tool: the largest central crop.
        usual = said or Preprocessing((height, width), crop=1.0)
        preprocessing = dataclasses.replace(usual, **given)
        scale, offset = preprocessing.factors(channels)
    except ValueError as error:
        raise UsageError(f"--mean and --std cannot be used: {error}") from None
    if said is None and len(given) < 2:
        assumed = "pixels of 0 to 255" if takes_pixels else str(preprocessing)
        wrong = "" if takes_pixels else " (give --mean and --std if it was trained with others)"
        _log.warning(
            "MODEL does not say how its images are prepared; assumed: %s%s", assumed, wrong
        )
    if takes_pixels:
        scale, offset = [1.0] * channels, [0.0] * channels
    return preprocessing, scale, offset


def _per_channel(numbers, channels):
    return numbers if len(numbers) == channels else numbers[:1] * channels


def _ends(path):
    """Returns what LiteRT knows of the input and the output of a file that the page can show."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(str(path))
    except (ValueError, RuntimeError) as error:  # Whatever is in the file.
        raise UsageError(f"MODEL must be {_KINDS}. Received {path}: {first_line(error)}") from None
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if (len(inputs), len(outputs)) != (1, 1):
        raise UsageError(
            "MODEL must have one input and one output. "
            f"Received {path}: {len(inputs)} and {len(outputs)}"
        )
    (entry,), (end,) = inputs, outputs
    shape = tuple(map(int, entry["shape"]))
    if len(shape) != 4 or shape[0] != 1 or shape[3] not in (1, 3):
        raise UsageError(
            "MODEL must take one image, of shape (1, height, width, 1 or 3). "
            f"Received {path}: {shape}"
        )
    shape = tuple(map(int, end["shape"]))
    if len(shape) != 2 or shape[0] != 1:
        raise UsageError(
            f"MODEL must give a number for each class, of shape (1, classes). Received {path}: "
            f"{shape}"
        )
    for which, tensor in (("input", entry), ("output", end)):
        kind = tensor["dtype"].__name__
        if kind not in _TYPES:
            raise UsageError(
                f"MODEL must have an {which} of {' or '.join(_TYPES)}, which LiteRT.js knows, as "
                f"any --precision of keras-mixers export has. Received {path}: {kind}"
            )
    return entry, end


def _gives_probabilities(path):
    from keras_mixers.export import flatbuffer

    return flatbuffer.last_operator(path.read_bytes()) in ("softmax", "logistic")


def _labels(text, of_file, classes):
    """Returns names of the classes: from --labels, the file, or else numbers."""
    if text is not None:
        return list(labels_file.read(text, classes))
    if of_file is None or len(of_file) != classes:
        return [str(number) for number in range(classes)]
    return of_file
