"""What is known of a model beside itself."""

import dataclasses
import logging

from keras_mixers.evaluation import multi_label, probabilities
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
    thresholds: tuple | None = None
    """Of several labels an image: the probability of each from which on it is given; None: 0.5."""

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
        """Returns what makes probabilities of the outputs: see `probabilities.made_by`."""
        return probabilities.made_by(model, self.config.loss)

    def of_labels(self, model):
        """Returns what an export says of its labels, a dict for JSON."""
        about = {"probabilities_by": self.probabilities_by(model)}
        if self.config.multi_label:
            thresholds = self.thresholds or [multi_label.USUAL] * model.output_shape[-1]
            about |= {"multi_label": True, "thresholds": list(thresholds)}
        return about
