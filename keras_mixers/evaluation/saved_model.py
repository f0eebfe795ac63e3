"""Runs SavedModels."""

import pathlib

import numpy as np
import tensorflow as tf

from keras_mixers.evaluation import exported


class LoadedSavedModel:
    """A SavedModel with one input and one output, ready to run.

    Args:
        path: Of its folder.

    Raises:
        ValueError: It has several inputs or outputs, or no signature `serving_default`.
    """

    takes_pixels = False
    """Whether the input is uint8 pixels, and not real numbers."""
    batch_size = None

    def __init__(self, path):
        self._loaded = tf.saved_model.load(str(path))
        if "serving_default" not in self._loaded.signatures:
            raise ValueError("it must have the signature serving_default")
        serve = self._loaded.signatures["serving_default"]
        inputs, outputs = serve.structured_input_signature[1], serve.structured_outputs
        if (len(inputs), len(outputs)) != (1, 1):
            raise ValueError(
                f"it must have one input and one output. It has {len(inputs)} and {len(outputs)}"
            )
        ((self._input, entry),), ((self._output, end),) = inputs.items(), outputs.items()
        self.input_shape, self.output_shape = tuple(entry.shape), tuple(end.shape)
        about, labels = exported.read_saved_model(pathlib.Path(path))
        self.preprocessing, self.includes_preprocessing = exported.preprocessing_of(about)
        self.labels, self.about_labels = labels and tuple(labels), exported.labels_of(about)

    def predict(self, images):
        """Returns the outputs for float32 images, in batches of the size that it was made for."""
        batches = images.reshape(-1, self.input_shape[0] or len(images), *images.shape[1:])
        return np.concatenate([self._run(batch) for batch in batches])

    def _run(self, batch):
        serve = self._loaded.signatures["serving_default"]
        return serve(**{self._input: tf.constant(batch)})[self._output].numpy()

    def try_classify(self):
        """Runs `classify`, if there is one, on an image: what is wrong with it shows now."""
        if "classify" in self._loaded.signatures:
            self.classify([tf.io.encode_png(np.zeros((8, 8, 3), "uint8")).numpy()])

    def classify(self, files):
        """Returns labels and probabilities, `(images, top_k)`, for the bytes of image files.

        Of several labels an image, those that do not reach their threshold are "".
        """
        found = self._loaded.signatures["classify"](image_bytes=tf.constant(files))
        names = found["labels"].numpy()
        labels = np.array([name.decode() for name in names.ravel()]).reshape(names.shape)
        if "found" in found:
            labels = np.where(found["found"].numpy(), labels, "")
        return labels, found["probabilities"].numpy()
