"""What is known of a model beside itself."""

import dataclasses
import logging

import keras
import numpy as np

from keras_mixers.preprocessing import UNSCALED, Preprocessing, own_scaling
from keras_mixers.training.config import TrainingConfig

_log = logging.getLogger("keras_mixers")


@dataclasses.dataclass(frozen=True)
class Origin:
    """What an export tells of the model, and needs to prepare its images."""

    source: str = "a Keras model"
    """Where it came from, such as the run folder."""
    config: TrainingConfig = dataclasses.field(
        default_factory=lambda: TrainingConfig(loss="softmax")
    )
    """How its images are prepared, and by which loss it was trained; softmax is the usual one."""
    labels: tuple | None = None
    """Names of its classes."""
    preprocessing: Preprocessing | None = None
    """Of its images; None is the model's own, or else that of `config`, fitted to the model."""

    def of(self, model):
        """Returns this origin with the preprocessing of a model.

        Raises:
            ValueError: The model scales its images itself, in another way than `preprocessing`.
        """
        own = own_scaling.of(model)
        preprocessing = self.preprocessing or own.preprocessing
        if preprocessing is None:
            preprocessing = self._assumed(model, own.note)
        elif own.included and not preprocessing.scales_like(own.preprocessing):
            raise ValueError(
                "`preprocessing` must have the mean and std of the model, which scales its images "
                f"itself, by: {own.preprocessing}. Received: {preprocessing}"
            )
        config = self.config.with_preprocessing(preprocessing)
        return dataclasses.replace(self, config=config, preprocessing=preprocessing)

    def _assumed(self, model, note):
        """Returns the preprocessing of a model that does not say it; logs a line, if need be."""
        height, width, channels = model.input_shape[1:]
        preprocessing = self.config.preprocessing.for_channels(channels)
        unknown = self.config == type(self)().config
        if note and unknown:
            preprocessing = dataclasses.replace(preprocessing, mean=UNSCALED.mean, std=UNSCALED.std)
        preprocessing = dataclasses.replace(preprocessing, image_size=(height, width))
        if unknown or (note and not preprocessing.scales_like(UNSCALED)):
            _log.warning(
                "%s; the file says: %s (give Origin(preprocessing=...) if that is wrong)",
                *(note or "the model does not say how its images are prepared", preprocessing),
            )
        return preprocessing

    def probabilities_by(self, model):
        """Returns what makes probabilities of the outputs, "softmax" or "sigmoid", or None.

        None where they are probabilities already: by the last layer, or by what a try shows.
        """
        last = model.layers[-1]
        while getattr(last, "layers", None):  # A model may be the last layer of another.
            last = last.layers[-1]
        activation = getattr(last, "activation", None)
        ends = activation and keras.activations.serialize(activation)
        if isinstance(last, keras.layers.Softmax) or ends in ("softmax", "sigmoid"):
            return None
        return None if _sums_to_one(model) else self.config.loss


def _sums_to_one(model):
    """Returns whether the outputs for some random pixels are shares of one, as a softmax's are."""
    batch, *shape = model.input_shape
    if None in shape:
        return False
    pixels = np.random.default_rng(0).integers(0, 256, (batch or 2, *shape)).astype("float32")
    outputs = keras.ops.convert_to_numpy(model(pixels, training=False)).astype("float32")
    return outputs.ndim == 2 and bool(
        (outputs >= 0).all() and np.allclose(outputs.sum(-1), 1, atol=1e-2)
    )
