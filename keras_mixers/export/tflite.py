"""Writes TFLite files of any precision, and runs them."""

import contextlib
import dataclasses
import os
import pathlib
import statistics
import tempfile
import typing

import keras
import tensorflow as tf

from keras_mixers.evaluation import exported
from keras_mixers.evaluation.litert import LiteRTModel
from keras_mixers.export import flatbuffer, folding, metadata, quantization

_TIMED_RUNS = 30


@contextlib.contextmanager
def _silence():
    """The converter prints, below Python, pages around what its exceptions say as well."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@dataclasses.dataclass(frozen=True)
class TFLite:
    """How to write a TFLite file."""

    precision: str = "float32"
    """Of `keras_mixers.export.PRECISIONS`."""
    takes_pixels: bool = False
    """Whether the input is uint8 pixels, their scaling folded into the first weights.

    "int8-full" always does.
    """
    batch_size: int = 1
    """The static one."""
    calibration: typing.Callable = tuple
    """Returns batches of images, pixels of 0 to 255, for the precisions that need them."""
    threads: int = 2
    """Of the CPU, when the file is run."""

    name = "tflite"

    def __post_init__(self):
        if self.precision == "int8-full":
            object.__setattr__(self, "takes_pixels", True)

    @staticmethod
    def is_result(path):
        return path.is_file()

    def write(self, model, path, origin):
        """Writes the file.

        Raises:
            ValueError: The model cannot be converted.
        """
        preprocessing, included = origin.preprocessing, folding.scales(model)
        scaling = None if included else preprocessing.factors(model.input_shape[-1])
        folded = folding.fold(model, scaling if self.takes_pixels else None)
        data = quantization.quantize(
            self._float32(folded, path.parent),
            self.precision,
            self._calibration(scaling),
            included or self.takes_pixels,
        )
        if self.takes_pixels:
            data = flatbuffer.with_uint8_ends(data)
        labels = origin.of_labels(model)
        about = {
            "name": model.name,
            "description": f"{model.name}, {self.precision}, exported from {origin.source}",
            "source": origin.source,
            "precision": self.precision,
            "outputs": "logits" if labels["probabilities_by"] else "probabilities",
            **labels,
            "preprocessing": preprocessing.get_config(),
            "includes_preprocessing": included or self.takes_pixels,
        }
        scaling = None if self.takes_pixels else scaling
        path.write_bytes(metadata.add(data, about, origin.labels, scaling))

    def _float32(self, model, folder):
        shape = (self.batch_size, *model.input_shape[1:])
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            path = pathlib.Path(scratch, "float32.tflite")
            with _silence():
                model.export(
                    str(path),
                    format="litert",
                    input_signature=[keras.InputSpec(shape=shape, dtype="float32")],
                    verbose=False,
                    target_spec={"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]},
                )
            return path.read_bytes()

    def _calibration(self, scaling):
        """What the folded model sees, by the batch that the file takes."""
        as_pixels = scaling is None or self.takes_pixels
        scale, offset = (1, 0) if as_pixels else scaling
        for images in self.calibration():
            for start in range(0, len(images) - self.batch_size + 1, self.batch_size):
                part = images[start : start + self.batch_size]
                yield (part * scale + offset).astype("float32")

    def load(self, path):
        file = LiteRTModel(path, self.threads)
        about, _ = exported.read_tflite(path)
        _, file.includes_preprocessing = exported.preprocessing_of(about)
        return file

    def facts(self, file, path):
        """Returns what an `Export` says of TFLite files only."""
        seconds = file.seconds(_TIMED_RUNS)
        kinds = flatbuffer.operators_by_precision(path.read_bytes())
        macs = sum(macs for _, macs in kinds.values()) or 1
        return {
            "threads": self.threads,
            "latency": (statistics.median(seconds), min(seconds), max(seconds)),
            "partitions": file.num_partitions,
            "operators": {kind: (count, mine / macs) for kind, (count, mine) in kinds.items()},
        }
