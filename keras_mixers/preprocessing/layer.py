"""The first layer of a model, which scales pixels and keeps what the model says of itself."""

import logging
from typing import Any

import keras

from keras_mixers.preprocessing import scaled_already
from keras_mixers.preprocessing.preprocessing import Preprocessing

_log = logging.getLogger("keras_mixers")


@keras.saving.register_keras_serializable(package="keras_mixers")
class ImagePreprocessing(keras.layers.Layer):
    """Scales pixels of 0 to 255 as a `Preprocessing` says, in float32 under every dtype policy.

    Cropping and resizing are left to whoever loads the images. The config of this layer is where a
    model keeps its preprocessing and its architecture: `keras.models.clone_model` loses attributes
    of a model, and keeps the configs of its layers.

    Args:
        preprocessing: A `Preprocessing`, or its config.
        scales: Whether to scale. Otherwise images pass as they are: scaled already.
        architecture: A dict of names of layers, see `keras_mixers.models.MixerModel`, or None.

    Input and output shape: `(batch, height, width, channels)`.
    """

    def __init__(
        self,
        preprocessing: Preprocessing | dict[str, Any],
        scales: bool = True,
        architecture: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        # The dtype of a model's policy is for the layers behind this one.
        super().__init__(**{**kwargs, "dtype": "float32"}, autocast=False)
        if not isinstance(preprocessing, Preprocessing):
            preprocessing = Preprocessing.from_config(preprocessing)
        self.preprocessing, self.scales = preprocessing, scales
        self.architecture = architecture
        self._has_warned = False

    def look_at(self, images: Any) -> None:
        """Logs a line, once, where images that it will scale look scaled already."""
        if not self.scales or self._has_warned:
            return
        first = scaled_already.concrete(images)
        if first is not None and scaled_already.looks_scaled(first):
            self._has_warned = True
            _log.warning(
                "preprocessing: the images look scaled already (values from %g to %g), and the "
                "model scales pixels of 0 to 255 itself: give it what model.preprocess returns, or "
                "build it with include_preprocessing=False",
                *(first.min(), first.max()),
            )

    def call(self, images: Any) -> Any:
        self.look_at(images)
        return self.preprocessing.scale(images) if self.scales else images

    def compute_output_spec(self, images: keras.KerasTensor) -> keras.KerasTensor:
        dtype = "float32" if self.scales else images.dtype
        return keras.KerasTensor(images.shape, dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "preprocessing": self.preprocessing.get_config(),
            "scales": self.scales,
            "architecture": self.architecture,
        }
