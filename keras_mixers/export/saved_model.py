"""Writes SavedModels, which run without keras_mixers."""

import dataclasses
import json

import keras
import tensorflow as tf

from keras_mixers.evaluation.exported import ABOUT
from keras_mixers.evaluation.saved_model import LoadedSavedModel
from keras_mixers.export import folding
from keras_mixers.preprocessing import cropping


@dataclasses.dataclass(frozen=True)
class SavedModel:
    """How to write a SavedModel.

    It has two signatures. `serving_default` takes float32 images `(batch, height, width,
    channels)`, as the model does. `classify` takes the bytes of JPEG or PNG files, `(batch,)`,
    and returns `labels` and `probabilities`, `(batch, top_k)`, the most probable first, and of a
    model of several labels an image `found`, whether each reaches its threshold; only classifiers
    of square images of 1 or 3 channels have it.
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
            **origin.of_labels(model),
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
    about = origin.of_labels(model)
    by, thresholds = about["probabilities_by"], about.get("thresholds")
    preprocessing, channels = origin.preprocessing, model.input_shape[-1]
    scaled = not folding.scales(model)

    def classify(image_bytes):
        images = _prepared(image_bytes, preprocessing, channels, scaled)
        outputs = folded(images, training=False)
        if by:
            outputs = {"softmax": tf.nn.softmax, "sigmoid": tf.nn.sigmoid}[by](outputs)
        best = tf.math.top_k(outputs, min(top_k, len(labels)))
        names = tf.gather(tf.constant(labels), best.indices)
        answer = {"labels": names, "probabilities": best.values}
        if thresholds:
            lowest = tf.gather(tf.constant(thresholds, tf.float32), best.indices)
            answer["found"] = best.values >= lowest
        return answer

    return classify


def _prepared(image_bytes, preprocessing, channels, scaled):
    """Images of files as a model takes them, `(batch, height, width, channels)`."""

    def one(data):
        pixels = cropping.decode_central(data, preprocessing, channels, in_graph=True)
        return preprocessing.scale(pixels) if scaled else tf.cast(pixels, tf.float32)

    kind = tf.TensorSpec((*preprocessing.size, channels), tf.float32)
    return tf.map_fn(one, image_bytes, fn_output_signature=kind)
