"""The first layer of a model, which scales pixels and keeps what the model says of itself."""

from typing import Any

import keras

from keras_mixers.preprocessing.preprocessing import Preprocessing


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

    def call(self, images: Any) -> Any:
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
