"""Writes SavedModels, which run without keras_mixers, and runs them."""

import dataclasses
import json
import pathlib

import keras
import numpy as np
import tensorflow as tf

from keras_mixers.evaluation import exported
from keras_mixers.evaluation.exported import ABOUT
from keras_mixers.export import folding


@dataclasses.dataclass(frozen=True)
class SavedModel:
    """How to write a SavedModel.

    It has two signatures. `serving_default` takes float32 images `(batch, height, width,
    channels)`, as the model does. `classify` takes the bytes of JPEG or PNG files, `(batch,)`,
    and returns `labels` and `probabilities`, `(batch, top_k)`, the most probable first; only
    classifiers of square images of 1 or 3 channels have it.
    """

    top_k: int = 5
    """How many classes `classify` returns."""

    name = "savedmodel"
    precision = "float32"

    @staticmethod
    def is_result(path):
        return (path / "saved_model.pb").exists()

    def write(self, model, path, origin):
        """Writes the folder.

        Raises:
            ValueError: The model cannot be converted.
        """
        folded = folding.fold(model)
        archive = keras.export.ExportArchive()
        archive.track(folded)
        shape = (None, *model.input_shape[1:])
        archive.add_endpoint(
            "serve",  # Keras names the first one serving_default as well.
            lambda images: folded(images, training=False),
            input_signature=[keras.InputSpec(shape=shape, dtype="float32")],
        )
        _, height, width, channels = model.input_shape
        if height == width and channels in (1, 3) and len(model.output_shape) == 2:
            archive.add_endpoint(
                "classify",
                _classifier(model, folded, origin, self.top_k),
                input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")],
            )
        archive.write_out(str(path), verbose=False)
        about = {
            "name": model.name,
            "source": origin.source,
            "labels": origin.labels and list(origin.labels),
            "probabilities_by": origin.probabilities_by(model),
            "preprocessing": origin.preprocessing.get_config(),
            "includes_preprocessing": folding.scales(model),
        }
        file = path / "assets.extra" / ABOUT
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(about, indent=1))

    def load(self, path):
        return LoadedSavedModel(path)

    def facts(self, file, path):
        file.try_classify()
        return {}


def _classifier(model, folded, origin, top_k):
    labels = origin.labels or tuple(map(str, range(model.output_shape[-1])))
    by = origin.probabilities_by(model)
    preprocessing, channels = origin.preprocessing, model.input_shape[-1]
    scaled = not folding.scales(model)

    def classify(image_bytes):
        images = _prepared(image_bytes, preprocessing, channels, scaled)
        outputs = folded(images, training=False)
        if by:
            outputs = {"softmax": tf.nn.softmax, "sigmoid": tf.nn.sigmoid}[by](outputs)
        best = tf.math.top_k(outputs, min(top_k, len(labels)))
        names = tf.gather(tf.constant(labels), best.indices)
        return {"labels": names, "probabilities": best.values}

    return classify


def _prepared(image_bytes, preprocessing, channels, scaled):
    """Images of files as a model takes them, `(batch, height, width, channels)`."""

    def one(data):
        pixels = preprocessing.pixels(data, channels)
        return preprocessing.scale(pixels) if scaled else tf.cast(pixels, tf.float32)

    kind = tf.TensorSpec((*preprocessing.size, channels), tf.float32)
    return tf.map_fn(one, image_bytes, fn_output_signature=kind)


class LoadedSavedModel:
    """A SavedModel, ready to run."""

    takes_pixels = False
    batch_size = None

    def __init__(self, path):
        self._loaded = tf.saved_model.load(str(path))
        ((_, spec),) = (
            self._loaded.signatures["serving_default"].structured_input_signature[1].items()
        )
        self.input_shape = tuple(spec.shape)
        about, _ = exported.read_saved_model(pathlib.Path(path))
        _, self.includes_preprocessing = exported.preprocessing_of(about)

    def predict(self, images):
        """Returns the outputs for float32 images."""
        return self._loaded.serve(tf.constant(images)).numpy()

    def try_classify(self):
        """Runs `classify`, if there is one, on an image: what is wrong with it shows now."""
        if "classify" in self._loaded.signatures:
            self.classify([tf.io.encode_png(np.zeros((8, 8, 3), "uint8")).numpy()])

    def classify(self, files):
        """Returns labels and probabilities, `(images, top_k)`, for the bytes of image files."""
        found = self._loaded.signatures["classify"](image_bytes=tf.constant(files))
        names = found["labels"].numpy()
        labels = np.array([name.decode() for name in names.ravel()]).reshape(names.shape)
        return labels, found["probabilities"].numpy()
