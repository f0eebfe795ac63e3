"""What is known of a model beside itself."""

import dataclasses
import logging

import keras

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
    """Of its images; None is that of `config`, fitted to the model."""

    def of(self, model):
        """Returns this origin with the preprocessing of a model, which ours have themselves."""
        own = own_scaling.of(model)
        preprocessing = own.preprocessing or self.preprocessing
        if preprocessing is None:
            preprocessing = self._assumed(model, own.note)
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

        None where they are probabilities already.
        """
        last = model.layers[-1]
        while getattr(last, "layers", None):  # A model may be the last layer of another.
            last = last.layers[-1]
        activation = getattr(last, "activation", None)
        ends = activation and keras.activations.serialize(activation)
        if isinstance(last, keras.layers.Softmax) or ends in ("softmax", "sigmoid"):
            return None
        return self.config.loss
